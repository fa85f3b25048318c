//! The system directories of a sandbox whose superuser is an ordinary user: served from here, as long as
//! the sandbox lives.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use wardian_filesystem::host_layer::{Export, HostLayer};
use wardian_sandbox::builtin::{FUSE_DEVICE, NoDevice, ServedLayers};

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::{How, Lack, Note};

/// Of the descriptors that this process may have, the door keeps half.
const SHARE: usize = 2;
/// More than the program needs, whatever the limit is.
const MOST_OPEN: usize = 1 << 16;

/// Serves until pid 1 is gone. To be called once this thread is confined: the threads that do it are
/// started here. Should serving fail, the sandbox ends: it would have no programs left.
pub(crate) fn serve(layers: ServedLayers, ending: &Ending) -> Result<(), Failed> {
    let ServedLayers {
        device,
        directories,
        owners,
    } = layers;
    let exports = directories
        .iter()
        .map(|path| Export::open(ServedLayers::name(path), path))
        .collect::<Result<_, _>>()
        .map_err(Failed::sandbox)?;
    let share = open_files() / SHARE;
    let layer = HostLayer {
        exports,
        owners,
        max_open: share.min(MOST_OPEN),
    };
    let ending = ending.clone();
    let ended = move |how| {
        if let Err(error) = how {
            ending.end(How::Lost(format!(
                "the system directories are no longer served: {error}"
            )));
        }
    };
    layer.serve(device, ended).map_err(Failed::sandbox)
}

/// How many descriptors this process may have.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// What a superuser should know who cannot have them, with the way out.
pub(crate) fn unavailable(why: &NoDevice) -> Note {
    let fix = match why.errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            "load the kernel's module with `sudo modprobe fuse`".to_owned()
        }
        Some(Errno::ACCESS) => format!(
            "`sudo chmod 666 {FUSE_DEVICE}` opens it to all users, as distributions usually have it"
        ),
        _ => "Linux 4.18 and later let users mount FUSE in namespaces of their own, unless a security module forbids it".to_owned(),
    };
    Note {
        feature: "what the host has in /usr, /etc and its other system directories".to_owned(),
        lack: Lack::NotChangeable,
        why: format!("{}; {fix}", why.error),
    }
}
