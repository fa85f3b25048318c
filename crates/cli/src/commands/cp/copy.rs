//! From a tree that is not trusted into a directory: what cannot come along is left out, and named.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use wardian_git::changes::{FileKind, Reason, is_allowed_name};

use super::place::{Mounted, Session};
use super::target::Target;
use super::tree::{Directory, Entry};

/// Directories below each other. Each is open while those below it are copied.
const DEEPEST: usize = 100;

/// Which way it goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    Out(&'a Session),
    In(&'a Session),
}

#[derive(Debug)]
pub(super) struct Copy<'a> {
    way: Way<'a>,
    pub(super) files: usize,
    pub(super) left_out: Vec<(PathBuf, String)>,
}

/// Something that was found, on its way to its new place.
pub(super) struct Item<'a> {
    pub(super) entry: Entry,
    /// Absolute, of where it comes from.
    pub(super) from: &'a Path,
    pub(super) to: &'a Target,
    pub(super) name: &'a OsStr,
    /// Absolute, of where it goes.
    pub(super) becomes: &'a Path,
}

impl<'a> Copy<'a> {
    pub(super) fn new(way: Way<'a>) -> Self {
        Self {
            way,
            files: 0,
            left_out: Vec::new(),
        }
    }

    /// Fails if something cannot be written. `depth` counts directories from the top of what is copied.
    pub(super) fn item(&mut self, item: Item<'_>, depth: usize) -> io::Result<()> {
        let Item {
            entry,
            from,
            to,
            name,
            becomes,
        } = item;
        let in_place = to.entry(name)?;
        let why_not = match (&entry, &in_place) {
            (Entry::Nothing, _) => return Ok(()),
            (Entry::Special, _) => Some(Reason::Special.explain().to_owned()),
            (Entry::Symlink(target), _) if !stays(target, depth) => Some(format!(
                "a symlink to {}, which is not followed and leads out of what is copied",
                target.to_string_lossy()
            )),
            (_, Entry::Symlink(_)) => Some(format!("{} is a symlink", becomes.display())),
            (_, Entry::Special) => Some(format!("{} is no file", becomes.display())),
            (Entry::Directory(_), Entry::File { .. }) => {
                Some(format!("{} is a file", becomes.display()))
            }
            (Entry::File { .. } | Entry::Symlink(_), Entry::Directory(_)) => {
                Some(format!("{} is a directory", becomes.display()))
            }
            (Entry::Directory(_), _) if depth >= DEEPEST => {
                Some(Reason::TooDeep.explain().to_owned())
            }
            _ => None,
        };
        if let Some(why) = why_not {
            self.leave_out(from, why);
            return Ok(());
        }
        match entry {
            Entry::Directory(directory) => {
                let to = to.enter(name, 0o755)?;
                self.directory(&directory, from, &to, becomes, depth)?;
            }
            Entry::File { mut content, mode } => {
                to.put_file(name, &mut content, mode)?;
                self.files += 1;
            }
            Entry::Symlink(target) => {
                to.put_link(name, &target)?;
                self.files += 1;
            }
            Entry::Nothing | Entry::Special => {}
        }
        Ok(())
    }

    /// All that is in it.
    pub(super) fn directory(
        &mut self,
        directory: &Directory,
        from: &Path,
        to: &Target,
        becomes: &Path,
        depth: usize,
    ) -> io::Result<()> {
        let names = match directory.names() {
            Ok(names) => names,
            Err(error) => {
                self.leave_out(from, error.to_string());
                return Ok(());
            }
        };
        // A symlink of the top directory has a depth of 0: from there, no `..` stays within.
        let depth = depth + 1;
        for name in &names {
            let (from, becomes) = (from.join(name), becomes.join(name));
            let entry = match self.entry(directory, name, &from, &becomes) {
                Ok(entry) => entry,
                Err(why) => {
                    self.leave_out(&from, why);
                    continue;
                }
            };
            let item = Item {
                entry,
                from: &from,
                to,
                name,
                becomes: &becomes,
            };
            self.item(item, depth)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        directory: &Directory,
        name: &OsStr,
        from: &Path,
        becomes: &Path,
    ) -> Result<Entry, String> {
        let (session, inside) = match self.way {
            Way::Out(session) => (session, from),
            Way::In(session) => (session, becomes),
        };
        let entry = match (self.way, session.mounted_at(inside)) {
            (_, None) => directory.entry(name).map_err(|error| error.to_string())?,
            (Way::Out(_), Some(Mounted::Layered(number))) => session
                .workspace(number)
                .map(Entry::Directory)
                .map_err(|error| error.to_string())?,
            (Way::Out(_), Some(Mounted::Itself)) => {
                return Err("your own directory, not a copy".to_owned());
            }
            (Way::In(_), Some(_)) => {
                return Err(
                    "a workspace of its own lies there: name it as the destination".to_owned(),
                );
            }
        };
        match self.way {
            Way::Out(_) if !is_allowed(name, &entry) => Err(Reason::Name.explain().to_owned()),
            Way::Out(_) | Way::In(_) => Ok(entry),
        }
    }

    fn leave_out(&mut self, path: &Path, why: String) {
        self.left_out.push((path.to_owned(), why));
    }
}

pub(super) fn is_allowed(name: &OsStr, entry: &Entry) -> bool {
    let kind = match entry {
        Entry::Nothing => return true,
        Entry::Symlink(_) => FileKind::Symlink,
        Entry::Directory(_) | Entry::File { .. } | Entry::Special => FileKind::Plain,
    };
    is_allowed_name(name.as_bytes(), kind)
}

/// Whether a symlink leads to something that is copied with it, if all other links that are copied do. `depth`
/// is that of the link: 0 is what is copied itself, 1 lies in it.
///
/// `..` can lead up only from where the link lies, which is no link: after a name, that may be one itself, who
/// knows where `..` leads?
fn stays(target: &OsStr, depth: usize) -> bool {
    let mut components = Path::new(target).components().peekable();
    let mut up = 0;
    while let Some(Component::ParentDir | Component::CurDir) = components.peek() {
        up += usize::from(components.next() == Some(Component::ParentDir));
    }
    up < depth && components.all(|it| matches!(it, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_are_told_from_those_that_stay() {
        let stays = |target: &str, depth| stays(OsStr::new(target), depth);
        assert!(stays("a", 1) && stays("a/b", 1) && stays("./a", 1) && stays("../a", 2));
        assert!(stays(".", 1) && stays("..", 2) && stays("../../a", 3));
        assert!(!stays("a", 0) && !stays("../a", 1) && !stays("..", 1) && !stays("../../a", 2));
        assert!(!stays("/etc/passwd", 5));
        // `link` may lead up, so that `link/../..` leads out.
        assert!(!stays("link/../..", 5) && !stays("../link/../a", 5));
    }
}
