//! What presets name of the user's own: instructions, skills, settings. The sandbox gets copies.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_policy::{Policy, Preset, SettingsFile, VisiblePath};
use wardian_sandbox::parcel::{Label, MAX_FILE, Occupied, Parcel};

use super::secret_names::could_hold_a_secret;
use super::{expand, settings};
use crate::output::visible_path;

/// All files together.
const MAX_BYTES: usize = 8 << 20;
const MAX_FILES: usize = 2000;
const MAX_DEPTH: usize = 16;
/// Nobody reads more.
const MAX_LEFT_OUT: usize = 100;
/// The history of a directory, which is large, and whose settings may hold a login.
const HISTORIES: [&str; 3] = [".git", ".hg", ".svn"];

/// Copies on their way, and what is not among them.
#[derive(Debug)]
pub(crate) struct Copies {
    pub(crate) parcel: Parcel,
    pub(crate) copied: Vec<Copied>,
    pub(crate) left_out: Vec<LeftOut>,
    bytes: usize,
}

/// What a preset names, and the user has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) path: PathBuf,
    pub(crate) files: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

impl Copies {
    /// Reads what the policy's presets name below `home`.
    pub(crate) fn gather(policy: &Policy, home: &Path) -> io::Result<Self> {
        let mut copies = Self {
            parcel: Parcel::new()?,
            copied: Vec::new(),
            left_out: Vec::new(),
            bytes: 0,
        };
        for preset in policy
            .presets()
            .iter()
            .filter_map(|name| Preset::find(name))
        {
            for path in preset.copies() {
                copies.gather_one(&expand(path, home), home, None)?;
            }
            for SettingsFile { path, keys } in preset.settings() {
                copies.gather_one(&expand(path, home), home, Some(keys))?;
            }
        }
        Ok(copies)
    }

    /// A directory of the user's own, in another place of the home inside.
    pub(crate) fn add(&mut self, source: &Path, named: &Path, home: &Path) -> io::Result<()> {
        match fs::canonicalize(source) {
            Ok(real) => match check(&real, home) {
                Ok(()) => self.gather_from(&real, named, None),
                Err(why) => {
                    self.leave_out(named, why);
                    Ok(())
                }
            },
            Err(error) => {
                self.leave_out(named, error.to_string());
                Ok(())
            }
        }
    }

    /// For a person, in one line.
    pub(crate) fn note(&self) -> Option<String> {
        let LeftOut { path, why } = self.left_out.first()?;
        let others = match self.left_out.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more, see --dry-run"),
        };
        Some(format!(
            "{} is not copied into the sandbox: {why}{others}",
            visible_path(path)
        ))
    }

    /// `named` may be a link of the user's, such as into a directory of dotfiles; links below it are not to lead
    /// anywhere else.
    fn gather_one(&mut self, named: &Path, home: &Path, keys: Option<&[String]>) -> io::Result<()> {
        let known = self.copied.iter().any(|copied| copied.path == named);
        let real = match fs::canonicalize(named) {
            Ok(real) if !known => real,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.leave_out(named, error.to_string());
                return Ok(());
            }
        };
        if real != named
            && let Err(why) = check(&real, home)
        {
            self.leave_out(named, why);
            return Ok(());
        }
        self.gather_from(&real, named, keys)
    }

    fn gather_from(
        &mut self,
        real: &Path,
        named: &Path,
        keys: Option<&[String]>,
    ) -> io::Result<()> {
        let before = self.copied.iter().map(|copied| copied.files).sum::<usize>();
        let files = match open(CWD, real, OFlags::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(errno) => {
                self.leave_out(named, errno.to_string());
                0
            }
            Ok(file) if File::from(file.try_clone()?).metadata()?.is_dir() => {
                let mut walk = Walk {
                    copies: self,
                    named,
                    root: file,
                    files: 0,
                    before,
                    is_full: false,
                };
                walk.directory(Path::new(""), 0)?;
                walk.files
            }
            Ok(file) => usize::from(self.file(named, file, keys)?),
        };
        if files > 0 {
            let path = named.to_owned();
            self.copied.push(Copied { path, files });
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &Path, why: impl Into<String>) {
        if self.left_out.len() < MAX_LEFT_OUT {
            self.left_out.push(LeftOut {
                path: path.to_owned(),
                why: why.into(),
            });
        }
    }

    /// Whether it is there now.
    fn file(&mut self, path: &Path, file: OwnedFd, keys: Option<&[String]>) -> io::Result<bool> {
        let file = File::from(file);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            self.leave_out(path, "it is no file");
            return Ok(false);
        }
        let mut content = Vec::new();
        if let Err(error) = file.take(MAX_FILE as u64 + 1).read_to_end(&mut content) {
            self.leave_out(path, error.to_string());
            return Ok(false);
        }
        if content.len() > MAX_FILE {
            self.leave_out(path, "it is larger than 1 MiB");
            return Ok(false);
        }
        if let Some(keys) = keys {
            let name = path.to_string_lossy();
            let text = String::from_utf8_lossy(&content);
            match settings::keep(&name, &text, keys) {
                Ok(Some(kept)) => content = kept.into_bytes(),
                Ok(None) => return Ok(false),
                Err(error) => {
                    self.leave_out(path, format!("it cannot be read: {error:#}"));
                    return Ok(false);
                }
            }
        }
        if self.bytes + content.len() > MAX_BYTES {
            self.leave_out(path, "it is more than 8 MiB with what was copied before it");
            return Ok(false);
        }
        self.bytes += content.len();
        let label = Label {
            path: path.to_owned(),
            // Writable for its owner, and for nobody else.
            mode: metadata.permissions().mode() & 0o755 | 0o600,
            occupied: Occupied::Leave,
        };
        self.parcel.add(label, &content)?;
        Ok(true)
    }
}

/// A directory being copied.
struct Walk<'a> {
    copies: &'a mut Copies,
    /// Where it is in the home.
    named: &'a Path,
    root: OwnedFd,
    files: usize,
    /// Files of other directories.
    before: usize,
    is_full: bool,
}

impl Walk<'_> {
    fn directory(&mut self, below: &Path, depth: usize) -> io::Result<()> {
        let shown = self.named.join(below);
        if depth > MAX_DEPTH {
            self.copies.leave_out(&shown, "it lies too deep");
            return Ok(());
        }
        let directory = match self.open(below, OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS) {
            Ok(directory) => directory,
            Err(errno) => {
                self.copies.leave_out(&shown, errno.to_string());
                return Ok(());
            }
        };
        let mut names: Vec<_> = rustix::fs::Dir::read_from(&directory)?
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_owned())
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        names.sort();
        for name in names {
            if self.is_full {
                break;
            }
            let name = std::ffi::OsStr::from_bytes(name.to_bytes());
            self.entry(&below.join(name), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, below: &Path, depth: usize) -> io::Result<()> {
        let shown = self.named.join(below);
        let name = below.file_name().unwrap_or_default().to_string_lossy();
        if HISTORIES.contains(&&*name) {
            return Ok(());
        }
        let status = rustix::fs::statat(&self.root, below, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_link = FileType::from_raw_mode(status.st_mode) == FileType::Symlink;
        let flags = OFlags::empty();
        let file = match self.open(below, flags, ResolveFlags::NO_MAGICLINKS) {
            Ok(file) => file,
            // A link that leads nowhere is nothing to miss.
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::XDEV) => {
                let why = "it is a link that leads out of the directory";
                self.copies.leave_out(&shown, why);
                return Ok(());
            }
            Err(errno) => {
                self.copies.leave_out(&shown, errno.to_string());
                return Ok(());
            }
        };
        let is_directory = File::from(file.try_clone()?).metadata()?.is_dir();
        match (is_directory, is_link) {
            (true, true) => self.copies.leave_out(&shown, "it is a link to a directory"),
            (true, false) => self.directory(below, depth + 1)?,
            (false, _) if could_hold_a_secret(&name) || is_link && leads_to_a_secret(&file)? => {
                self.copies.leave_out(&shown, "it could hold a secret");
            }
            (false, _) if self.before + self.files >= MAX_FILES => {
                let why = format!("there are more than {MAX_FILES} files");
                self.copies.leave_out(&shown, why);
                self.is_full = true;
            }
            (false, _) => self.files += usize::from(self.copies.file(&shown, file, None)?),
        }
        Ok(())
    }

    fn open(&self, below: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let below = if below == Path::new("") {
            Path::new(".")
        } else {
            below
        };
        open(
            self.root.as_fd(),
            below,
            flags,
            ResolveFlags::BENEATH | resolve,
        )
    }
}

/// Never waits for a fifo, and never becomes the owner of a terminal.
fn open(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
}

/// Whatever links it took to get there.
fn leads_to_a_secret(file: &OwnedFd) -> io::Result<bool> {
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let name = real.file_name().unwrap_or_default();
    Ok(could_hold_a_secret(&name.to_string_lossy()))
}

/// What the user's link leads to may be shown.
fn check(real: &Path, home: &Path) -> Result<(), String> {
    let text = match real.strip_prefix(home) {
        Ok(below) => Path::new("~").join(below),
        Err(_) => real.to_owned(),
    };
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    if could_hold_a_secret(&name) {
        return Err("what it leads to could hold a secret".to_owned());
    }
    let text = text.to_str().ok_or("what it leads to is not UTF-8")?;
    VisiblePath::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
