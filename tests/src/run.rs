//! One `wardian run`.

use std::time::Duration;

use crate::events::Events;
use crate::host::{Host, LIMIT};
use crate::policy::Policy;
use crate::process::{Finished, Input, Running};

/// A `wardian run` to be adjusted and started.
#[derive(Debug)]
pub struct Run<'a> {
    host: &'a Host,
    name: String,
    words: Vec<String>,
    options: Vec<String>,
    host_env: Vec<(String, String)>,
    input: Input,
    limit: Duration,
    prefix: Vec<String>,
    outermost: Vec<String>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(host: &'a Host, words: Vec<String>) -> Self {
        let mut random = [0; 4];
        getrandom::fill(&mut random).unwrap();
        Self {
            host,
            name: format!("t{}", hex::encode(random)),
            words,
            options: Vec::new(),
            host_env: Vec::new(),
            input: Input::Nothing,
            limit: LIMIT,
            prefix: Vec::new(),
            outermost: Vec::new(),
        }
    }

    /// The sandbox's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// An option of `wardian run`, with its value if it takes one.
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options
            .extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    pub fn policy(self, policy: &Policy) -> Self {
        let path = self.host.base().join(format!("{}.toml", self.name));
        self.host.write(&path, policy.text(&self.host.ca_file()));
        let path = path.to_str().unwrap().to_owned();
        self.option(&["--policy", &path])
    }

    pub fn as_inner_root(self) -> Self {
        self.option(&["--root"])
    }

    /// Sets a variable for the program inside.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.option(&["--env", &format!("{name}={value}")])
    }

    /// Sets a variable for `wardian` itself.
    pub fn host_env(mut self, name: &str, value: &str) -> Self {
        self.host_env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn stdin(mut self, input: Input) -> Self {
        self.input = input;
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `wardian` by way of another program, such as one that gives it a terminal.
    pub fn by_way_of(mut self, words: &[&str]) -> Self {
        self.prefix = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Runs all of it by way of a program that has the suite's rights, not the account's. The suite must be root.
    pub fn around(mut self, words: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test needs a suite that runs as root"
        );
        self.outermost = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it and goes on.
    pub fn start(self) -> Started<'a> {
        let binary = crate::host::wardian_binary().to_str().unwrap();
        let mut words: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        words.extend([binary, "run", "--name", &self.name]);
        words.extend(self.options.iter().map(String::as_str));
        words.push("--");
        words.extend(self.words.iter().map(String::as_str));
        let mut command = wrapped(self.host.command(words), &self.outermost);
        for (name, value) in &self.host_env {
            command.env(name, value);
        }
        Started {
            running: Running::start(command, self.input),
            host: self.host,
            name: self.name,
            limit: self.limit,
        }
    }

    /// Runs it to the end.
    pub fn finish(self) -> Outcome<'a> {
        self.start().finish()
    }

    /// Runs it to the end, which must be a good one, and returns what it wrote to standard output.
    #[track_caller]
    pub fn text(self) -> String {
        self.finish().success().text()
    }
}

/// A `wardian run` that goes on.
#[derive(Debug)]
pub struct Started<'a> {
    pub running: Running,
    host: &'a Host,
    name: String,
    limit: Duration,
}

impl<'a> Started<'a> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process ids of everything inside, as the host numbers them.
    pub fn pids_inside(&self) -> Vec<u32> {
        crate::residue::processes(self.host.base())
            .into_iter()
            .filter(|pid| {
                let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
                namespace(&pid.to_string()) != namespace("self")
            })
            .collect()
    }

    /// The process that owns the sandbox: `wardian supervise`.
    pub fn supervisor(&self) -> Option<u32> {
        supervisor_of(self.host.base())
    }

    /// Waits until the sandbox has a supervisor.
    #[track_caller]
    pub fn wait_for_supervisor(&self) -> u32 {
        for _ in 0..1000 {
            if let Some(pid) = self.supervisor() {
                return pid;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no supervisor of {} within ten seconds", self.name);
    }

    pub fn finish(self) -> Outcome<'a> {
        let finished = self.running.wait(self.limit);
        Outcome {
            finished,
            host: self.host,
            name: self.name,
        }
    }
}

/// A supervisor of the account that has `base`. Init, its child, has the same arguments in another namespace.
pub fn supervisor_of(base: &std::path::Path) -> Option<u32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    crate::residue::processes(base).into_iter().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
        namespace(&pid.to_string()) == namespace("self")
            && exe.is_ok_and(|exe| exe == crate::host::wardian_binary())
            && command
                .split(|&byte| byte == 0)
                .any(|word| word == b"supervise")
    })
}

/// A `wardian run` that has ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub finished: Finished,
    host: &'a Host,
    pub name: String,
}

impl Outcome<'_> {
    #[track_caller]
    pub fn success(self) -> Self {
        self.exited(0)
    }

    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        Self {
            finished: self.finished.exited(code),
            ..self
        }
    }

    #[track_caller]
    pub fn failed(self) -> Self {
        Self {
            finished: self.finished.failed(),
            ..self
        }
    }

    #[track_caller]
    pub fn within(self, limit: Duration) -> Self {
        Self {
            finished: self.finished.within(limit),
            ..self
        }
    }

    pub fn text(&self) -> String {
        self.finished.text()
    }

    pub fn errors(&self) -> String {
        self.finished.errors()
    }

    /// What `wardian events NAME --json` tells.
    #[track_caller]
    pub fn events(&self) -> Events {
        Events::read(self.host, &self.name)
    }
}

fn wrapped(command: std::process::Command, by: &[String]) -> std::process::Command {
    let Some((program, arguments)) = by.split_first() else {
        return command;
    };
    let mut outer = std::process::Command::new(program);
    outer
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear();
    outer.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    if let Some(directory) = command.get_current_dir() {
        outer.current_dir(directory);
    }
    outer
}
