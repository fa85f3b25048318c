//! A supervisor's life: one sandbox from its client's request to its end.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use wardian_events::{Bounds, Event, ProcessesUnseen, SelfProbe};
use wardian_linux::{process, rlimit};
use wardian_policy::{LimitKind, Limits, Policy};
use wardian_sandbox::SandboxSpec;
use wardian_sandbox::builtin::processes::Unseen;
use wardian_sandbox::builtin::{
    Guarded, Happening, Requested, Running, Sealed, Spawned, Streams, SystemLayers,
};
use wardian_sandbox::channel::Channel;
use wardian_sandbox::ids::Privilege;
use wardian_sandbox::parcel::Parcel;
use wardian_sandbox::state::{Lock, SandboxDirectory};

use crate::client::ClientStreams;
use crate::confinement;
use crate::custody::{Custody, Held};
use crate::door::{ClosedDoor, OpenDoor, model_record};
use crate::downloads;
use crate::ending::Ending;
use crate::failure::Failed;
use crate::layers;
use crate::limits;
use crate::log;
use crate::processes::Processes;
use crate::protocol::{FromSupervisor, How, Lack, Note, Start, ToSupervisor};
use crate::record::Recorder;
use crate::snapshots;

/// Serves the sandbox that the client at the other end of `socket` asks for, and returns when it is
/// over and cleaned up after. The client hears about everything that goes wrong.
pub fn serve(socket: OwnedFd) {
    // A Ctrl-C at the client's terminal is for the client to pass on. Fails only for a session
    // leader, which is what we want to be.
    let _ = rustix::process::setsid();
    let channel = Channel::from(socket);
    let served = Request::receive(&channel).and_then(|request| {
        log::begin(request.start.log, &request.directory);
        request.run(&channel)
    });
    if let Err(failed) = served {
        tracing::error!("{}", failed.error);
        // Without a client nobody waits for this.
        let _ = channel.send(&FromSupervisor::Failed(failed.into()), &[]);
    }
}

/// What the client asked for, and what it handed over.
struct Request {
    start: Start,
    policy: Policy,
    directory: SandboxDirectory,
    streams: ClientStreams,
    /// Held until this process ends: it is what makes the sandbox alive.
    _lock: Lock,
}

impl Request {
    fn receive(channel: &Channel) -> Result<Self, Failed> {
        let (message, mut descriptors) = channel.receive()?;
        let ToSupervisor::Start(start) = message else {
            return Err(Failed::protocol("the first message must be a start"));
        };
        let start = *start;
        if descriptors.is_empty() {
            return Err(Failed::protocol("a start comes with the sandbox's lock"));
        }
        let lock = Lock::from(descriptors.remove(0));
        let streams = ClientStreams::new(descriptors, start.spec.terminal)?;
        let policy = start.policy.build().map_err(Failed::sandbox)?;
        let directory = SandboxDirectory::at(start.directory.clone(), start.spec.name.clone());
        Ok(Self {
            start,
            policy,
            directory,
            streams,
            _lock: lock,
        })
    }

    fn run(self, channel: &Channel) -> Result<(), Failed> {
        let spec = self.start.spec;
        let bounds = self.start.journal.map(Bounds::of_run).unwrap_or_default();
        let privilege = Privilege::of_this_process();
        let mut life = Life {
            recorder: Recorder::begin(&self.directory, &spec, privilege, bounds)?,
            channel,
            policy: self.policy,
            prices: self.start.prices,
            downloads: self.start.downloads,
            privilege,
        };
        match life.live(spec, self.streams) {
            Ok(how) => {
                let end = life.recorder.settle(how)?;
                // The client may be what is gone.
                let _ = channel.send(&FromSupervisor::Ended(end), &[]);
                Ok(())
            }
            Err(failed) => {
                life.recorder.settle_failure(&failed);
                Err(failed)
            }
        }
    }
}

/// What lasts as long as the sandbox.
struct Life<'a> {
    recorder: Recorder,
    channel: &'a Channel,
    policy: Policy,
    prices: Option<String>,
    downloads: Option<PathBuf>,
    privilege: Privilege,
}

impl Life<'_> {
    /// From nothing to the program's end. Returning takes down whatever was up.
    fn live(&mut self, spec: SandboxSpec, streams: ClientStreams) -> Result<How, Failed> {
        let limits = self.policy.limits().clone();
        let cgroups = limits::planned_cgroups(self.recorder.directory());
        self.recorder.cgroups(cgroups.clone())?;
        let placed = limits::place(self.recorder.directory(), &limits, self.privilege)?;
        self.recorder.started(&self.policy, &placed)?;
        for note in placed.notes() {
            self.channel.send(&FromSupervisor::Noted(note), &[])?;
        }
        let requested = Requested {
            limits: placed.of_processes(&limits),
            privilege: self.privilege,
            directory: self.recorder.directory().clone(),
            spec,
        };
        // Forks: until here this process has one thread and no secret.
        let spawned = requested.prepare()?.spawn()?;
        self.recorder.hired(spawned.hire_janitor()?);
        // Secrets arrive next: from here on no process of the same user reads this one's memory. Not
        // earlier, for pid 1 takes the setting along, and then its id maps could not be written.
        process::forbid_dump().map_err(Failed::sandbox)?;
        placed.add(spawned.pid())?;
        // The door holds up to six descriptors for a busy connection.
        rlimit::raise_open_files().map_err(Failed::sandbox)?;
        let (message, parcels) = self.channel.receive()?;
        let ToSupervisor::Credentials(held) = message else {
            return Err(Failed::protocol("credentials must follow the start"));
        };
        let mut parcels = parcels.into_iter();
        let custody = match held.is_empty() {
            true => None,
            false => {
                let missing = || Failed::protocol("credentials come with their custodian");
                Some(Custody::over(parcels.next().ok_or_else(missing)?.into()))
            }
        };
        let parcels: Vec<_> = parcels.map(Parcel::from).collect();
        let ending = Ending::default();
        self.recorder.journal().when_full({
            let ending = ending.clone();
            move || ending.end(How::JournalFull)
        });
        let (guarded, door) =
            self.guard(spawned, custody.zip(Some(held)), parcels, &cgroups, &ending)?;
        let (streams, terminal) = streams.split();
        let (running, processes) = self.start(guarded, streams, &ending)?;
        crate::client::listen(self.channel, &running, terminal, &ending)?;
        let how = self.accompany(running, &limits, &ending)?;
        if let Some(processes) = processes {
            processes.finish();
        }
        door.close();
        let reached = placed.reached();
        let ran_out_of_memory = reached
            .iter()
            .any(|reached| reached.limit == LimitKind::Memory.name());
        for reached in reached.into_iter().chain(limits::reached(&limits, &how)) {
            self.recorder.limit_reached(reached)?;
        }
        if how == How::JournalFull {
            self.recorder.journal_was_full()?;
        }
        tracing::info!("ended: {how:?}");
        Ok(match how {
            How::Lost(_) if ran_out_of_memory => How::MemoryLimit,
            how => how,
        })
    }

    /// Opens the door, and has the sandbox prove from inside that it is the only one.
    fn guard(
        &self,
        spawned: Spawned,
        custody: Option<(Custody, Vec<Held>)>,
        parcels: Vec<Parcel>,
        cgroups: &[PathBuf],
        ending: &Ending,
    ) -> Result<(Guarded, OpenDoor), Failed> {
        let name = self.recorder.directory().name();
        let directory = self.recorder.directory();
        let models = model_record(&self.policy, self.prices.as_deref(), directory)?;
        let downloads = self.downloads.as_deref();
        let cache = match downloads::open(&self.policy, downloads) {
            Ok(cache) => cache,
            Err(why) => {
                self.say(Note {
                    feature: "the cache of downloads".to_owned(),
                    lack: Lack::NotPossible,
                    why,
                })?;
                None
            }
        };
        let written = downloads.filter(|_| cache.is_some());
        let journal = self.recorder.journal();
        let door = ClosedDoor::build(name, &self.policy, journal, custody, models, cache)?;
        if let Some(missing) = spawned.missing_ids() {
            self.say(layers::one_id(&missing))?;
        }
        let mut sealed: Sealed = spawned.seal(door.certificate(), &parcels)?;
        drop(parcels);
        for why in sealed.shortfalls() {
            self.note("the network", why)?;
        }
        let layers = sealed.take_system_layers()?;
        let served = layers::needs(&layers)?;
        if let Some(why) =
            confinement::confine(self.recorder.directory(), cgroups, &served, written)?
        {
            self.note("the supervisor", &why)?;
        }
        match layers {
            SystemLayers::Direct => {}
            SystemLayers::Served(layers) => layers::serve(layers, ending)?,
            SystemLayers::Unavailable(missing) => {
                for note in layers::unavailable(&missing) {
                    self.say(note)?;
                }
                missing
                    .snapshots
                    .iter()
                    .try_for_each(snapshots::write_out)?;
                sealed.do_without()?;
            }
        }
        let door = door.open(sealed.take_listeners(), ending)?;
        tracing::info!("the network is sealed and the door is open");
        let guarded = sealed.guard()?;
        let passed = guarded.checks().iter().map(|check| check.name.clone());
        self.recorder.append(&Event::SelfProbe(SelfProbe {
            passed: passed.collect(),
            failed: Vec::new(),
        }))?;
        Ok((guarded, door))
    }

    fn note(&self, feature: &str, why: &str) -> Result<(), Failed> {
        self.say(Note {
            feature: feature.to_owned(),
            lack: Lack::NotLimited,
            why: why.to_owned(),
        })
    }

    fn say(&self, note: Note) -> Result<(), Failed> {
        Ok(self.channel.send(&FromSupervisor::Noted(note), &[])?)
    }

    fn start(
        &mut self,
        mut guarded: Guarded,
        streams: Streams,
        ending: &Ending,
    ) -> Result<(Running, Option<Processes>), Failed> {
        let terminal = guarded.take_terminal();
        let descriptors: Vec<_> = terminal.iter().map(std::os::fd::AsFd::as_fd).collect();
        self.channel.send(&FromSupervisor::Ready, &descriptors)?;
        drop(terminal);
        let (loaded, processes) = guarded.load(streams)?;
        let processes = match processes {
            Ok(reports) => {
                let journal = self.recorder.journal().clone();
                Some(Processes::record(reports, journal, ending).map_err(Failed::sandbox)?)
            }
            Err(unseen) => {
                self.unseen(unseen)?;
                None
            }
        };
        self.recorder.command_started(loaded.pid())?;
        let running = loaded.start()?;
        self.recorder.program_runs();
        tracing::info!("the program runs");
        self.channel.send(&FromSupervisor::Started, &[])?;
        Ok((running, processes))
    }

    fn unseen(&self, Unseen { why }: Unseen) -> Result<(), Failed> {
        self.recorder
            .append(&Event::ProcessesUnseen(ProcessesUnseen {
                why: why.clone(),
            }))?;
        self.say(Note {
            feature: "what is executed inside".to_owned(),
            lack: Lack::NotRecorded,
            why,
        })
    }

    /// Waits for the end, passing on signals, and enforcing the limits that no cgroup does.
    fn accompany(&self, running: Running, limits: &Limits, ending: &Ending) -> Result<How, Failed> {
        ending.arm(running.killer().map_err(Failed::sandbox)?);
        let (directory, janitor) = (self.recorder.directory(), self.recorder.janitor());
        limits::watch(limits, directory, janitor, ending)?;
        loop {
            match running.next() {
                Happening::Suspended => self.channel.send(&FromSupervisor::Suspended, &[])?,
                Happening::Ended(ended) => {
                    self.recorder.command_exited(ended)?;
                    return Ok(How::Program(ended));
                }
                Happening::Lost => return Ok(ending.why()),
            }
        }
    }
}
