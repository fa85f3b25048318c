//! Outside: the supervisor's half of a start, phase by phase.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Uid};
use thiserror::Error;
use wardian_linux::SyscallError;
use wardian_linux::mount::DetachedMount;
use wardian_linux::process::{self, Child, Forked};
use wardian_linux::userns::{self, IdMaps};

use super::fill::Filling;
use super::init::Init;
use super::probe::Check;
use super::protocol::{FromInit, Mounted, NoDevice, Stage, ToInit};
use super::running::Guarded;
use super::system_layers::{
    self, Lowers, Obstacle, ServedDirectory, ServedLayers, ServedSnapshot, SystemLayers,
    Unavailable,
};
use super::{Listener, ProcessLimits};
use crate::channel::{Channel, ProtocolError};
use crate::ids::{Identity, MissingIds, Privilege, SystemOwners};
use crate::image::{self, Cover, HostImage, ImageError, LayerDirectories};
use crate::janitor::Janitor;
use crate::parcel::Parcel;
use crate::plan::{FilesystemPlan, TreeId, TreeRole};
use crate::spec::{Account, SandboxSpec};
use crate::state::SandboxDirectory;

#[derive(Debug, Error)]
pub enum LaunchError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    #[error("{stage:?}: {error}")]
    Inside { stage: Stage, error: String },
    #[error("{path}: cannot be shown with the sandbox's own ids: {source}")]
    IdMap { path: PathBuf, source: SyscallError },
    #[error("{path}: {source}")]
    Layers { path: PathBuf, source: io::Error },
    #[error(
        "{directory} cannot be layered: {obstacle}, and FUSE cannot stand in: {}",
        .why.error
    )]
    NotLayered {
        directory: PathBuf,
        obstacle: Obstacle,
        why: NoDevice,
    },
    #[error("pid 1 of the sandbox: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the sandbox does not hold: {}", describe(.0))]
    Probe(Vec<Check>),
}

fn describe(broken: &[Check]) -> String {
    let lines: Vec<_> = broken
        .iter()
        .filter_map(|check| Some(format!("{}: {}", check.name, check.broken.as_ref()?)))
        .collect();
    lines.join("; ")
}

/// A description, nothing done yet.
#[derive(Debug)]
pub struct Requested {
    pub spec: SandboxSpec,
    pub privilege: Privilege,
    pub limits: ProcessLimits,
    pub directory: SandboxDirectory,
}

impl Requested {
    fn system_owners(&self) -> SystemOwners {
        SystemOwners::choose(self.privilege, self.spec.account)
    }

    /// Makes the layers on disk and decides what is mounted where.
    pub fn prepare(self) -> Result<Prepared, LaunchError> {
        let image = HostImage::discover()?;
        let layers = LayerDirectories::create(self.directory.layers(), &image, &self.spec)?;
        let plan = image::plan(&image, &layers, &self.spec)?;
        let identity = Identity::choose(
            self.privilege,
            self.spec.account,
            &self.spec.user,
            &self.spec.name,
        );
        Ok(Prepared {
            requested: self,
            image,
            layers,
            plan,
            identity,
        })
    }
}

/// Layers exist; no process does.
#[derive(Debug)]
pub struct Prepared {
    requested: Requested,
    image: HostImage,
    layers: LayerDirectories,
    plan: FilesystemPlan,
    identity: Identity,
}

impl Prepared {
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Forks pid 1 into its namespaces. To be called while this process has one thread and holds no
    /// secret: pid 1 keeps a copy of its memory.
    pub fn spawn(self) -> Result<Spawned, LaunchError> {
        let (ours, theirs) = Channel::pair().map_err(ProtocolError::from)?;
        let child = match process::clone_into(process::ALL_NAMESPACES)? {
            Forked::Child => enter(theirs, self),
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let launched = Launched {
            init: KillOnDrop(child),
            channel: ours,
            program: self.identity.outside(),
        };
        Ok(Spawned {
            prepared: self,
            launched,
        })
    }
}

/// In the child: lets go of everything of the supervisor's but the channel.
fn enter(channel: Channel, prepared: Prepared) -> ! {
    let _no_way_back = process::ExitOnUnwind;
    // Descriptor 3 is the channel, 0 to 2 are /dev/null: the supervisor's journal, lock and sockets
    // must not exist in the sandbox.
    let arranged = (|| -> Result<Channel, SyscallError> {
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| SyscallError::new("open(\"/dev/null\")", errno))?;
        for target in 0..3 {
            process::dup_onto(null.as_fd(), target)?;
        }
        drop(null);
        process::keep_only(channel.as_fd(), 3).map(Channel::from)
    })();
    match arranged {
        Ok(channel) => Init {
            channel,
            spec: prepared.requested.spec,
            plan: prepared.plan,
            identity: prepared.identity,
            limits: prepared.requested.limits,
        }
        .run(),
        Err(error) => {
            let message = FromInit::Failed {
                stage: Stage::Confinement,
                error: error.to_string(),
            };
            let _ = channel.send(&message, &[]);
            process::exit_now(1)
        }
    }
}

/// Pid 1, while somebody holds on to it.
#[derive(Debug)]
pub struct Launched {
    pub(super) init: KillOnDrop,
    pub(super) channel: Channel,
    /// The program's uid and gid outside.
    program: Option<(u32, u32)>,
}

/// Dropping the handle ends the sandbox: the kernel kills all of it with pid 1.
#[derive(Debug)]
pub(super) struct KillOnDrop(pub(super) Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.kill();
        let _ = self.0.wait();
    }
}

impl Launched {
    /// If pid 1 is gone, it may have said why.
    pub(super) fn send(
        &self,
        message: &ToInit,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LaunchError> {
        let Err(error) = self.channel.send(message, descriptors) else {
            return Ok(());
        };
        loop {
            match self.receive() {
                Ok(_) => {}
                Err(inside @ LaunchError::Inside { .. }) => return Err(inside),
                Err(_) => return Err(error.into()),
            }
        }
    }

    pub(super) fn receive(&self) -> Result<(FromInit, Vec<OwnedFd>), LaunchError> {
        match self.channel.receive()? {
            (FromInit::Failed { stage, error }, _) => Err(LaunchError::Inside { stage, error }),
            other => Ok(other),
        }
    }

    /// Lets the program open its pipes anew, as `/dev/stderr` does: only their owner can.
    pub(super) fn give_away(&self, streams: &[OwnedFd; 3]) -> Result<(), SyscallError> {
        let Some((uid, gid)) = self.program else {
            return Ok(());
        };
        for stream in streams {
            let status = rustix::fs::fstat(stream)
                .map_err(|errno| SyscallError::new("fstat(<stream>)", errno))?;
            let is_pipe = FileType::from_raw_mode(status.st_mode) == FileType::Fifo;
            if is_pipe && (status.st_uid, status.st_gid) != (uid, gid) {
                let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::fchown(stream, owner.0, owner.1).map_err(|errno| {
                    SyscallError::new(format!("fchown(<stream>, {uid}, {gid})"), errno)
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn unexpected<T>(&self, message: &FromInit) -> Result<T, LaunchError> {
        Err(ProtocolError::Unexpected(format!("{message:?}")).into())
    }
}

/// Pid 1 exists and builds the seal; its ids are not mapped yet.
#[derive(Debug)]
pub struct Spawned {
    prepared: Prepared,
    launched: Launched,
}

impl Spawned {
    /// Pid 1 in the host's numbering, to put it under limits.
    pub fn pid(&self) -> rustix::process::Pid {
        self.launched.init.0.pid()
    }

    /// Why a superuser inside has one id only, if so.
    pub fn missing_ids(&self) -> Option<MissingIds> {
        let Prepared {
            requested,
            identity,
            ..
        } = &self.prepared;
        let has_one = requested.spec.account == Account::Superuser && !identity.has_subordinate_ids;
        has_one.then(|| MissingIds::of(&requested.spec.user))?
    }

    /// Who will clean up after the sandbox and measure what it writes, where that takes more than this user's
    /// own id. To be called while this process has one thread and no secret, like [`Prepared::spawn`].
    pub fn hire_janitor(&self) -> Result<Option<Janitor>, LaunchError> {
        let Prepared {
            requested,
            identity,
            ..
        } = &self.prepared;
        // That is the disk's limit.
        let is_measured = requested.limits.file_size.is_some();
        let needed = requested.privilege == Privilege::Rootless
            && (identity.has_subordinate_ids || is_measured);
        Ok(needed
            .then(|| Janitor::for_sandbox(self.pid(), identity))
            .transpose()?)
    }

    /// Maps ids, fills the layers (`certificate` is the sandbox's CA in PEM) and waits for the seal. `parcels`
    /// are unpacked inside, in this order, before the program exists.
    pub fn seal(self, certificate: &str, parcels: &[Parcel]) -> Result<Sealed, LaunchError> {
        let identity = &self.prepared.identity;
        userns::write_maps(self.pid(), &identity.maps, identity.writer)?;
        let Prepared {
            requested,
            image,
            layers,
            plan,
            identity,
        } = &self.prepared;
        // Pid 1 has its own copy of the host's mounts by now.
        let trees = match requested.privilege {
            Privilege::Root => self.map_trees()?,
            Privilege::Rootless => MappedTrees::default(),
        };
        let lowers = system_layers::choose(
            plan,
            requested.system_owners(),
            requested.privilege,
            &trees.unmapped,
        )?;
        let filling = Filling {
            spec: &requested.spec,
            privilege: requested.privilege,
            identity,
            image,
            layers,
            lowers: &lowers,
        };
        filling.fill(certificate)?;
        self.send_parcels(certificate, parcels)?;
        self.send(&trees.mounts)?;
        let Lowers {
            served, snapshots, ..
        } = lowers;
        let assemble = ToInit::Assemble {
            served: served.iter().map(|directory| directory.tree).collect(),
            snapshots: snapshots.iter().map(|snapshot| snapshot.tree).collect(),
        };
        self.launched.send(&assemble, &[])?;
        let (message, descriptors) = self.launched.receive()?;
        let FromInit::Sealed {
            listeners,
            shortfalls,
        } = message
        else {
            return self.launched.unexpected(&message);
        };
        if listeners.len() != descriptors.len() {
            return Err(ProtocolError::Unexpected("listeners without sockets".to_owned()).into());
        }
        Ok(Sealed {
            system_owners: self.prepared.requested.system_owners(),
            served,
            snapshots,
            layers: self.prepared.layers,
            user: self.prepared.identity.user_inside(
                self.prepared.requested.privilege,
                &self.prepared.requested.spec.user,
            ),
            owners: self.prepared.identity.maps,
            spec: self.prepared.requested.spec,
            launched: self.launched,
            listeners: listeners.into_iter().zip(descriptors).collect(),
            shortfalls,
        })
    }

    fn send_parcels(&self, certificate: &str, parcels: &[Parcel]) -> Result<(), LaunchError> {
        let home = &self.prepared.requested.spec.user.home;
        let certificates =
            image::pack_certificate(certificate, home).map_err(|source| LaunchError::Layers {
                path: home.clone(),
                source,
            })?;
        let parcels: Vec<_> = std::iter::once(&certificates).chain(parcels).collect();
        let descriptors: Vec<_> = parcels.iter().map(|parcel| parcel.as_fd()).collect();
        self.launched.send(&ToInit::Parcels, &descriptors)
    }

    /// Each tree of the plan, with the sandbox's ids where that is possible, and those where it is not:
    /// somebody outside can serve them.
    fn map_trees(&self) -> Result<MappedTrees, LaunchError> {
        let namespace = userns::of_process(self.pid())?;
        let mut mapped = MappedTrees::default();
        for (id, tree) in self.prepared.plan.named_trees() {
            let mount = DetachedMount::bind(&tree.path, tree.depth)?;
            match (mount.map_ids(namespace.as_fd(), tree.depth), tree.role) {
                (Ok(()), _) => {}
                (Err(source), TreeRole::System | TreeRole::Workspace) => {
                    mapped.unmapped.push((id, source.to_string()));
                }
                (Err(source), TreeRole::Layers | TreeRole::Snapshot | TreeRole::Whole) => {
                    return Err(LaunchError::IdMap {
                        path: tree.path.clone(),
                        source,
                    });
                }
            }
            mapped.mounts.push(mount);
        }
        Ok(mapped)
    }

    fn send(&self, trees: &[DetachedMount]) -> Result<(), LaunchError> {
        for batch in trees.chunks(wardian_linux::fdpass::MAX_DESCRIPTORS) {
            let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(DetachedMount::as_fd).collect();
            self.launched.send(&ToInit::Trees, &descriptors)?;
        }
        Ok(())
    }
}

/// The trees of a plan in order, and of some why they have the host's ids still.
#[derive(Debug, Default)]
struct MappedTrees {
    mounts: Vec<DetachedMount>,
    unmapped: Vec<(TreeId, String)>,
}

/// The network is sealed and the door's sockets are outside.
#[derive(Debug)]
pub struct Sealed {
    spec: SandboxSpec,
    system_owners: SystemOwners,
    served: Vec<ServedDirectory>,
    snapshots: Vec<ServedSnapshot>,
    layers: LayerDirectories,
    owners: IdMaps,
    user: (u32, u32),
    launched: Launched,
    listeners: Vec<(Listener, OwnedFd)>,
    shortfalls: Vec<String>,
}

impl Sealed {
    /// The sockets, to be served before [`guard`](Self::guard): the probes need answers.
    pub fn take_listeners(&mut self) -> Vec<(Listener, OwnedFd)> {
        std::mem::take(&mut self.listeners)
    }

    /// What this host does not offer; the seal holds without it.
    pub fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    /// How the lower layers get in, once pid 1 knows: to be called once. What it returns is to be served
    /// before [`guard`](Self::guard), or done without by [`do_without`](Self::do_without).
    pub fn take_system_layers(&mut self) -> Result<SystemLayers, LaunchError> {
        let directories = std::mem::take(&mut self.served);
        let snapshots = std::mem::take(&mut self.snapshots);
        if directories.is_empty() && snapshots.is_empty() {
            return Ok(SystemLayers::Direct);
        }
        let (message, devices) = self.launched.receive()?;
        match message {
            FromInit::SystemLayers(Mounted::Served) => {
                let expected = usize::from(!directories.is_empty()) + snapshots.len();
                if devices.len() != expected {
                    let error = format!("{} devices instead of {expected}", devices.len());
                    return Err(ProtocolError::Unexpected(error).into());
                }
                let mut devices = devices.into_iter();
                let host = (!directories.is_empty())
                    .then(|| devices.next())
                    .flatten()
                    .map(|device| (device, directories));
                Ok(SystemLayers::Served(ServedLayers {
                    host,
                    snapshots: devices.zip(snapshots).collect(),
                    owners: self.owners.clone(),
                    user: self.user,
                }))
            }
            FromInit::SystemLayers(Mounted::Unavailable(why)) => self
                .without(directories, snapshots, why)
                .map(SystemLayers::Unavailable),
            message => self.launched.unexpected(&message),
        }
    }

    /// Goes on once what is [`Unavailable`] has been made up for as far as it can be.
    pub fn do_without(&self) -> Result<(), LaunchError> {
        self.launched.send(&ToInit::DoWithout, &[])
    }

    /// As root: what is mounted is hidden, and the kernel layers the rest.
    fn without(
        &self,
        directories: Vec<ServedDirectory>,
        snapshots: Vec<ServedSnapshot>,
        why: NoDevice,
    ) -> Result<Unavailable, LaunchError> {
        let mut unseen = Vec::new();
        for ServedDirectory {
            path,
            mounts,
            obstacle,
            covering,
            ..
        } in directories
        {
            if let Some(obstacle) = obstacle {
                return Err(LaunchError::NotLayered {
                    directory: path,
                    obstacle,
                    why,
                });
            }
            self.hide(&path, &covering)
                .map_err(|source| LaunchError::Layers { path, source })?;
            unseen.extend(mounts);
        }
        Ok(Unavailable {
            why,
            snapshots,
            owners: self.system_owners,
            unseen,
        })
    }

    fn hide(&self, directory: &Path, points: &[PathBuf]) -> io::Result<()> {
        let name = directory.file_name().unwrap_or_default();
        let cover = Cover {
            lower: directory,
            upper: &self.layers.upper(&name.to_string_lossy()),
        };
        let points = points.iter();
        points
            .filter_map(|point| point.strip_prefix(directory).ok())
            .try_for_each(|point| cover.hide(point))
    }

    /// Waits for the file system and has pid 1 prove the promises from inside.
    pub fn guard(self) -> Result<Guarded, LaunchError> {
        let (message, mut descriptors) = self.launched.receive()?;
        let FromInit::Assembled = message else {
            return self.launched.unexpected(&message);
        };
        let terminal = descriptors.pop();
        self.launched.send(&ToInit::Probe, &[])?;
        let (message, _) = self.launched.receive()?;
        let FromInit::Probed(checks) = message else {
            return self.launched.unexpected(&message);
        };
        if checks.iter().any(|check| check.broken.is_some()) {
            return Err(LaunchError::Probe(checks));
        }
        Ok(Guarded {
            spec: self.spec,
            launched: self.launched,
            terminal,
            checks,
        })
    }
}
