//! Where a transfer works, and how the next one knows that it was killed.
//!
//! ```text
//! <common dir>/wardian-transfer-<n>/   the desk: locked (flock) while its owner lives
//!     lock-0                           hard link of a ref's lock; a lock is ours if it is the same file
//!     lock-0.name                      that ref's name
//! objects/wardian-quarantine-<n>/      the quarantine. Git calls its own `tmp_objdir-*`, and takes whatever
//!                                      begins with `tmp_` away when it prunes, from somebody at work too
//! objects/pack/pack-<hash>.keep        keeps gc's hands off until a ref is set; holds the desk's name
//! ```

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};

use super::destination::Destination;
use super::{TransferError, io_error};

const DESK: &str = "wardian-transfer-";
const QUARANTINE: &str = "wardian-quarantine-";
const ATTEMPTS: usize = 50;

/// Removed when dropped, with all that is in it; what was published stays.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) directory: PathBuf,
    /// An object directory of its own.
    pub(super) quarantine: PathBuf,
    objects: PathBuf,
    number: String,
    /// Holds the lock.
    _lock: File,
    mode: u32,
}

impl Desk {
    pub(super) fn open(destination: &Destination) -> Result<Self, TransferError> {
        let (number, directory, lock) = loop {
            let number = random_number()?;
            let directory = destination.common_dir.join(format!("{DESK}{number}"));
            make_directory(&directory)?;
            // Whoever cleans up may have been faster than the lock.
            if let Some(lock) = try_lock(&directory)? {
                break (number, directory, lock);
            }
        };
        let quarantine = destination.objects.join(format!("{QUARANTINE}{number}"));
        let mut desk = Self {
            directory,
            quarantine,
            objects: destination.objects.clone(),
            number,
            _lock: lock,
            mode: 0o444,
        };
        desk.mode = desk.mode_of_new_files()?;
        make_directory(&desk.quarantine)?;
        make_directory(&desk.quarantine.join("pack"))?;
        Ok(desk)
    }

    /// What the umask leaves of read permissions.
    fn mode_of_new_files(&self) -> Result<u32, TransferError> {
        let path = self.directory.join("mode");
        let file = File::create(&path).map_err(io_error(&path))?;
        Ok(file.metadata().map_err(io_error(&path))?.mode() & 0o444)
    }

    /// Moves the pack in the quarantine to the other packs, where git sees it. It is kept from `git gc` until
    /// the desk is closed.
    pub(super) fn publish(&self, destination: &Destination) -> Result<(), TransferError> {
        let from = self.quarantine.join("pack");
        let Some(stem) = pack_in(&from)? else {
            return Ok(());
        };
        let to = self.objects.join("pack");
        fs::create_dir_all(&to).map_err(io_error(&to))?;
        if to.join(format!("{stem}.idx")).exists() {
            // A pack's name is the hash of its content.
            return Ok(());
        }
        let keep = to.join(format!("{stem}.keep"));
        fs::write(&keep, self.mark()).map_err(io_error(&keep))?;
        // As git does: whoever finds an index finds all that belongs to it.
        for kind in ["pack", "rev", "idx"] {
            let name = format!("{stem}.{kind}");
            let source = from.join(&name);
            if kind == "rev" && !source.exists() {
                continue;
            }
            self.settle(&source)?;
            destination.share(&source)?;
            fs::rename(&source, to.join(&name)).map_err(io_error(&source))?;
        }
        sync_directory(&to)
    }

    /// What a jail wrote is looked at before it becomes the user's.
    fn settle(&self, path: &Path) -> Result<(), TransferError> {
        let file = File::options()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(path)
            .map_err(io_error(path))?;
        let metadata = file.metadata().map_err(io_error(path))?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            let error = io::Error::other("not a file of its own");
            return Err(io_error(path)(error));
        }
        let mode = fs::Permissions::from_mode(self.mode);
        file.set_permissions(mode).map_err(io_error(path))?;
        file.sync_all().map_err(io_error(path))
    }

    fn mark(&self) -> String {
        format!("{DESK}{}\n", self.number)
    }

    /// To be called when the refs are set.
    pub(super) fn close(self) -> Result<(), TransferError> {
        remove(&self.objects, &self.directory, &self.number)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = remove(&self.objects, &self.directory, &self.number);
    }
}

/// The one pack in a directory, without its suffix.
fn pack_in(directory: &Path) -> Result<Option<String>, TransferError> {
    let mut found = None;
    for entry in fs::read_dir(directory).map_err(io_error(directory))? {
        let name = entry.map_err(io_error(directory))?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".pack"));
        let hash = stem.and_then(|stem| stem.strip_prefix("pack-"));
        let is_hash = |hash: &str| hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (hash, stem) {
            (Some(hash), Some(stem)) if is_hash(hash) && found.is_none() => {
                found = Some(stem.to_owned());
            }
            (None, _) => {}
            _ => {
                let error = io::Error::other("more than the one pack that was expected");
                return Err(io_error(directory)(error));
            }
        }
    }
    Ok(found)
}

/// Removes what transfers left that were killed. Those that still run are left alone.
pub(super) fn clean_up(destination: &Destination) -> Result<(), TransferError> {
    for (number, directory) in numbered(&destination.common_dir, DESK)? {
        let Some(_lock) = try_lock(&directory)? else {
            continue;
        };
        release_locks(&destination.common_dir, &directory)?;
        remove(&destination.objects, &directory, &number)?;
    }
    // A quarantine is made after its desk and removed before it.
    for (number, quarantine) in numbered(&destination.objects, QUARANTINE)? {
        let desk = destination.common_dir.join(format!("{DESK}{number}"));
        if !desk.exists() {
            remove_all(&quarantine)?;
        }
    }
    Ok(())
}

fn release_locks(common_dir: &Path, desk: &Path) -> Result<(), TransferError> {
    for (_, ours) in numbered(desk, "lock-")? {
        let Ok(name) = fs::read(desk.join(name_file(&ours))) else {
            continue;
        };
        let lock = common_dir.join(std::ffi::OsStr::from_bytes(&name));
        let (Ok(ours), Ok(theirs)) = (fs::symlink_metadata(&ours), fs::symlink_metadata(&lock))
        else {
            continue;
        };
        if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()) {
            remove_file(&lock)?;
        }
    }
    Ok(())
}

/// Beside `lock-0` lies `lock-0.name`, written before it: where the lock is, relative to the common directory.
pub(super) fn name_file(lock: &Path) -> PathBuf {
    let mut name = lock.as_os_str().to_owned();
    name.push(".name");
    PathBuf::from(name)
}

fn remove(objects: &Path, desk: &Path, number: &str) -> Result<(), TransferError> {
    let mark = format!("{DESK}{number}\n");
    let packs = objects.join("pack");
    for (_, keep) in numbered(&packs, "pack-")? {
        let is_keep = keep
            .extension()
            .is_some_and(|extension| extension == "keep");
        if is_keep && fs::read(&keep).is_ok_and(|text| text == mark.as_bytes()) {
            remove_file(&keep)?;
        }
    }
    remove_all(&objects.join(format!("{QUARANTINE}{number}")))?;
    remove_all(desk)
}

/// The entries of a directory whose names begin with `prefix`, with the rest of each name.
fn numbered(directory: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>, TransferError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error(directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(directory))?;
        let name = entry.file_name();
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(prefix)) {
            found.push((rest.to_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// `None` if somebody else holds it, or if the directory is gone.
fn try_lock(directory: &Path) -> Result<Option<File>, TransferError> {
    let opened = File::options()
        .read(true)
        .custom_flags((OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed())
        .open(directory);
    let file = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io_error(directory))?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked.map_err(|errno| io_error(directory)(errno.into()))?,
    }
    // Removed by the one who held the lock before.
    let held = file.metadata().map_err(io_error(directory))?;
    let is_same = fs::symlink_metadata(directory).is_ok_and(|there| there.ino() == held.ino());
    Ok(is_same.then_some(file))
}

fn make_directory(path: &Path) -> Result<(), TransferError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(io_error(path))
}

pub(super) fn remove_file(path: &Path) -> Result<(), TransferError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(io_error(path)),
    }
}

fn remove_all(path: &Path) -> Result<(), TransferError> {
    for _ in 0..ATTEMPTS {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // A jail whose owner was just killed may have written once more.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                std::thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome.map_err(io_error(path)),
        }
    }
    fs::remove_dir_all(path).map_err(io_error(path))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), TransferError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error(path))
}

fn random_number() -> Result<String, TransferError> {
    let mut bytes = [0; 6];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| io_error("/dev/urandom")(errno.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
