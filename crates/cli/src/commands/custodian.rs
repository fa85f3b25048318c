use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::failure::Outcome;

/// Keep the credentials of one sandbox: started by `wardian run`, never by hand
#[derive(Debug, Args)]
pub(crate) struct Custodian {}

impl Custodian {
    pub(crate) fn run(self) -> Outcome {
        // The socket comes as standard output: input and messages are those of the person whose terminal it is.
        let socket = std::os::fd::AsFd::as_fd(&std::io::stdout())
            .try_clone_to_owned()
            .context("no socket on standard output")?;
        rustix::net::sockopt::socket_domain(&socket)
            .context("`wardian custodian` is for `wardian run` alone")?;
        let null = std::fs::File::options().write(true).open("/dev/null");
        rustix::stdio::dup2_stdout(&null.context("/dev/null")?).context("dup2")?;
        wardian_supervisor::custody::serve(socket);
        Ok(ExitCode::SUCCESS)
    }
}
