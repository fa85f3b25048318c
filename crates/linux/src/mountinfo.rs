//! The mounts that a process sees, as `/proc/self/mountinfo` lists them. See proc_pid_mountinfo(5).

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags};

use crate::error::{SyscallError, SyscallResult, failed};

/// A line: `41 31 0:38 /root /mount/point rw,relatime shared:1 - cgroup2 source rw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub id: u64,
    /// The mount that this one is mounted on.
    pub parent: u64,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where, as this process names it. Another mount may lie on top.
    pub point: PathBuf,
    /// The file system's type: `ext4`.
    pub kind: OsString,
    /// Options of the file system as a whole, separated by commas.
    pub super_options: OsString,
}

/// All that lie below this process's root.
pub fn read() -> SyscallResult<Vec<Mount>> {
    const FILE: &str = "/proc/self/mountinfo";
    let text = std::fs::read(FILE)
        .map_err(|source| SyscallError::new(format!("open({FILE:?})"), source))?;
    Ok(parse(&text))
}

/// The [`id`](Mount::id) of the mount that an open file or directory lies on, `O_PATH` or not.
pub fn id_of(file: BorrowedFd<'_>) -> SyscallResult<u64> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map(|status| status.stx_mnt_id)
        .map_err(failed!("statx(<file>, STATX_MNT_ID)"))
}

/// Lines that make no sense are passed over.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(Mount::parse).collect()
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let root = fields.nth(1)?;
        let point = fields.next()?;
        // Optional fields end at a lone hyphen.
        fields.by_ref().find(|field| *field == b"-")?;
        let kind = fields.next()?;
        let super_options = fields.nth(1)?;
        Some(Self {
            id,
            parent,
            root: unescape(root),
            point: unescape(point),
            kind: OsStr::from_bytes(kind).to_owned(),
            super_options: OsStr::from_bytes(super_options).to_owned(),
        })
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = |digit: u8| (b'0'..=b'7').contains(&digit).then(|| digit - b'0');
        let escaped = match (first, after) {
            (b'\\', [a, b, c, ..]) => octal(*a)
                .filter(|high| *high < 4)
                .zip(octal(*b))
                .zip(octal(*c))
                .map(|((a, b), c)| a * 64 + b * 8 + c),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            &after[3..]
        } else {
            after
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn lines_are_taken_apart() {
        let text = b"\
29 27 254:0 /srv/log /var/log rw,relatime shared:7 master:2 - ext4 /dev/vda rw,discard
nonsense
30 29 0:40 / /var/log/with\\040space\\134 rw - fuse.sshfs a@b: rw,user_id=0
31 x 0:40 / /x rw - tmpfs none rw
32 29 0:40 / /cut rw shared:1
";
        let mounts = parse(text);
        let [log, space] = mounts.as_slice() else {
            panic!("{mounts:?}");
        };
        assert_eq!((log.id, log.parent), (29, 27));
        assert_eq!(log.root, PathBuf::from("/srv/log"));
        assert_eq!(
            (log.kind.as_os_str(), log.super_options.as_os_str()),
            ("ext4".as_ref(), "rw,discard".as_ref())
        );
        assert_eq!(space.point, PathBuf::from("/var/log/with space\\"));
        assert_eq!(space.kind, "fuse.sshfs");
    }

    #[test]
    fn an_open_directory_lies_on_one_of_them() {
        let proc = std::fs::File::open("/proc/self").unwrap();
        let id = id_of(proc.as_fd()).unwrap();
        let mounts = read().unwrap();
        let found = mounts.iter().find(|mount| mount.id == id).unwrap();
        assert_eq!(
            (found.point.to_str(), found.kind.to_str()),
            (Some("/proc"), Some("proc"))
        );
    }
}
