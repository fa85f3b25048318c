//! Real calls of a child under the filter, answered in this process.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::*;
use crate::seccomp::{Profile, install_with_listener};
use crate::testing::in_child_with_descriptors;

/// Sends the listener of a filter over this process out, for `in_child_with_descriptors`.
fn listening() -> (Vec<OwnedFd>, ()) {
    rustix::thread::set_no_new_privs(true).unwrap();
    let listener = install_with_listener(&Profile::default()).unwrap();
    (vec![listener.0], ())
}

fn the_only(descriptors: Vec<OwnedFd>) -> Listener {
    let [listener] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
    Listener::from(listener)
}

/// Answers with `decide` on a thread of its own, until all who could ask are gone.
fn serve(
    descriptors: Vec<OwnedFd>,
    mut decide: impl FnMut(&Listener, WaitingExec) + Send + 'static,
) {
    let listener = the_only(descriptors);
    std::thread::spawn(move || {
        while wait(&listener).contains(PollFlags::IN) {
            if let Some(call) = listener.next().unwrap() {
                decide(&listener, call);
            }
        }
    });
}

fn wait(listener: &Listener) -> PollFlags {
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    poll(&mut ready, Some(&limit)).unwrap();
    ready[0].revents()
}

fn path_of(call: &WaitingExec) -> String {
    let memory = File::open(format!("/proc/{}/mem", call.thread.as_raw_nonzero())).unwrap();
    let mut bytes = [0; 64];
    let read = memory.read_at(&mut bytes, call.path).unwrap();
    let end = bytes[..read].iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[test]
fn who_listens_decides_on_each_program() {
    in_child_with_descriptors(
        listening,
        |descriptors| {
            serve(descriptors, |listener, call| {
                let path = path_of(&call);
                assert!(listener.is_waiting(call.id));
                match path.as_str() {
                    "/bin/true" | "/bin/sh" => listener.proceed(call.id).unwrap(),
                    _ => listener.refuse(call.id, libc::EPERM).unwrap(),
                }
                assert!(!listener.is_waiting(call.id));
            })
        },
        |()| {
            assert!(Command::new("/bin/true").status().unwrap().success());
            let refused = Command::new("/bin/false").status().unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            // By fork and by vfork, below one that was allowed.
            let script = "/bin/true && ! /bin/ls && exec /bin/true";
            let status = Command::new("/bin/sh")
                .args(["-c", script])
                .status()
                .unwrap();
            assert!(status.success(), "{status}");
        },
    );
}

#[test]
fn a_call_by_descriptor_waits_too() {
    in_child_with_descriptors(
        listening,
        |descriptors| {
            serve(descriptors, |listener, call| {
                let found = (call.directory >= 0, call.flags, path_of(&call));
                let by_descriptor = found == (true, libc::AT_EMPTY_PATH, String::new());
                let errno = if by_descriptor {
                    libc::ENOTSUP
                } else {
                    libc::EIO
                };
                listener.refuse(call.id, errno).unwrap();
            })
        },
        |()| {
            let program = File::open("/bin/true").unwrap();
            let arguments = [c"true".as_ptr(), std::ptr::null()];
            // SAFETY: all strings and lists end with a zero and live across the call.
            let called = unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    program.as_raw_fd(),
                    c"".as_ptr(),
                    arguments.as_ptr(),
                    arguments[1..].as_ptr(),
                    libc::AT_EMPTY_PATH,
                )
            };
            let error = std::io::Error::last_os_error();
            assert_eq!((called, error.raw_os_error()), (-1, Some(libc::ENOTSUP)));
        },
    );
}

#[test]
fn what_nobody_listens_to_any_more_fails() {
    in_child_with_descriptors(listening, drop, |()| {
        let error = Command::new("/bin/true").status().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSYS));
    });
}

/// A program inside may add filters; none takes the question away, and a second listener is refused.
#[test]
fn filters_below_cannot_answer_instead() {
    in_child_with_descriptors(
        listening,
        |descriptors| {
            serve(descriptors, |listener, call| {
                listener.refuse(call.id, libc::EPERM).unwrap();
            })
        },
        |()| {
            let second = install_with_listener(&Profile::default()).unwrap_err();
            assert_eq!(second.errno(), Some(libc::EBUSY));
            crate::seccomp::install(&Profile::default()).unwrap();
            let error = Command::new("/bin/true").status().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        },
    );
}

#[test]
fn a_waiting_process_can_be_killed() {
    in_child_with_descriptors(
        listening,
        |descriptors| {
            let listener = the_only(descriptors);
            assert!(wait(&listener).contains(PollFlags::IN));
            let call = listener.next().unwrap().unwrap();
            rustix::process::kill_process(call.thread, Signal::KILL).unwrap();
            while listener.is_waiting(call.id) {
                std::thread::sleep(Duration::from_millis(1));
            }
            listener.proceed(call.id).unwrap();
            // Whoever reports the death of the first may execute something else.
            std::thread::spawn(move || {
                while wait(&listener).contains(PollFlags::IN) {
                    if let Some(call) = listener.next().unwrap() {
                        listener.proceed(call.id).unwrap();
                    }
                }
            });
        },
        |()| {
            let mut command = Command::new("/bin/true");
            // SAFETY: makes no call at all; without it the child would be made by vfork.
            unsafe { command.pre_exec(|| Ok(())) };
            match command.status() {
                Ok(status) => assert_eq!(status.signal(), Some(libc::SIGKILL)),
                Err(error) => panic!("{error}"),
            }
        },
    );
}

/// A handler runs, and the call is seen once.
#[test]
fn signals_wait_until_a_call_was_looked_at() {
    in_child_with_descriptors(
        listening,
        |descriptors| {
            let listener = the_only(descriptors);
            std::thread::spawn(move || {
                let mut seen = 0;
                while wait(&listener).contains(PollFlags::IN) {
                    let Some(call) = listener.next().unwrap() else {
                        continue;
                    };
                    seen += 1;
                    for _ in 0..20 {
                        rustix::process::kill_process(call.thread, Signal::USR1).unwrap();
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    listener.refuse(call.id, libc::ENETDOWN + seen).unwrap();
                }
            });
        },
        |()| {
            extern "C" fn handler(_: libc::c_int) {}
            let handler = handler as extern "C" fn(libc::c_int);
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
            let error = Command::new("/bin/true").exec();
            assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN + 1));
        },
    );
}

#[test]
fn listening_needs_no_new_privileges() {
    crate::testing::in_child(|| {
        let error = install_with_listener(&Profile::default()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EACCES));
    });
}

#[test]
fn a_pidfd_tells_how_its_process_ended() {
    let ended = |script: &str| {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(crate::process::exit_of(pidfd.as_fd()), None);
        child.wait().unwrap();
        crate::process::exit_of(pidfd.as_fd())
    };
    use crate::process::Exit;
    // The control of the second: a kernel that tells one tells the other.
    if let Some(exit) = ended("exit 7") {
        assert_eq!(exit, Exit::Code(7));
        assert_eq!(ended("kill -9 $$"), Some(Exit::Signal(9)));
    }
}
