mod copy;
mod place;
mod target;
mod tree;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use wardian_git::changes::Reason;
use wardian_sandbox::{SandboxName, user};
use wardian_supervisor::work;

use crate::failure::{BAD_NEWS, Failure, Outcome};
use crate::output::{self, Tone, visible_path};
use crate::review;
use crate::sandboxes::{self, Sandbox};

use copy::{Copy, Item, Way};
use place::Session;
use target::Target;
use tree::{Directory, Entry};

/// Copy files out of a sandbox that has ended, or into it
///
/// One of the two is NAME:PATH. PATH is relative to the sandbox's main workspace, to
/// the home if it begins with `~`, or absolute; only workspaces and the home are
/// kept. Directories are copied with all that is in them. If the destination is a
/// directory, the copy goes into it; `DIR/.` as a source means what is in DIR.
///
/// No symlink is followed: those within a copied directory are copied as such if
/// they stay within it. Other links, device files, sockets, and names that mean
/// `.git` are left out and named. Set-user-ID bits and the like are dropped.
///
/// Examples:
///
///   wardian cp claude-7f3k2q:target/report.html .
///   wardian cp claude-7f3k2q:~/notes ~/notes
///   wardian cp data/sample.csv claude-7f3k2q:tests/
///
/// Exit status: 1 if something was left out.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Cp {
    /// What to copy: NAME:PATH, or a path of this machine
    #[arg(value_name = "SOURCE")]
    source: OsString,

    /// Where to: a path of this machine, or NAME:PATH
    #[arg(value_name = "DESTINATION")]
    destination: OsString,
}

impl Cp {
    pub(crate) fn run(self) -> Outcome {
        let (source, destination) = (Address::of(&self.source), Address::of(&self.destination));
        match (source, destination) {
            (Address::Inside(name, path), Address::Outside(destination)) => {
                let sandbox = sandboxes::find(name.as_str())?;
                let (session, _lock) = open(&sandbox)?;
                copy_out(&session, path, destination)
            }
            (Address::Outside(source), Address::Inside(name, path)) => {
                let sandbox = sandboxes::find(name.as_str())?;
                let (session, lock) = open(&sandbox)?;
                let copied = copy_in(&session, source, path);
                session.close_workshop();
                // Also what was copied before something failed is work.
                work::refresh(&session.state, &lock)?;
                copied
            }
            (Address::Inside(..), Address::Inside(..)) => {
                Err(Failure::from(anyhow!("both paths are in sandboxes"))
                    .hint("copy it out first, and then in"))
            }
            (Address::Outside(_), Address::Outside(_)) => {
                Err(Failure::from(anyhow!("neither path is in a sandbox"))
                    .hint("one of the two is NAME:PATH; `wardian ls` lists the names"))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Address<'a> {
    Inside(SandboxName, &'a OsStr),
    Outside(&'a OsStr),
}

impl<'a> Address<'a> {
    /// `./a:b` is a file.
    fn of(text: &'a OsStr) -> Self {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let inside = colon.and_then(|colon| {
            let name = std::str::from_utf8(&bytes[..colon]).ok()?;
            let path = OsStr::from_bytes(&bytes[colon + 1..]);
            Some(Self::Inside(SandboxName::parse(name).ok()?, path))
        });
        inside.unwrap_or(Self::Outside(text))
    }
}

/// Nobody can start it as long as the lock is held.
fn open(sandbox: &Sandbox) -> Result<(Session, wardian_sandbox::state::Lock), Failure> {
    let name = sandbox.name();
    let Some(lock) = sandbox.state().try_lock()? else {
        return Err(Failure::from(anyhow!("{name} is running")).hint(
            "its files can be copied once it has ended: until then they change under our hands",
        ));
    };
    let user = user::current().ok_or_else(|| anyhow!("the user has no home directory"))?;
    let session = Session {
        state: sandbox.state().clone(),
        record: review::record(sandbox)?,
        home: user.home,
    };
    Ok((session, lock))
}

fn copy_out(session: &Session, source: &OsStr, destination: &OsStr) -> Outcome {
    let from = session.absolute(source)?;
    let entry = session.find(&from)?;
    let below = |root: &Path| from.strip_prefix(root).map(Path::to_owned).ok();
    let roots = session.record.workspaces.iter().map(|(_, it)| &*it.path);
    let innermost = roots
        .chain([&*session.home])
        .filter_map(below)
        .min_by_key(|path| path.as_os_str().len());
    let names = innermost.unwrap_or_default();
    if !names.iter().all(|name| copy::is_allowed(name, &entry)) {
        let why = Reason::Name.explain();
        return Err(anyhow!("{} is not copied: {why}", visible_path(&from)).into());
    }
    let (to, last) = match host(destination)? {
        Host::Directory(directory) => (Target::plain(directory), None),
        Host::Name(parent, name) => (Target::plain(parent), Some(name)),
    };
    let shown = PathBuf::from(destination);
    let mut copy = Copy::new(Way::Out(session));
    go(&mut copy, entry, source, &from, &to, last, &shown)?;
    finish(&copy, &shown)
}

fn copy_in(session: &Session, source: &OsStr, destination: &OsStr) -> Outcome {
    let entry = match host(source)? {
        Host::Directory(directory) => Entry::Directory(Directory::plain(directory)),
        Host::Name(parent, name) => Directory::plain(parent).entry(&name)?,
    };
    let from = std::path::absolute(source)?;
    match entry {
        Entry::Nothing => {
            return Err(anyhow!("{}: no such file or directory", visible_path(&from)).into());
        }
        Entry::Symlink(target) => return Err(is_link(&from, &target)),
        _ => {}
    }
    let path = session.absolute(destination)?;
    let is_directory =
        asks_for_directory(destination) || matches!(session.find(&path), Ok(Entry::Directory(_)));
    let (to, last) = match path.file_name() {
        Some(name) if !is_directory => {
            let parent = session.target(path.parent().unwrap_or(&path))?;
            (parent, Some(name.to_owned()))
        }
        _ => (session.target(&path)?, None),
    };
    let mut copy = Copy::new(Way::In(session));
    go(&mut copy, entry, source, &from, &to, last, &path)?;
    finish(&copy, &path)
}

/// `last`: the name that it gets, unless it goes into `to` under its own.
fn go(
    copy: &mut Copy<'_>,
    entry: Entry,
    source: &OsStr,
    from: &Path,
    to: &Target,
    last: Option<OsString>,
    becomes: &Path,
) -> Result<(), Failure> {
    let copied = match (entry, last) {
        (Entry::Directory(directory), None) if means_content(source) => {
            copy.directory(&directory, from, to, becomes, 0)
        }
        (entry, last) => {
            let own = || from.file_name().map(OsStr::to_owned);
            let becomes = match &last {
                Some(_) => becomes.to_owned(),
                None => becomes.join(own().unwrap_or_default()),
            };
            let name = last.or_else(own).ok_or_else(|| {
                Failure::from(anyhow!("{} has no name", from.display()))
                    .hint("`DIR/.` copies what is in it")
            })?;
            let item = Item {
                entry,
                from,
                to,
                name: &name,
                becomes: &becomes,
            };
            copy.item(item, 0)
        }
    };
    Ok(copied.with_context(|| format!("cannot copy to {}", visible_path(becomes)))?)
}

fn finish(copy: &Copy<'_>, becomes: &Path) -> Outcome {
    for (path, why) in &copy.left_out {
        let text = format!("{}: {why}", visible_path(path));
        output::say(Tone::Warning, "left out", &text);
    }
    let files = review::counted(copy.files, "file").unwrap_or_else(|| "no file".to_owned());
    output::say(
        Tone::Good,
        "copied",
        &format!("{files} to {}", visible_path(becomes)),
    );
    Ok(match copy.left_out.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(BAD_NEWS),
    })
}

/// A path of the host that a person wrote.
enum Host {
    Directory(OwnedFd),
    /// Something else, or nothing, in a directory.
    Name(OwnedFd, OsString),
}

/// On a relative path no symlink is followed: it may lead through a directory that programs inside write to, or
/// have brought a link into. An absolute path is taken as it is, but for its last name.
fn host(text: &OsStr) -> Result<Host, Failure> {
    let path = Path::new(text);
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = match path.is_absolute() {
        true => ResolveFlags::NO_MAGICLINKS,
        false => ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS,
    };
    let reach = |path: &Path| {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        rustix::fs::openat2(CWD, path, directory, Mode::empty(), resolve).map_err(|errno| {
            let failure = Failure::from(anyhow!("{}: {errno}", visible_path(path)));
            match errno {
                Errno::LOOP => failure.hint(
                    "a symlink is on the way, which is not followed; give the absolute path of where it leads",
                ),
                _ => failure,
            }
        })
    };
    let Some(name) = path.file_name() else {
        return reach(path).map(Host::Directory);
    };
    let parent = reach(path.parent().unwrap_or(path))?;
    match rustix::fs::openat(&parent, name, directory | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(found) => Ok(Host::Directory(found)),
        Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {
            let link = rustix::fs::readlinkat(parent.as_fd(), name, Vec::new());
            match link {
                Ok(target) => Err(is_link(path, OsStr::from_bytes(target.to_bytes()))),
                Err(_) if asks_for_directory(text) => {
                    Err(anyhow!("{}: no such directory", visible_path(path)).into())
                }
                Err(_) => Ok(Host::Name(parent, name.to_owned())),
            }
        }
        Err(errno) => Err(anyhow!("{}: {errno}", visible_path(path)).into()),
    }
}

fn is_link(path: &Path, target: &OsStr) -> Failure {
    let text = format!("{} is a symlink, which is not followed", visible_path(path));
    Failure::from(anyhow!(text)).hint(format!("it leads to {}", visible_path(Path::new(target))))
}

/// `dir/`, or `dir/.`
fn asks_for_directory(text: &OsStr) -> bool {
    text.as_bytes().ends_with(b"/") || means_content(text)
}

/// `dir/.`, or `.` itself.
fn means_content(text: &OsStr) -> bool {
    text == "." || text.as_bytes().ends_with(b"/.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        let of = |text| Address::of(OsStr::new(text));
        let inside =
            |name, path| Address::Inside(SandboxName::parse(name).unwrap(), OsStr::new(path));
        assert_eq!(of("fix:a/b"), inside("fix", "a/b"));
        assert_eq!(of("fix:"), inside("fix", ""));
        assert_eq!(of("fix:a:b"), inside("fix", "a:b"));
        for path in ["a/b", "./fix:a", "/x/fix:a", "Fix:a", ":a", "."] {
            assert_eq!(of(path), Address::Outside(OsStr::new(path)));
        }
    }
}
