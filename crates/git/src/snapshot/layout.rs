//! Directories and files as an index has them: a sorted list of paths, of which a directory is a range.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gix::bstr::{BStr, ByteSlice};
use gix::index::entry::{Flags, Mode, Stage};
use gix::index::{Entry, State};
use wardian_filesystem::snapshot::Node;

/// Node numbers of files lie above, those of directories below.
const FILE_BITS: u32 = 32;

pub(super) struct Layout {
    index: State,
    /// Which entries of the index are shown, sorted by path. A position is an index into this.
    shown: Vec<u32>,
    /// In the order in which a walk meets them. The first is the top.
    directories: Vec<Directory>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directory {
    /// Positions of what lies below it.
    start: u32,
    end: u32,
    /// Length of its path, with a slash at the end.
    prefix: u32,
    shows: Shows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Entries,
    /// The place of a submodule, which is empty here.
    Nothing,
}

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Directory(Directory),
    /// A file or symlink, by its position.
    File(usize),
}

impl Layout {
    /// Leaves out what is not in the work tree, and what git would not write to disk.
    pub(super) fn new(index: State) -> Result<Self, String> {
        let entries = index.entries();
        u32::try_from(entries.len()).map_err(|_| "too many entries".to_owned())?;
        let mut tree = Builder::default();
        for (number, entry) in (0u32..).zip(entries) {
            if is_shown(entry) {
                tree.add(&index, number, entry.path(&index), entry.mode);
            }
        }
        let Builder {
            shown, directories, ..
        } = tree.finish();
        Ok(Self {
            index,
            shown,
            directories,
        })
    }

    pub(super) fn index(&self) -> &State {
        &self.index
    }

    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    pub(super) fn entry(&self, position: usize) -> &Entry {
        &self.index.entries()[self.shown[position] as usize]
    }

    pub(super) fn path(&self, position: usize) -> &BStr {
        self.entry(position).path(&self.index)
    }

    /// Times of modification and of change, if the index knows of a file on disk.
    pub(super) fn times(&self, position: usize) -> Option<(SystemTime, SystemTime)> {
        let stat = &self.entry(position).stat;
        let time = |time: gix::index::entry::stat::Time| {
            UNIX_EPOCH + Duration::new(time.secs.into(), time.nsecs.min(999_999_999))
        };
        (stat.mtime.secs != 0).then(|| (time(stat.mtime), time(stat.ctime)))
    }

    /// In bytes, if the index knows of a file on disk. Git sets it to 0 as well where it does not trust the
    /// times.
    pub(super) fn size(&self, position: usize) -> Option<u64> {
        let entry = self.entry(position);
        let stat = &entry.stat;
        // Of 4 GiB and more, the index has the lower half.
        let known = stat.mtime.secs != 0 && (stat.size != 0 || entry.id.is_empty_blob());
        known.then_some(stat.size.into())
    }

    pub(super) fn find(&self, node: Node) -> Option<Found> {
        if node.0 >> FILE_BITS == 0 {
            let number = usize::try_from(node.0.checked_sub(1)?).ok()?;
            return self.directories.get(number).copied().map(Found::Directory);
        }
        let position = usize::try_from((node.0 >> FILE_BITS) - 1).ok()?;
        (position < self.len() && self.node_of_file(position) == node)
            .then_some(Found::File(position))
    }

    pub(super) fn look_up(&self, directory: Directory, name: &BStr) -> Option<Node> {
        if directory.shows == Shows::Nothing || !is_plain(name) {
            return None;
        }
        let (start, end) = (directory.start as usize, directory.end as usize);
        let at = start
            + self.shown[start..end]
                .partition_point(|number| self.name_below(*number, directory) < name.as_bytes());
        if at < end && self.name_below(self.shown[at], directory) == name.as_bytes() {
            return Some(self.node_at(at, directory, name.len()));
        }
        // What lies below a directory comes later than some names that begin with its own.
        let at = at
            + self.shown[at..end].partition_point(|number| {
                before_all_below(self.name_below(*number, directory), name)
            });
        let below = at < end
            && self
                .name_below(self.shown[at], directory)
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'/'));
        below.then(|| self.node_at(at, directory, name.len()))
    }

    /// Entries of a directory from a position on: name, node, and the position where the next one is.
    pub(super) fn list(
        &self,
        directory: Directory,
        from: usize,
    ) -> impl Iterator<Item = (&BStr, Node, usize)> {
        let (start, end) = match directory.shows {
            Shows::Entries => (directory.start as usize, directory.end as usize),
            Shows::Nothing => (0, 0),
        };
        let mut position = from.max(start);
        std::iter::from_fn(move || {
            if position >= end {
                return None;
            }
            let at = position;
            let below = self.name_below(self.shown[at], directory);
            let length = below.find_byte(b'/').unwrap_or(below.len());
            let node = self.node_at(at, directory, length);
            position = match self.find(node) {
                Some(Found::Directory(child)) => child.end as usize,
                _ => at + 1,
            };
            Some((below[..length].as_bstr(), node, position))
        })
    }

    /// The child of `directory` whose first entry is at `position` and whose name has this length.
    fn node_at(&self, position: usize, directory: Directory, length: usize) -> Node {
        let prefix = directory.prefix as usize + length + 1;
        let key = (position, prefix);
        let found = self
            .directories
            .binary_search_by_key(&key, |child| (child.start as usize, child.prefix as usize));
        match found {
            Ok(number) => Node(number as u64 + 1),
            Err(_) => self.node_of_file(position),
        }
    }

    /// The lower half is the inode number that the index has, which is as much of a number as git looks at.
    /// The upper half tells apart hard links, and files that the index knows no number of.
    fn node_of_file(&self, position: usize) -> Node {
        let number = self.entry(position).stat.ino;
        Node((position as u64 + 1) << FILE_BITS | u64::from(number))
    }

    /// The rest of an entry's path, for one that lies below `directory`.
    fn name_below(&self, number: u32, directory: Directory) -> &[u8] {
        let path = self.index.entries()[number as usize].path(&self.index);
        &path[directory.prefix as usize..]
    }
}

#[derive(Default)]
struct Builder {
    shown: Vec<u32>,
    directories: Vec<Directory>,
    /// Those that the latest entry lies in, by their place in `directories`.
    open: Vec<usize>,
}

impl Builder {
    fn add(&mut self, index: &State, number: u32, path: &BStr, mode: Mode) {
        if self.directories.is_empty() {
            self.enter(0, Shows::Entries);
        }
        let path_of = |number: u32| index.entries()[number as usize].path(index);
        let last = self.shown.last().map(|last| path_of(*last));
        // Out of order: nobody could find it.
        if last.is_some_and(|last| last >= path) {
            return;
        }
        // Directories that the last one lies in were looked at already.
        let common = last.map_or(0, |last| shared_directories(last, path));
        let names = path[common..].split(|byte| *byte == b'/');
        if !names.clone().all(|name| is_plain(name.as_bstr())) {
            return;
        }
        let mut end = common;
        let entered: Vec<_> = names
            .map(|name| {
                end += name.len() + 1;
                end
            })
            .filter(|prefix| *prefix <= path.len())
            .collect();
        // A file that others lie below.
        let is_file = |prefix: &usize| {
            let above = path[..prefix - 1].as_bstr();
            let found = self
                .shown
                .binary_search_by(|number| path_of(*number).cmp(above));
            found.is_ok()
        };
        if entered.iter().any(is_file) {
            return;
        }
        self.leave(common);
        for prefix in entered {
            self.enter(prefix, Shows::Entries);
        }
        if mode == Mode::COMMIT {
            self.enter(path.len() + 1, Shows::Nothing);
        }
        self.shown.push(number);
    }

    fn finish(mut self) -> Self {
        if self.directories.is_empty() {
            self.enter(0, Shows::Entries);
        }
        let end = self.position();
        for open in std::mem::take(&mut self.open) {
            self.directories[open].end = end;
        }
        self
    }

    fn enter(&mut self, prefix: usize, shows: Shows) {
        let start = self.position();
        self.open.push(self.directories.len());
        self.directories.push(Directory {
            start,
            end: start,
            // A path's length has 32 bits in the index.
            prefix: u32::try_from(prefix).unwrap_or(u32::MAX),
            shows,
        });
    }

    /// Closes directories whose path is longer than what the next entry shares with the latest.
    fn leave(&mut self, common: usize) {
        let end = self.position();
        while let Some(&open) = self.open.last()
            && self.directories[open].prefix as usize > common
        {
            self.directories[open].end = end;
            self.open.pop();
        }
    }

    fn position(&self) -> u32 {
        // No more than there are entries.
        u32::try_from(self.shown.len()).unwrap_or(u32::MAX)
    }
}

/// Length of the path of the innermost directory that both lie in, with its slash.
fn shared_directories(one: &[u8], other: &[u8]) -> usize {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    one[..same].rfind_byte(b'/').map_or(0, |slash| slash + 1)
}

/// Whether a path sorts before all that lies below a directory `name`.
fn before_all_below(path: &[u8], name: &[u8]) -> bool {
    let length = path.len().min(name.len());
    match path[..length].cmp(&name[..length]) {
        Ordering::Equal => path.get(name.len()).is_none_or(|next| *next < b'/'),
        order => order == Ordering::Less,
    }
}

fn is_shown(entry: &Entry) -> bool {
    let in_work_tree = !entry.flags.contains(Flags::SKIP_WORKTREE);
    let has_kind = matches!(
        entry.mode,
        Mode::FILE | Mode::FILE_EXECUTABLE | Mode::SYMLINK | Mode::COMMIT
    );
    in_work_tree && has_kind && entry.stage() == Stage::Unconflicted
}

/// A name that git would write to disk as well. A `.git` here would lie below the session's own.
fn is_plain(name: &BStr) -> bool {
    let special =
        matches!(name.as_bytes(), b"" | b"." | b"..") || name.eq_ignore_ascii_case(b".git");
    !special && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests;
