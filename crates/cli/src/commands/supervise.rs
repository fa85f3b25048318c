use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::failure::Outcome;

/// Serve one sandbox: started by `wardian run`, never by hand
#[derive(Debug, Args)]
pub(crate) struct Supervise {}

impl Supervise {
    pub(crate) fn run(self) -> Outcome {
        // The client's socket comes as standard input.
        let socket = std::os::fd::AsFd::as_fd(&std::io::stdin())
            .try_clone_to_owned()
            .context("no socket on standard input")?;
        rustix::net::sockopt::socket_domain(&socket)
            .context("`wardian supervise` is for `wardian run` alone")?;
        let null = std::fs::File::open("/dev/null").context("/dev/null")?;
        rustix::stdio::dup2_stdin(&null).context("dup2")?;
        wardian_supervisor::serve(socket);
        Ok(ExitCode::SUCCESS)
    }
}
