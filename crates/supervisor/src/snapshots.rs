//! The files that session clones started from: shown from here, as long as the sandbox lives.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use wardian_filesystem::snapshot::{Owner, Snapshot, materialise};
use wardian_git::Base;
use wardian_git::snapshot::{HeadTree, WorkTree};
use wardian_sandbox::builtin::ServedSnapshot;
use wardian_sandbox::plan::SNAPSHOT;

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::How;

/// What this process has to be able to read for it, besides the sandbox's own state.
pub(crate) fn needs(snapshot: &ServedSnapshot) -> Result<Vec<PathBuf>, Failed> {
    let base = Base::load(&snapshot.state).map_err(Failed::sandbox)?;
    let large = base.common_dir.join("lfs/objects");
    let mut paths = base.objects;
    paths.extend(large.is_dir().then_some(large));
    Ok(paths)
}

/// Serves until pid 1 is gone. `user` owns the files, by the ids of the sandbox.
pub(crate) fn serve(
    device: OwnedFd,
    snapshot: &ServedSnapshot,
    user: (u32, u32),
    ending: &Ending,
) -> Result<(), Failed> {
    let ending = ending.clone();
    let ended = move |how: io::Result<()>| {
        if let Err(error) = how {
            ending.end(How::Lost(format!(
                "the files of the repository are no longer served: {error}"
            )));
        }
    };
    let snapshot = Snapshot {
        source: open(snapshot)?,
        owner: Owner {
            uid: user.0,
            gid: user.1,
        },
    };
    snapshot.serve(device, ended).map_err(Failed::sandbox)
}

/// Writes the files out, for a sandbox that cannot have them served.
pub(crate) fn write_out(snapshot: &ServedSnapshot) -> Result<(), Failed> {
    let source = open(snapshot)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let state = rustix::fs::openat(CWD, &snapshot.state, flags, Mode::empty())
        .map_err(|errno| Failed::sandbox(format!("open({:?}): {errno}", snapshot.state)))?;
    let state = state.as_fd();
    materialise(&source, state, OsStr::new(SNAPSHOT), |_| {}).map_err(Failed::sandbox)
}

fn open(snapshot: &ServedSnapshot) -> Result<WorkTree, Failed> {
    let base = Base::load(&snapshot.state).map_err(Failed::sandbox)?;
    let report = |trouble| tracing::warn!("{trouble}");
    let files = HeadTree::open(&snapshot.state, &base, base.conversion(), report);
    files.map(WorkTree::new).map_err(Failed::sandbox)
}
