//! Outside: what the sandbox's own layers hold before anything is layered. Whatever is hidden of the host is
//! hidden by them.

use std::io;
use std::path::{Path, PathBuf};

use super::launch::LaunchError;
use super::system_layers::Lowers;
use crate::ids::{Identity, Privilege};
use crate::image::{self, Cover, HostImage, IdentityFiles, LayerDirectories};
use crate::spec::{Account, SandboxSpec};

pub(super) struct Filling<'a> {
    pub(super) spec: &'a SandboxSpec,
    pub(super) privilege: Privilege,
    pub(super) identity: &'a Identity,
    pub(super) image: &'a HostImage,
    pub(super) layers: &'a LayerDirectories,
    pub(super) lowers: &'a Lowers,
}

impl Filling<'_> {
    /// `certificate` is the sandbox's CA in PEM.
    pub(super) fn fill(&self, certificate: &str) -> Result<(), LaunchError> {
        for name in self.image.directories() {
            let lower = Path::new("/").join(name);
            self.cover(name, &lower)
                .map_err(|source| LaunchError::Layers {
                    path: lower.clone(),
                    source,
                })?;
        }
        image::place_certificate(certificate, self.layers)
            .map(drop)
            .map_err(|source| LaunchError::Layers {
                path: self.layers.root().to_owned(),
                source,
            })
    }

    fn cover(&self, name: &str, lower: &Path) -> io::Result<()> {
        let upper = self.layers.upper(name);
        let cover = Cover {
            lower,
            upper: &upper,
        };
        let hides_private = match (name, self.privilege) {
            ("etc", _) => {
                cover.hide_private()?;
                IdentityFiles { spec: self.spec }.place(&cover)?;
                if self.spec.account == Account::Superuser && !self.identity.has_subordinate_ids {
                    IdentityFiles::keep_apt_root(&cover)?;
                }
                true
            }
            ("var", _) => cover.hide_most_of_var().map(|()| true)?,
            // As root, the kernel's own checks do not hide them: the ids are mapped.
            ("opt", Privilege::Root) => cover.hide_private().map(|()| true)?,
            ("usr", Privilege::Root) => cover.hide_private_below("local").map(|()| true)?,
            _ => false,
        };
        let below = |point: &PathBuf| Some(point.strip_prefix(lower).ok()?.to_owned());
        let served = self.lowers.served.iter();
        for point in served.flat_map(|served| &served.mounts).filter_map(below) {
            if hides_private {
                cover.hide_private_at(&point)?;
            }
        }
        for point in self.lowers.covering.iter().filter_map(below) {
            cover.hide(&point)?;
        }
        Ok(())
    }
}
