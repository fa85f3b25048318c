//! Lower layers that the kernel cannot take from the host: served from here, as long as the sandbox lives.

use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use wardian_filesystem::host_layer::{Export, HostLayer};
use wardian_sandbox::builtin::{
    FUSE_DEVICE, NoDevice, ServedDirectory, ServedLayers, SystemLayers, Unavailable,
};
use wardian_sandbox::ids::{MissingIds, SystemOwners};

use crate::ending::Ending;
use crate::failure::Failed;
use crate::protocol::{How, Lack, Note};
use crate::snapshots;

/// Of the descriptors that this process may have, the door keeps half.
const SHARE: usize = 2;
/// More than the program needs, whatever the limit is.
const MOST_OPEN: usize = 1 << 16;

/// What this process has to be able to read of the host for that.
pub(crate) fn needs(layers: &SystemLayers) -> Result<Vec<PathBuf>, Failed> {
    let (host, snapshots) = match layers {
        SystemLayers::Direct => return Ok(Vec::new()),
        SystemLayers::Served(layers) => (
            layers.host.iter().flat_map(|(_, served)| served).collect(),
            layers
                .snapshots
                .iter()
                .map(|(_, snapshot)| snapshot)
                .collect(),
        ),
        SystemLayers::Unavailable(missing) => {
            (Vec::new(), missing.snapshots.iter().collect::<Vec<_>>())
        }
    };
    let host: Vec<&ServedDirectory> = host;
    let mut paths: Vec<_> = host.into_iter().map(|served| served.path.clone()).collect();
    for snapshot in snapshots {
        paths.extend(snapshots::needs(snapshot)?);
    }
    Ok(paths)
}

/// Serves until pid 1 is gone. To be called once this thread is confined: the threads that do it are
/// started here. Should serving fail, the sandbox ends: it would have no programs left.
pub(crate) fn serve(layers: ServedLayers, ending: &Ending) -> Result<(), Failed> {
    let ServedLayers {
        host,
        snapshots,
        owners,
        user,
    } = layers;
    for (device, snapshot) in snapshots {
        snapshots::serve(device, &snapshot, user, ending)?;
    }
    let Some((device, directories)) = host else {
        return Ok(());
    };
    let exports = directories
        .iter()
        .map(export)
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

fn export(directory: &ServedDirectory) -> std::io::Result<Export> {
    let export = Export::open(directory.name(), &directory.path)?;
    let points = directory.mounts.iter();
    let points = points.filter_map(|point| point.strip_prefix(&directory.path).ok());
    Ok(points.fold(export, Export::with_mount))
}

/// How many descriptors this process may have.
fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// What a person should know whose sandbox goes without, with the way out.
pub(crate) fn unavailable(missing: &Unavailable) -> Vec<Note> {
    let Unavailable {
        why,
        owners,
        unseen,
        snapshots,
    } = missing;
    let note = |feature: String, lack| Note {
        feature,
        lack,
        why: format!("{}; {}", why.error, fix(why)),
    };
    let unchangeable = (*owners == SystemOwners::Shifted).then(|| {
        note(
            "what the host has in /usr, /etc and its other system directories".to_owned(),
            Lack::NotChangeable,
        )
    });
    let points: Vec<_> = unseen
        .iter()
        .map(|point| point.display().to_string())
        .collect();
    let unseen = (!points.is_empty()).then(|| {
        note(
            format!("what is mounted on {}", points.join(", ")),
            Lack::NotSeen,
        )
    });
    let written_out = (!snapshots.is_empty())
        .then(|| note("the files of the repository".to_owned(), Lack::WrittenOut));
    unchangeable
        .into_iter()
        .chain(unseen)
        .chain(written_out)
        .collect()
}

/// What a superuser should know who has no ids to give files to.
pub(crate) fn one_id(missing: &MissingIds) -> Note {
    Note {
        feature: "giving files to other users inside, as package managers do,".to_owned(),
        lack: Lack::NotPossible,
        why: format!("{missing}; {}", ids_fix(missing, HELPER_PACKAGES)),
    }
}

/// What has `newuidmap` and `newgidmap`, for whom the distribution is not known.
const HELPER_PACKAGES: &str =
    "install newuidmap and newgidmap (package uidmap, shadow-utils or shadow)";

/// How a user gets ids besides their own. `install` says how to get the helpers.
pub fn ids_fix(missing: &MissingIds, install: &str) -> String {
    let line = (!missing.files.is_empty()).then(|| {
        let files = missing.files.join(" ");
        format!("`echo {} | sudo tee -a {files}`", missing.line())
    });
    let install = (!missing.helpers.is_empty()).then(|| install.to_owned());
    let steps: Vec<_> = line.into_iter().chain(install).collect();
    steps.join(", and ")
}

/// How a user gets a FUSE device.
pub fn fix(why: &NoDevice) -> String {
    match why.errno.map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => format!(
            "load the kernel's module with `sudo modprobe fuse`; in a container, start it with `--device {FUSE_DEVICE}`"
        ),
        Some(Errno::NODEV | Errno::NXIO) => {
            "load the kernel's module with `sudo modprobe fuse`".to_owned()
        }
        Some(Errno::ACCESS) => format!(
            "`sudo chmod 666 {FUSE_DEVICE}` opens it to all users, as distributions usually have it"
        ),
        Some(Errno::PERM) => format!(
            "in a container, start it with `--device {FUSE_DEVICE}`; elsewhere, find out which security module forbids it"
        ),
        _ => "Linux 4.18 and later let users mount FUSE in namespaces of their own, unless a security module forbids it".to_owned(),
    }
}
