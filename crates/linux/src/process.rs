//! Creating processes: `clone3` into namespaces, `fork`, `execve`, waiting.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::error::{SyscallError, SyscallResult, check};

/// The namespaces that a child starts in, as `CLONE_NEW*` bits.
pub const ALL_NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;

/// A user namespace alone.
pub const USER_NAMESPACE: u64 = libc::CLONE_NEWUSER as u64;

/// What [`clone_into`] and [`fork`] return, once on either side.
#[derive(Debug)]
pub enum Forked {
    Parent(Child),
    Child,
}

/// A direct child of this process, held by pidfd so that its id cannot be reused under us.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// The id in this process's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the child has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// SIGKILL; a child that has ended already is no error.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
    }

    /// Waits for the end and reaps.
    pub fn wait(&self) -> SyscallResult<Exit> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => return Ok(Exit::from(status)),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => {
                    return Err(SyscallError::new(
                        format!("waitpid({})", self.pid.as_raw_nonzero()),
                        errno,
                    ));
                }
            }
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// The status a shell would report: 128+n for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

impl From<WaitStatus> for Exit {
    fn from(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Code(0),
        }
    }
}

/// Reads another process's memory, as far as there is some from `address` on; needs what ptrace(2) needs. See
/// process_vm_readv(2).
pub fn read_memory(pid: Pid, address: u64, buffer: &mut [u8]) -> SyscallResult<usize> {
    let length = buffer.len();
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: length,
    };
    let pid = pid.as_raw_nonzero().get();
    let read = check!(
        // SAFETY: `local` describes `buffer`, which is writable and lives across the call; `remote` is an
        // address of the other process, which the kernel checks.
        unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) },
        "process_vm_readv({pid}, {address:#x}, {length} bytes)"
    )?;
    Ok(usize::try_from(read).unwrap_or(0))
}

/// How the process of a pidfd ended, once it was waited for; `None` before that, if the pidfd was opened after
/// that, and before Linux 6.15. See PIDFD_GET_INFO in `linux/pidfd.h`.
pub fn exit_of(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    use std::os::fd::AsRawFd;
    // SAFETY: all fields are integers, for which zeroes are valid.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = libc::PIDFD_INFO_EXIT.into();
    // SAFETY: `info` is writable, and of the size that the request's number tells.
    let told = unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &mut info) };
    let has_ended = told == 0 && info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0;
    has_ended.then(|| match libc::WIFSIGNALED(info.exit_code) {
        true => Exit::Signal(libc::WTERMSIG(info.exit_code)),
        false => Exit::Code(libc::WEXITSTATUS(info.exit_code)),
    })
}

/// Whether pidfds tell that their process was waited for, by EPOLLHUP: since Linux 6.9, in which they became
/// files of pidfs.
pub fn tells_of_reaping(pidfd: BorrowedFd<'_>) -> bool {
    /// `PID_FS_MAGIC` of `linux/magic.h`.
    const PIDFS: rustix::fs::FsWord = 0x5049_4446;
    rustix::fs::fstatfs(pidfd).is_ok_and(|kind| kind.f_type == PIDFS)
}

/// Forks into new namespaces (`flags`: `CLONE_NEW*`). The child is SIGKILLed when the calling
/// thread ends.
///
/// The calling process must have one thread only, or the child could inherit held locks; that is
/// checked. See clone(2), pidfd in `CLONE_PIDFD`.
pub fn clone_into(flags: u64) -> SyscallResult<Forked> {
    require_single_thread()?;
    let mut pidfd: RawFd = -1;
    let mut arguments = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    let pid = check!(
        // SAFETY: without CLONE_VM and with a null stack this is a fork: the child runs on a copy of
        // this stack. `arguments` and `pidfd` live across the call, and the size is that of the struct.
        // One thread only (checked above), so no lock is held by a thread that the child lacks.
        unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw mut arguments,
                size_of::<libc::clone_args>(),
            )
        },
        "clone3({})",
        namespace_names(flags)
    )?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so `pidfd` is a fresh descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.expect("clone3 returns a positive process id to the parent");
    Ok(Forked::Parent(Child { pid, pidfd }))
}

/// A plain fork of a single-threaded process.
pub fn fork() -> SyscallResult<Forked> {
    clone_into(0)
}

fn require_single_thread() -> SyscallResult<()> {
    let entries = std::fs::read_dir("/proc/self/task")
        .map_err(|source| SyscallError::new("open(\"/proc/self/task\")", source))?;
    match entries.count() {
        1 => Ok(()),
        threads => Err(SyscallError::new(
            "clone3()",
            io::Error::other(format!(
                "this process has {threads} threads, forking needs one"
            )),
        )),
    }
}

fn namespace_names(flags: u64) -> String {
    const NAMES: [(libc::c_int, &str); 7] = [
        (libc::CLONE_NEWUSER, "CLONE_NEWUSER"),
        (libc::CLONE_NEWNS, "CLONE_NEWNS"),
        (libc::CLONE_NEWPID, "CLONE_NEWPID"),
        (libc::CLONE_NEWNET, "CLONE_NEWNET"),
        (libc::CLONE_NEWIPC, "CLONE_NEWIPC"),
        (libc::CLONE_NEWUTS, "CLONE_NEWUTS"),
        (libc::CLONE_NEWCGROUP, "CLONE_NEWCGROUP"),
    ];
    let set: Vec<_> = NAMES
        .iter()
        .filter(|(bit, _)| flags & *bit as u64 != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join("|")
}

/// SIGKILL for this process when the thread that created it ends. See PR_SET_PDEATHSIG(2const):
/// cleared by a change of credentials, so to be called after it.
pub fn die_with_parent() -> SyscallResult<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|source| SyscallError::new("prctl(PR_SET_PDEATHSIG, SIGKILL)", source))
}

/// Replaces the program; returns only on failure.
pub fn execve(
    program: &Path,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Infallible, SyscallError> {
    let shown = format!("execve({:?})", program);
    let Ok(program) = CString::new(program.as_os_str().as_bytes()) else {
        return Err(SyscallError::from_errno(shown, libc::EINVAL));
    };
    let argv = null_terminated(arguments);
    let envp = null_terminated(environment);
    // SAFETY: `program` is a C string; both arrays hold pointers to C strings that outlive the call
    // and end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(SyscallError::last(shown))
}

fn null_terminated(strings: &[CString]) -> Vec<*const libc::c_char> {
    let mut pointers: Vec<_> = strings.iter().map(|text| CStr::as_ptr(text)).collect();
    pointers.push(std::ptr::null());
    pointers
}

/// Ends this process at once, without running destructors or exit handlers: for a forked child that
/// shares its parent's buffers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// Held by a forked child: a panic that would unwind into the code copied from its parent ends the
/// process instead.
#[derive(Debug)]
pub struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit_now(101)
    }
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) -> SyscallResult<()> {
    check!(
        // SAFETY: close_range takes no pointer. Owners of these descriptors in this process must not be
        // used afterwards; the callers exec or exit next.
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) },
        "close_range({first}, ~0)"
    )?;
    Ok(())
}

/// Makes `fd` descriptor number `target` and closes all others from `target` on: for a forked child
/// that must not hold on to anything of its parent.
pub fn keep_only(fd: BorrowedFd<'_>, target: u32) -> SyscallResult<OwnedFd> {
    let number = RawFd::try_from(target).unwrap_or(RawFd::MAX);
    dup_onto(fd, number)?;
    // SAFETY: `number` is open (just made) and its former owner, if any, is in the memory copied from
    // the parent, which this child never runs down.
    let kept = unsafe { OwnedFd::from_raw_fd(number) };
    close_from(target + 1)?;
    Ok(kept)
}

/// Sets close-on-exec on every descriptor from `first` on.
pub fn close_on_exec_from(first: u32) -> SyscallResult<()> {
    check!(
        // SAFETY: close_range takes no pointer, and with CLOSE_RANGE_CLOEXEC it only sets a flag.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        },
        "close_range({first}, ~0, CLOSE_RANGE_CLOEXEC)"
    )?;
    Ok(())
}

/// Makes `fd` this process's descriptor number `target`, without close-on-exec.
pub fn dup_onto(fd: BorrowedFd<'_>, target: RawFd) -> SyscallResult<()> {
    use std::os::fd::AsRawFd;
    let source = fd.as_raw_fd();
    if source == target {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
            .map_err(|errno| SyscallError::new(format!("fcntl({source}, F_SETFD)"), errno))?;
        return Ok(());
    }
    check!(
        // SAFETY: dup2 takes no pointer. The targets are 0 to 2, which no OwnedFd of this crate holds.
        unsafe { libc::dup2(source, target) },
        "dup2({source}, {target})"
    )?;
    Ok(())
}

/// Hides this process's memory and `/proc/<pid>` files from others of the same uid.
pub fn forbid_dump() -> SyscallResult<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|source| SyscallError::new("prctl(PR_SET_DUMPABLE, 0)", source))
}

/// A C string for an argument or `K=V` pair; `None` if it holds a NUL.
pub fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}
