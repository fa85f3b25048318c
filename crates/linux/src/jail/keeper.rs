//! Between the caller and the jail: makes the namespaces, maps the ids, waits, and kills when told to.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Pid;

use super::{FAILED, Jail, Program, STARTED, inside};
use crate::error::{SyscallError, SyscallResult, failed};
use crate::process::{self, Child, Exit, Forked};
use crate::userns::{self, IdMaps, IdRange, MapWriter, SupplementaryGroups};
use crate::{procfs, signal};

/// In the forked child. `caller` is the process that forked it.
pub(super) fn run(
    jail: &Jail,
    program: &Program,
    streams: &[OwnedFd; 3],
    control: &UnixStream,
    caller: Pid,
) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    let started = arrange(streams, control, caller).and_then(|control| {
        let started = start(jail, program);
        match started {
            Ok(child) => Ok((control, child)),
            Err(error) => {
                report(&control, &error);
                Err(error)
            }
        }
    });
    let code = match started {
        Ok((control, child)) => keep(control, &child).shell_code(),
        Err(_) => 1,
    };
    process::exit_now(code)
}

/// Keeps nothing of the caller's but the streams, as 0 to 2, and the socket.
fn arrange(streams: &[OwnedFd; 3], control: &UnixStream, caller: Pid) -> SyscallResult<UnixStream> {
    process::die_with_parent()?;
    if rustix::process::getppid() != Some(caller) {
        return Err(SyscallError::from_errno("getppid()", libc::ESRCH));
    }
    for (stream, target) in streams.iter().zip(0..) {
        process::dup_onto(stream.as_fd(), target)?;
    }
    let control = process::keep_only(control.as_fd(), 3)?;
    rustix::io::fcntl_setfd(&control, rustix::io::FdFlags::CLOEXEC)
        .map_err(failed!("fcntl(3, F_SETFD)"))?;
    signal::reset()?;
    Ok(control.into())
}

/// Returns when the program was executed.
fn start(jail: &Jail, program: &Program) -> SyscallResult<Child> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if uid == 0 {
        userns::set_ids(uid, gid, SupplementaryGroups::Drop)?;
    }
    // Not the host's own programs are to be ended when memory runs out.
    procfs::write(procfs::myself()?, "oom_score_adj", b"500")?;
    let (mut ours, theirs) = UnixStream::pair().map_err(failed!("socketpair(AF_UNIX)"))?;
    let child = match process::clone_into(process::ALL_NAMESPACES)? {
        Forked::Child => {
            drop(ours);
            enter(jail, program, (uid, gid), theirs)
        }
        Forked::Parent(child) => child,
    };
    drop(theirs);
    let maps = IdMaps {
        uids: vec![IdRange::one(uid, uid)],
        gids: vec![IdRange::one(gid, gid)],
    };
    let mapped = userns::write_maps(child.pid(), &maps, MapWriter::OwnIdsOnly).and_then(|()| {
        ours.write_all(&[STARTED])
            .map_err(failed!("write(<pid 1 of the jail>)"))
    });
    let told = mapped.and_then(|()| {
        // Closed by a successful execve.
        let mut said = Vec::new();
        ours.read_to_end(&mut said)
            .map_err(failed!("read(<pid 1 of the jail>)"))?;
        Ok(said)
    });
    let outcome = match told {
        Ok(said) if said.is_empty() => return Ok(child),
        Ok(said) => Err(decoded(&said)),
        Err(error) => Err(error),
    };
    child.kill();
    let _ = child.wait();
    outcome
}

/// In pid 1.
fn enter(jail: &Jail, program: &Program, ids: (u32, u32), mut keeper: UnixStream) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    let mut go = [0; 1];
    if keeper.read_exact(&mut go).is_ok() {
        let Err::<Infallible, _>(error) = inside::execute(jail, program, ids, &keeper);
        let _ = keeper.write_all(&encoded(&error));
    }
    process::exit_now(127)
}

/// Waits for the end of pid 1, with which the kernel ends all else in its namespace.
fn keep(mut control: UnixStream, child: &Child) -> Exit {
    // Whoever reads what the program writes must see the end of it, and the other way round.
    for target in 0..3 {
        drop(super::descriptor(target));
    }
    let _ = control.write_all(&[STARTED]);
    loop {
        let mut ready = [
            PollFd::new(&control, PollFlags::IN),
            PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut ready, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    child.kill();
    child.wait().unwrap_or(Exit::Code(1))
}

fn report(mut control: &UnixStream, error: &SyscallError) {
    // Nobody listens if the caller is gone; then there is nobody to tell.
    let _ = control
        .write_all(&[FAILED])
        .and_then(|()| control.write_all(&encoded(error)));
}

/// The errno and the call; 0 and all of the text if the failure was not the kernel's.
fn encoded(error: &SyscallError) -> Vec<u8> {
    let (errno, text) = match error.errno() {
        Some(errno) => (errno, error.call().to_owned()),
        None => (0, error.to_string()),
    };
    [&errno.to_le_bytes(), text.as_bytes()].concat()
}

pub(super) fn decoded(said: &[u8]) -> SyscallError {
    let (errno, text) = said.split_at_checked(4).unwrap_or((&[0; 4], said));
    let text = String::from_utf8_lossy(text).into_owned();
    match errno.try_into().map_or(0, i32::from_le_bytes) {
        0 => {
            let (call, why) = text.rsplit_once(": ").unwrap_or(("jail", &text));
            SyscallError::new(call, std::io::Error::other(why.to_owned()))
        }
        errno => SyscallError::from_errno(text, errno),
    }
}
