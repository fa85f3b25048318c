//! The supervisor's own confinement. It parses hostile bytes from here on, and needs little.

use std::path::{Path, PathBuf};

use wardian_linux::landlock::{self, Enforcement};
use wardian_sandbox::state::SandboxDirectory;

use crate::failure::Failed;

/// For names and certificates: the resolver's settings, the host table, the host's roots.
const READ: [&str; 7] = [
    "/etc",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
];

/// Restricts this thread, and all that it starts, to the sandbox's own directory, its cgroups and `downloads`, and to
/// reading `served`: what it shows the sandbox itself. To be called before the first thread that touches the network.
/// Returns why it could not, if so: then the sandbox holds all the same, with one wall less behind the door.
pub(crate) fn confine(
    directory: &SandboxDirectory,
    cgroups: &[PathBuf],
    served: &[PathBuf],
    downloads: Option<&Path>,
) -> Result<Option<String>, Failed> {
    let mut read: Vec<&Path> = READ.iter().map(Path::new).collect();
    read.extend(served.iter().map(PathBuf::as_path));
    let mut write = vec![directory.path()];
    write.extend(downloads);
    // Removing a directory is a change of its parent.
    write.extend(cgroups.iter().filter_map(|path| path.parent()));
    match landlock::restrict_supervisor(&read, &write).map_err(Failed::sandbox)? {
        Enforcement::Enforced { .. } => Ok(None),
        Enforcement::NotEnforced { why } => Ok(Some(why)),
    }
}
