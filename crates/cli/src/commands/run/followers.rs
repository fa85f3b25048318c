//! Who reads along while a sandbox runs: processes of their own, beside it. The sandbox never waits for them.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::commands::anchor::place::Place;
use crate::commands::export::base_url;
use crate::output::{self, Tone};

// No doc comment here: it would become the help of the verb.
#[derive(Debug, Clone, Default, Args)]
pub(in crate::commands) struct Readers {
    /// Send what happens to an OpenTelemetry collector, see `wardian export`
    #[arg(long, value_name = "URL", value_parser = base_url)]
    otlp: Option<String>,

    /// Keep anchors of the record in a file, at a URL or in git:DIR#REF, see `wardian anchor`
    #[arg(long, value_name = "WHERE")]
    anchor: Vec<Place>,
}

/// How long the last of it may take, once the sandbox is over.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Followers(Vec<(String, Child)>);

impl Followers {
    /// To be called once there is a record. What fails is told at the end, for the terminal is the program's now.
    pub(super) fn start(sandbox: &str, readers: &Readers) -> Self {
        let mut words = Vec::new();
        if let Some(url) = &readers.otlp {
            words.push(["export", sandbox, "--follow", "--otlp", url].map(str::to_owned));
        }
        for place in &readers.anchor {
            let place = place.to_string();
            words.push(["anchor", sandbox, "--follow", "--to", &place].map(str::to_owned));
        }
        let started = words.into_iter().filter_map(|words| {
            // Not of our process group: a Ctrl-C is not meant for it.
            let child = Command::new("/proc/self/exe")
                .args(&words)
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let what = format!("wardian {} {sandbox}", words[0]);
            match child {
                Ok(child) => Some((what, child)),
                Err(error) => {
                    output::say(Tone::Bad, "error", &format!("{what}: {error}"));
                    None
                }
            }
        });
        Self(started.collect())
    }

    /// Waits for what is still to be sent, and tells what went wrong.
    pub(super) fn finish(self) {
        let until = Instant::now() + PATIENCE;
        for (what, mut child) in self.0 {
            let ended = loop {
                match child.try_wait() {
                    Ok(None) if Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    Ok(Some(status)) => break Some(status),
                    _ => break None,
                }
            };
            let Some(status) = ended else {
                let text = format!("`{what}` has not sent everything yet, and goes on");
                output::say(Tone::Warning, "note", &text);
                continue;
            };
            let mut told = String::new();
            if let Some(stderr) = child.stderr.take() {
                let _ = stderr.take(64 * 1024).read_to_string(&mut told);
            }
            if !status.success() {
                output::say(Tone::Bad, "error", &format!("`{what}` failed"));
            }
            for line in told.lines() {
                output::say_item(Tone::Plain, line);
            }
        }
    }
}
