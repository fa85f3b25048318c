//! Test support: bodies that run in a forked child, because they change the process for good.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::check;
use crate::fdpass;
use crate::userns::{SupplementaryGroups, set_ids};

/// An ordinary user of the host, for tests that start as root.
pub(crate) const ORDINARY: u32 = 60_123;

/// Runs `body` in a forked child; panics here with the message it panicked with there.
pub(crate) fn in_child(body: impl FnOnce()) {
    let (parent, child) = UnixStream::pair().unwrap();
    let pid = fork_with(&child, body);
    drop(child);
    finish(pid, &parent);
}

/// Forks a child that sends descriptors to `outside` in this process first, then runs `inside`.
/// `outside` is expected to serve them on threads of its own.
pub(crate) fn in_child_with_descriptors<R>(
    make: impl FnOnce() -> (Vec<OwnedFd>, R),
    outside: impl FnOnce(Vec<OwnedFd>),
    inside: impl FnOnce(R),
) {
    let (parent, child) = UnixStream::pair().unwrap();
    let pid = fork_with(&child, || {
        let (descriptors, rest) = make();
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        fdpass::send(&child, b"descriptors", &borrowed).unwrap();
        drop(descriptors);
        inside(rest);
    });
    drop(child);
    let first = fdpass::receive(&parent).unwrap();
    match first {
        Some((text, descriptors)) if text == b"descriptors" => {
            outside(descriptors);
            finish(pid, &parent);
        }
        Some((message, _)) => {
            reap(pid);
            panic!("in the child: {}", String::from_utf8_lossy(&message));
        }
        None => panic!("the child ended without a word: {:?}", reap(pid)),
    }
}

/// Ends as a user without any privilege, in this (forked) process.
pub(crate) fn become_ordinary() {
    assert_eq!(
        rustix::process::geteuid().as_raw(),
        0,
        "this test must be started as root"
    );
    set_ids(ORDINARY, ORDINARY, SupplementaryGroups::Drop).unwrap();
    // A change of uid hides /proc/self from oneself.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
}

/// New namespaces (`CLONE_NEW*`) for this (forked, single-threaded) process. With CLONE_NEWUSER,
/// the ids are mapped to 0.
pub(crate) fn unshare(flags: libc::c_int) {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    // SAFETY: unshare takes no pointer.
    check!(unsafe { libc::unshare(flags) }, "unshare({flags:#x})").unwrap();
    if flags & libc::CLONE_NEWUSER != 0 {
        std::fs::write("/proc/self/setgroups", "deny").unwrap();
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    }
}

fn fork_with(socket: &UnixStream, body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: takes no pointer. The child continues with this thread alone; glibc makes malloc usable
    // there, and the child leaves by _exit without touching what other threads may have locked.
    let pid = check!(unsafe { libc::fork() }, "fork()").unwrap();
    if pid != 0 {
        return pid;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // The message travels by the socket; the harness's own hook could wait for a lock.
        std::panic::set_hook(Box::new(|_| {}));
        body();
    }));
    let code = match outcome {
        Ok(()) => 0,
        Err(payload) => {
            let text = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without a message");
            let _ = fdpass::send(socket, text.as_bytes(), &[]);
            101
        }
    };
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

fn finish(pid: libc::pid_t, socket: &UnixStream) {
    let said = fdpass::receive(socket);
    let status = reap(pid);
    match said {
        Ok(Some((message, _))) => panic!("in the child: {}", String::from_utf8_lossy(&message)),
        _ => assert_eq!(status, 0, "wait status of the child"),
    }
}

fn reap(pid: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    check!(
        // SAFETY: `status` is writable and lives across the call.
        unsafe { libc::waitpid(pid, &mut status, 0) },
        "waitpid({pid})"
    )
    .unwrap();
    status
}
