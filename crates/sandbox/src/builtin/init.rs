//! Pid 1 inside: builds the sandbox around itself, starts the program, reaps, passes signals on,
//! and takes everything down with it.
//!
//! It runs on a copy of the supervisor's memory made before any secret was loaded, in the outer
//! user namespace, where the program has no power over it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Gid, Uid};
use rustix::process::{Pid, WaitOptions};
use wardian_linux::mount::DetachedMount;
use wardian_linux::process::{self, Exit, Forked};
use wardian_linux::rlimit;
use wardian_linux::seal::{self, SealedSockets};
use wardian_linux::signal::SignalFd;
use wardian_linux::userns::{self, MapWriter};

use super::filesystem::ServedTrees;
use super::place::{PlaceError, Placer};
use super::processes::Watch;
use super::program::{self, FromProgram, Standard};
use super::protocol::{Ended, FromInit, Mounted, NoDevice, Stage, ToInit};
use super::stops::{Passing, Stop, Stops};
use super::{Listener, filesystem, probe, system_layers, terminal};
use crate::channel::{Channel, ProtocolError};
use crate::ids::Identity;
use crate::parcel::Parcel;
use crate::plan::{FilesystemPlan, TreeId};
use crate::spec::SandboxSpec;

/// What pid 1 works from; all of it plain data.
pub(super) struct Init {
    pub(super) channel: Channel,
    pub(super) spec: SandboxSpec,
    pub(super) plan: FilesystemPlan,
    pub(super) identity: Identity,
    pub(super) limits: program::Limits,
}

/// Why pid 1 gave up: reported to the supervisor, which tells the person.
struct Failure {
    stage: Stage,
    error: String,
}

trait During<T> {
    fn during(self, stage: Stage) -> Result<T, Failure>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, stage: Stage) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            stage,
            error: error.to_string(),
        })
    }
}

/// What is to come through FUSE.
struct Wanted {
    host: Vec<TreeId>,
    snapshots: Vec<TreeId>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.host.is_empty() && self.snapshots.is_empty()
    }

    /// One for all directories of the host, then one for each snapshot.
    fn open_devices(&self) -> Result<Vec<OwnedFd>, NoDevice> {
        let count = usize::from(!self.host.is_empty()) + self.snapshots.len();
        (0..count).map(|_| system_layers::open_device()).collect()
    }

    /// `mounts` are in the order of the devices.
    fn served(self, mounts: Vec<DetachedMount>) -> ServedTrees {
        let mut mounts = mounts.into_iter();
        let host = if self.host.is_empty() {
            None
        } else {
            mounts.next().map(|mount| (mount, self.host))
        };
        ServedTrees {
            host,
            snapshots: self.snapshots.into_iter().zip(mounts).collect(),
        }
    }
}

impl Init {
    /// Never returns: the copied memory of the supervisor must not be run down.
    pub(super) fn run(self) -> ! {
        let code = match self.stages() {
            Ok(never) => match never {},
            Err(Failure { stage, error }) => {
                // Nobody listens if the supervisor is gone; then there is nobody to tell.
                let _ = self.channel.send(&FromInit::Failed { stage, error }, &[]);
                1
            }
        };
        process::exit_now(code)
    }

    fn stages(&self) -> Result<Infallible, Failure> {
        self.seal()?;
        let (parcels, trees, wanted) = self.receive_trees()?;
        let devices = wanted.open_devices();
        self.become_inside().during(Stage::Identity)?;
        let served = if wanted.is_empty() {
            None
        } else {
            self.mount_served(wanted, devices)?
        };
        filesystem::assemble(&self.plan, trees, served).during(Stage::Filesystem)?;
        self.unpack(parcels).during(Stage::Filesystem)?;
        rustix::system::sethostname(self.spec.name.as_str().as_bytes())
            .during(Stage::Filesystem)?;
        let terminal = self.open_terminal()?;
        process::forbid_dump().during(Stage::Confinement)?;
        self.expect(|message| matches!(message, ToInit::Probe).then_some(()))?;
        self.say(&FromInit::Probed(probe::run(&self.spec)))?;
        let standard = self.receive_standard(terminal)?;
        // Before the program exists, so that no end of a child is missed.
        let children = SignalFd::new(&[libc_signal::CHLD]).during(Stage::Confinement)?;
        let (program, watch) = self.start(&standard)?;
        drop(standard);
        self.serve(program, watch, &children)
    }

    fn seal(&self) -> Result<(), Failure> {
        let mut sockets = seal::build().during(Stage::Seal)?;
        let shortfalls = std::mem::take(&mut sockets.shortfalls);
        let (listeners, descriptors) = listeners(sockets);
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.channel
            .send(
                &FromInit::Sealed {
                    listeners,
                    shortfalls,
                },
                &borrowed,
            )
            .during(Stage::Seal)
    }

    /// All that are id-mapped, and the names of those that are to be served; and what is to be unpacked in them.
    fn receive_trees(&self) -> Result<(Vec<Parcel>, Vec<OwnedFd>, Wanted), Failure> {
        let mut parcels = Vec::new();
        let mut trees = Vec::new();
        loop {
            let (message, descriptors) = self.channel.receive().during(Stage::Filesystem)?;
            match message {
                ToInit::Parcels => parcels.extend(descriptors.into_iter().map(Parcel::from)),
                ToInit::Trees => trees.extend(descriptors),
                ToInit::Assemble { served, snapshots } => {
                    let host = served;
                    return Ok((parcels, trees, Wanted { host, snapshots }));
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Takes on the sandbox's own ids; the supervisor has written the maps by now.
    fn become_inside(&self) -> Result<(), wardian_linux::SyscallError> {
        let (uid, gid) = self.identity.init;
        program::become_ids(uid, gid, self.identity.writer)?;
        // Cleared by a change of ids, so it comes after. Had the supervisor died before this, the
        // next read from the channel ends instead.
        process::die_with_parent()
    }

    /// The supervisor serves the mounts as soon as it has the devices: what is looked up earlier waits.
    fn mount_served(
        &self,
        wanted: Wanted,
        devices: Result<Vec<OwnedFd>, NoDevice>,
    ) -> Result<Option<ServedTrees>, Failure> {
        let mounted = devices.and_then(|devices| {
            let mounts = devices
                .iter()
                .map(|device| system_layers::mount(device, self.identity.init))
                .collect::<Result<Vec<_>, _>>()?;
            Ok((mounts, devices))
        });
        match mounted {
            Ok((mounts, devices)) => {
                let message = FromInit::SystemLayers(Mounted::Served);
                let borrowed: Vec<_> = devices.iter().map(AsFd::as_fd).collect();
                self.channel
                    .send(&message, &borrowed)
                    .during(Stage::Filesystem)?;
                // Held outside only, the mounts' requests fail at once should the supervisor die.
                drop(devices);
                Ok(Some(wanted.served(mounts)))
            }
            Err(why) => {
                self.say(&FromInit::SystemLayers(Mounted::Unavailable(why)))?;
                self.expect(|message| matches!(message, ToInit::DoWithout).then_some(()))?;
                Ok(None)
            }
        }
    }

    fn unpack(&self, parcels: Vec<Parcel>) -> Result<(), PlaceError> {
        let Identity { init, uid, gid, .. } = self.identity;
        let root = filesystem::open_directory(CWD, Path::new("/")).map_err(PlaceError::Root)?;
        let placer = Placer {
            root: root.as_fd(),
            home: &self.spec.user.home,
            owner: (init != (uid, gid)).then(|| (Uid::from_raw(uid), Gid::from_raw(gid))),
        };
        parcels.iter().try_for_each(|parcel| placer.unpack(parcel))
    }

    fn open_terminal(&self) -> Result<Option<OwnedFd>, Failure> {
        let Some(size) = self.spec.terminal else {
            self.say(&FromInit::Assembled)?;
            return Ok(None);
        };
        let pair = terminal::open(size).during(Stage::Terminal)?;
        self.channel
            .send(&FromInit::Assembled, &[pair.master.as_fd()])
            .during(Stage::Terminal)?;
        Ok(Some(pair.slave))
    }

    fn receive_standard(&self, terminal: Option<OwnedFd>) -> Result<Standard, Failure> {
        let (message, descriptors) = self.channel.receive().during(Stage::Confinement)?;
        let ToInit::Load = message else {
            return Err(unexpected(&message));
        };
        if let Some(slave) = terminal {
            return Ok(Standard::Terminal(slave));
        }
        let three: Result<[OwnedFd; 3], _> = descriptors.try_into();
        three.map(Standard::Three).map_err(|_| Failure {
            stage: Stage::Confinement,
            error: "three descriptors must come with the start".to_owned(),
        })
    }

    /// Forks the program's process, maps its ids and waits until it has executed.
    fn start(&self, standard: &Standard) -> Result<(Pid, Option<Watch>), Failure> {
        let (ours, theirs) = Channel::pair().during(Stage::Confinement)?;
        let child = match process::fork().during(Stage::Confinement)? {
            Forked::Child => {
                drop(ours);
                program::run(&theirs, &self.spec, &self.identity, &self.limits, standard)
            }
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let outcome = self.accompany(&ours, child.pid());
        if outcome.is_err() {
            child.kill();
        }
        outcome.map(|watch| (child.pid(), watch))
    }

    fn accompany(&self, child: &Channel, pid: Pid) -> Result<Option<Watch>, Failure> {
        let (said, _) = hear(child)?;
        let FromProgram::Unshared = said else {
            return Err(out_of_turn(&said));
        };
        userns::write_maps(pid, &self.identity.program_maps(), MapWriter::Privileged)
            .during(Stage::Identity)?;
        child.send(&program::Mapped, &[]).during(Stage::Identity)?;
        let (said, descriptors) = hear(child)?;
        let FromProgram::Confined { unseen } = said else {
            return Err(out_of_turn(&said));
        };
        let mut watch = self.loaded(pid, unseen, descriptors)?;
        self.expect(|message| matches!(message, ToInit::Execute).then_some(()))?;
        child
            .send(&program::Execute, &[])
            .during(Stage::Confinement)?;
        until_executed(child, watch.as_mut())?;
        self.say(&FromInit::Started)?;
        Ok(watch)
    }

    fn loaded(
        &self,
        pid: Pid,
        unseen: Option<String>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Watch>, Failure> {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let Some(listener) = descriptors.into_iter().next() else {
            self.say(&FromInit::Loaded { pid, unseen })?;
            return Ok(None);
        };
        // One for each process that is watched; the program has its own limit by now.
        rlimit::raise_open_files().during(Stage::Confinement)?;
        let (watch, theirs) = Watch::new(listener).during(Stage::Confinement)?;
        self.channel
            .send(
                &FromInit::Loaded { pid, unseen },
                &theirs.each_ref().map(AsFd::as_fd),
            )
            .during(Stage::Confinement)?;
        Ok(Some(watch))
    }

    fn serve(
        &self,
        program: Pid,
        mut watch: Option<Watch>,
        children: &SignalFd,
    ) -> Result<Infallible, Failure> {
        let mut stops = Stops::new(self.spec.terminal.is_some());
        loop {
            let fixed = [self.channel.as_fd(), children.as_fd()];
            let [from_supervisor, from_children] = wait(fixed, watch.as_mut())?;
            if from_children {
                while children.next().during(Stage::Confinement)?.is_some() {}
                self.reap(program, &mut stops, watch.as_mut())?;
            }
            if from_supervisor {
                let (message, _) = self.channel.receive().during(Stage::Confinement)?;
                let ToInit::Signal(signal) = message else {
                    return Err(unexpected(&message));
                };
                let passing = stops.passing(signal);
                if passing == Passing::Stopped {
                    self.say(&FromInit::Suspended)?;
                }
                for signal in passing.signals(signal) {
                    program::signal_group(program, signal);
                }
            }
        }
    }

    /// Collects every child that ended, orphans included. When the program has ended, so does the
    /// sandbox: the kernel kills what is left with pid 1.
    fn reap(
        &self,
        program: Pid,
        stops: &mut Stops,
        watch: Option<&mut Watch>,
    ) -> Result<(), Failure> {
        let mut ended = BTreeMap::new();
        while let Ok(Some((pid, status))) =
            rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED)
        {
            if status.stopped() {
                if pid == program && stops.stopped() == Stop::Told {
                    self.say(&FromInit::Suspended)?;
                }
            } else {
                ended.insert(pid.as_raw_nonzero(), Exit::from(status));
            }
        }
        if let Some(exit) = ended.get(&program.as_raw_nonzero()) {
            if let Some(watch) = watch {
                watch.finish();
            }
            self.say(&FromInit::Ended(Ended::from(*exit)))?;
            process::exit_now(0);
        }
        Ok(())
    }

    fn say(&self, message: &FromInit) -> Result<(), Failure> {
        self.channel.send(message, &[]).during(Stage::Confinement)
    }

    fn expect(&self, wanted: impl Fn(&ToInit) -> Option<()>) -> Result<(), Failure> {
        let (message, _) = self.channel.receive().during(Stage::Confinement)?;
        wanted(&message).ok_or_else(|| unexpected(&message))
    }
}

/// Waits until one of `fixed` is readable, and says which; has `watch` see to its own on the way.
fn wait<const N: usize>(
    fixed: [BorrowedFd<'_>; N],
    mut watch: Option<&mut Watch>,
) -> Result<[bool; N], Failure> {
    loop {
        let patience = watch.as_mut().and_then(|watch| watch.patience());
        let watched = watch.as_ref().map(|watch| watch.as_fd());
        let mut ready: Vec<_> = fixed
            .iter()
            .copied()
            .chain(watched)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut ready, patience.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.during(Stage::Confinement)?,
        };
        let is_ready = std::array::from_fn(|at| !ready[at].revents().is_empty());
        drop(ready);
        if let Some(watch) = &mut watch {
            watch.turn();
        }
        if is_ready.contains(&true) {
            return Ok(is_ready);
        }
    }
}

fn hear(child: &Channel) -> Result<(FromProgram, Vec<OwnedFd>), Failure> {
    match child.receive() {
        Ok((FromProgram::Failed { stage, error }, _)) => Err(Failure { stage, error }),
        said => said.during(Stage::Confinement),
    }
}

/// The socket closes on a successful execve, which `watch` has to see first.
fn until_executed(child: &Channel, watch: Option<&mut Watch>) -> Result<(), Failure> {
    wait([child.as_fd()], watch)?;
    match child.receive() {
        Err(ProtocolError::Closed) => Ok(()),
        Ok((FromProgram::Failed { stage, error }, _)) => Err(Failure { stage, error }),
        Ok((said, _)) => Err(out_of_turn(&said)),
        Err(error) => Err(error).during(Stage::Confinement),
    }
}

fn out_of_turn(said: &FromProgram) -> Failure {
    Failure {
        stage: Stage::Confinement,
        error: format!("the program's process said {said:?} out of turn"),
    }
}

fn unexpected(message: &ToInit) -> Failure {
    Failure {
        stage: Stage::Confinement,
        error: format!("unexpected message {message:?}"),
    }
}

fn listeners(sockets: SealedSockets) -> (Vec<Listener>, Vec<OwnedFd>) {
    let SealedSockets {
        tcp4,
        tcp6,
        dns_udp4,
        dns_udp6,
        dns_tcp4,
        dns_tcp6,
        shortfalls: _,
    } = sockets;
    [
        (Listener::Tcp, Some(tcp4)),
        (Listener::Tcp, tcp6),
        (Listener::DnsUdp, Some(dns_udp4)),
        (Listener::DnsUdp, dns_udp6),
        (Listener::DnsTcp, Some(dns_tcp4)),
        (Listener::DnsTcp, dns_tcp6),
    ]
    .into_iter()
    .filter_map(|(kind, socket)| socket.map(|socket| (kind, socket)))
    .unzip()
}

mod libc_signal {
    /// SIGCHLD, on every architecture that Wardian builds for.
    pub(super) const CHLD: i32 = 17;
}
