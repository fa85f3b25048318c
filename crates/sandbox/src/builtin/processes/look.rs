//! Looking at a process: what it asks for, and what it runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::process::Pid;
use wardian_linux::procfs::{self, Processes};
use wardian_linux::seccomp::WaitingExec;
use wardian_linux::{SyscallError, SyscallResult, process};

use super::memory::Memory;
use super::{MOST_BYTES, Program, Start};

/// A process, by its directory in procfs.
#[derive(Debug)]
pub(super) struct Looked {
    directory: OwnedFd,
    pub(super) process: Pid,
    pub(super) start: Start,
    /// What it has run so far, if that can be told.
    pub(super) before: Option<Program>,
}

/// Takes down what a waiting thread asks for. What cannot be read is left empty, and `unreadable` says so; the
/// caller checks afterwards that the thread still waits, or all of this may be about another one.
pub(super) fn at(processes: &Processes, call: &WaitingExec) -> SyscallResult<Looked> {
    let directory = processes.process(call.thread)?;
    let Numbers { process, parent } = numbers(&directory)?;
    let mut start = Start {
        pid: unsigned(process),
        parent,
        program: Program::default(),
        directory: OsString::new(),
        unreadable: None,
    };
    let read = read_directory(&directory, &mut start)
        .and_then(|()| read_program(&directory, call, &mut start.program));
    start.unreadable = read.err().map(|error| error.to_string());
    let before = runs(&directory);
    Ok(Looked {
        directory,
        process,
        start,
        before,
    })
}

fn read_directory(directory: &OwnedFd, start: &mut Start) -> SyscallResult<()> {
    start.directory = procfs::link(directory, "cwd")?;
    Ok(())
}

fn read_program(
    directory: &OwnedFd,
    call: &WaitingExec,
    program: &mut Program,
) -> SyscallResult<()> {
    // Not by /proc/<pid>/mem: that of a process which hides belongs to a user whom pid 1 may not know.
    let mut memory = Memory::new(|buffer: &mut [u8], address| {
        process::read_memory(call.thread, address, buffer)
    });
    let path = memory.path(call.path)?;
    program.executable = beneath(directory, call.directory, path)?;
    (program.arguments, program.truncated) = memory.list(call.arguments)?;
    Ok(())
}

/// A path by the descriptor that it starts from; alone, where it is empty (`AT_EMPTY_PATH`).
fn beneath(directory: &OwnedFd, descriptor: i32, path: OsString) -> SyscallResult<OsString> {
    if descriptor < 0 || path.as_bytes().starts_with(b"/") {
        return Ok(path);
    }
    let mut whole = procfs::link(directory, &format!("fd/{descriptor}"))?;
    if !path.is_empty() {
        whole.push("/");
        whole.push(path);
    }
    Ok(whole)
}

#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    process: Pid,
    parent: u32,
}

fn numbers(directory: &OwnedFd) -> SyscallResult<Numbers> {
    let mut status = Vec::new();
    procfs::open(directory, "status")?
        .read_to_end(&mut status)
        .map_err(|error| SyscallError::new("read(\"status\")", error))?;
    Numbers::from_status(&status)
        .ok_or_else(|| SyscallError::new("read(\"status\")", io::Error::other("no number in it")))
}

impl Numbers {
    /// See proc_pid_status(5). The name, which comes first and is the process's own choice, has no newline.
    fn from_status(status: &[u8]) -> Option<Self> {
        let field = |name: &[u8]| {
            let mut lines = status.split(|byte| *byte == b'\n');
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            std::str::from_utf8(value).ok()?.trim().parse::<i32>().ok()
        };
        Some(Self {
            process: Pid::from_raw(field(b"Tgid:")?)?,
            parent: field(b"PPid:")?.unsigned_abs(),
        })
    }
}

fn unsigned(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

impl Looked {
    /// Whether there certainly is no file of that name: who looks for a program in each directory of `PATH`
    /// asks for many that are not there, and none of these is a start. In doubt, it is.
    pub(super) fn is_absent(&self) -> bool {
        let path = Path::new(&self.start.program.executable);
        self.start.unreadable.is_none() && plainly_absent(path) && self.sees_our_files()
    }

    /// In the mount namespace and below the root of this process.
    fn sees_our_files(&self) -> bool {
        let namespace = |directory: &OwnedFd| procfs::link(directory, "ns/mnt").ok();
        let own = procfs::myself().ok().and_then(|own| namespace(&own));
        own.is_some()
            && own == namespace(&self.directory)
            && root_of(&self.directory, "root/.")
                .is_some_and(|root| root_of(CWD, "/") == Some(root))
    }
}

/// Which directory of which mount.
fn root_of(directory: impl AsFd, path: &str) -> Option<(u64, u64)> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(directory, path, AtFlags::empty(), wanted).ok()?;
    let has_both = found.stx_mask & wanted.bits() == wanted.bits();
    has_both.then_some((found.stx_ino, found.stx_mnt_id))
}

/// Only directories that everybody may search lead to the gap, and no link: so whoever asks learns nothing that
/// they would not by themselves. Not in `/proc`, of which each process sees another.
fn plainly_absent(path: &Path) -> bool {
    if !path.is_absolute() {
        return false;
    }
    let mut reached = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::RootDir => continue,
            Component::Normal(name) => reached.push(name),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return false,
        }
        match fs::symlink_metadata(&reached) {
            Err(error) => return error.raw_os_error() == Some(NO_ENTRY),
            Ok(found) => {
                let is_open =
                    found.is_dir() && found.permissions().mode() & SEARCHABLE == SEARCHABLE;
                if !is_open || reached == Path::new("/proc") {
                    return false;
                }
            }
        }
    }
    false
}

const NO_ENTRY: i32 = rustix::io::Errno::NOENT.raw_os_error();
/// By owner, group and everybody else.
const SEARCHABLE: u32 = 0o111;

/// What the process runs by now; `None` if it is over.
pub(super) fn again(processes: &Processes, process: Pid) -> Option<Program> {
    runs(&processes.process(process).ok()?)
}

fn runs(directory: &OwnedFd) -> Option<Program> {
    let executable = procfs::link(directory, "exe").ok()?;
    let mut text = Vec::new();
    procfs::open(directory, "cmdline")
        .ok()?
        .take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .ok()?;
    let truncated = text.len() > MOST_BYTES;
    text.truncate(MOST_BYTES);
    Some(Program {
        executable,
        arguments: split(&text),
        truncated,
    })
}

/// Each argument ends with a zero.
fn split(text: &[u8]) -> Vec<OsString> {
    let whole = text.strip_suffix(b"\0").unwrap_or(text);
    match text {
        [] => Vec::new(),
        _ => whole
            .split(|byte| *byte == 0)
            .map(|argument| OsString::from_vec(argument.to_vec()))
            .collect(),
    }
}

/// Whether `found` is what was asked for: the same file, and the same arguments as far as both are known.
pub(super) fn is_as_asked(
    processes: &Processes,
    process: Pid,
    asked: &Start,
    found: &Program,
) -> bool {
    let known = asked.program.arguments.len().min(found.arguments.len());
    let arguments = match asked.program.truncated || found.truncated {
        // The last one may be cut.
        true => {
            let known = known.saturating_sub(1);
            asked.program.arguments[..known] == found.arguments[..known]
        }
        false => asked.program.arguments == found.arguments,
    };
    arguments && is_same_file(processes, process, asked)
}

fn is_same_file(processes: &Processes, process: Pid, asked: &Start) -> bool {
    let path = Path::new(&asked.directory).join(&asked.program.executable);
    let runs = processes.process(process).and_then(|directory| {
        rustix::fs::statat(directory, OsStr::new("exe"), AtFlags::empty())
            .map_err(|errno| SyscallError::new("stat(\"exe\")", errno))
    });
    match (fs::metadata(path), runs) {
        (Ok(asked), Ok(runs)) => (asked.dev(), asked.ino()) == (runs.st_dev, runs.st_ino),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_process() {
        let status =
            b"Name:\tTgid:\\n7\nUmask:\t0022\nState:\tS\nTgid:\t12\nNgid:\t0\nPid:\t13\nPPid:\t1\n";
        let numbers = Numbers::from_status(status).unwrap();
        assert_eq!((unsigned(numbers.process), numbers.parent), (12, 1));
        assert_eq!(
            Numbers::from_status(b"Name:\tx\nTgid:\t0\nPPid:\t1\n"),
            None
        );
    }

    #[test]
    fn command_lines_are_split_at_zeroes() {
        assert_eq!(split(b""), Vec::<OsString>::new());
        assert_eq!(split(b"sh\0-c\0\0"), ["sh", "-c", ""]);
        assert_eq!(split(b"a title"), ["a title"]);
    }

    #[test]
    fn only_what_anybody_can_see_is_absent() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/usr", directory.path().join("link")).unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let absent = |path: &str| plainly_absent(&directory.path().join(path));
        assert!(absent("no") && absent("no/such/path") && absent("closed/no"));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(!absent("closed/no"));
        assert!(!absent("link/no") && !absent("file/no") && !absent("file") && !absent("../no"));
        assert!(!plainly_absent(Path::new("/proc/self/fd/99")));
        assert!(!plainly_absent(Path::new("no")));
    }

    #[test]
    fn this_process_is_found_as_it_is() {
        let processes = Processes::open().unwrap();
        let own = rustix::process::getpid();
        let found = again(&processes, own).unwrap();
        let expected: Vec<OsString> = std::env::args_os().collect();
        assert_eq!(found.arguments, expected);
        assert_eq!(
            Path::new(&found.executable),
            std::env::current_exe().unwrap()
        );
        let mut asked = Start {
            pid: unsigned(own),
            parent: 0,
            program: found.clone(),
            directory: std::env::current_dir().unwrap().into(),
            unreadable: None,
        };
        assert!(is_as_asked(&processes, own, &asked, &found));
        asked.program.executable = "/bin/sh".into();
        assert!(!is_as_asked(&processes, own, &asked, &found));
    }
}
