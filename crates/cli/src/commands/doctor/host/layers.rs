//! How the host's directories get into sandboxes: layered by the kernel, or served through FUSE.

use std::path::{Path, PathBuf};

use wardian_sandbox::builtin::{NoDevice, Offers};
use wardian_sandbox::ids::Privilege;
use wardian_sandbox::image::{Below, HostImage, Mounts};
use wardian_sandbox::user;
use wardian_supervisor::layers::fix;

use super::super::advice::Advice;
use super::super::check::Check;
use super::{fails, holds, limited};

/// Of many mounts, so many are named.
const NAMED: usize = 3;

pub(super) struct Layers {
    pub(super) advice: Advice,
    pub(super) privilege: Privilege,
    /// What came of trying, or why that was not possible.
    pub(super) offers: Result<Offers, String>,
    /// What is mounted below each system directory that sandboxes see.
    pub(super) below: Vec<(PathBuf, Below)>,
}

impl Layers {
    /// To be called while this process has one thread.
    pub(super) fn of_this_host(advice: Advice, privilege: Privilege) -> Self {
        let offers = match user::current() {
            Some(user) => Offers::find_out(&user).map_err(|error| error.to_string()),
            None => Err("this user has no home directory".to_owned()),
        };
        Self {
            advice,
            privilege,
            offers,
            below: below_system_directories(),
        }
    }

    pub(super) fn overlay(&self) -> Check {
        let name = "overlay file systems";
        match self.offers.as_ref().map(|offers| &offers.overlay) {
            Ok(Ok(())) => holds(name, "can be mounted in namespaces"),
            Ok(Err(why)) => fails(
                name,
                why.as_str(),
                match why.contains("ENODEV") {
                    true => self.advice.module("overlay"),
                    false => "find out what forbids mounts in namespaces of their own: a seccomp filter or security module of the session".to_owned(),
                },
            ),
            Err(why) => limited(
                name,
                format!("could not be tried: {why}"),
                "see to the namespaces first".to_owned(),
            ),
        }
    }

    pub(super) fn fuse(&self) -> Check {
        let name = "FUSE";
        let uses = match self.privilege {
            Privilege::Root => "it shows what is mounted below directories that sandboxes see",
            Privilege::Rootless => {
                "`--root` needs it to change system files, and every start does where something is mounted below a system directory or the project"
            }
        };
        match self.no_fuse() {
            None => holds(name, format!("/dev/fuse can be mounted; {uses}")),
            Some(why) => limited(name, format!("{}; {uses}", why.error), fix(&why)),
        }
    }

    pub(super) fn mounts(&self) -> Check {
        let name = "mounts below system directories";
        let needed = |below: &Below| match self.privilege {
            Privilege::Root => !below.shown.is_empty(),
            Privilege::Rootless => below.locked.is_some(),
        };
        let points: Vec<_> = self
            .below
            .iter()
            .filter(|(_, below)| needed(below))
            .flat_map(|(_, below)| match self.privilege {
                Privilege::Root => below.shown.iter().collect(),
                Privilege::Rootless => below.locked.iter().collect::<Vec<_>>(),
            })
            .map(|point| point.display().to_string())
            .collect();
        if points.is_empty() {
            return holds(name, "none that sandboxes would see");
        }
        let listed = listed(&points);
        match (self.no_fuse(), self.privilege) {
            (None, _) => holds(
                name,
                format!("{listed}; the directories around them come through FUSE"),
            ),
            (Some(why), Privilege::Root) => limited(
                name,
                format!("{listed}; sandboxes do not see them, for there is no FUSE"),
                fix(&why),
            ),
            (Some(why), Privilege::Rootless) => fails(
                name,
                format!(
                    "{listed}; the kernel lets no ordinary user layer the directories around them, and there is no FUSE to do it"
                ),
                fix(&why),
            ),
        }
    }

    fn no_fuse(&self) -> Option<NoDevice> {
        match &self.offers {
            Ok(offers) => offers.fuse.clone().err(),
            Err(why) => Some(NoDevice {
                error: format!("could not be tried: {why}"),
                errno: None,
            }),
        }
    }
}

/// Nothing of a host that cannot be made an image; why is told when a sandbox is started.
fn below_system_directories() -> Vec<(PathBuf, Below)> {
    let (Ok(image), Ok(mounts)) = (HostImage::discover(), Mounts::read()) else {
        return Vec::new();
    };
    let directories = image.directories().map(|name| Path::new("/").join(name));
    directories
        .filter_map(|directory| {
            let below = mounts.below(&directory).ok()?;
            Some((directory, below))
        })
        .collect()
}

fn listed(points: &[String]) -> String {
    let (named, more) = points.split_at(points.len().min(NAMED));
    let named = named.join(", ");
    match more.len() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Finding;
    use super::*;

    fn layers(privilege: Privilege, fuse: Result<(), NoDevice>, points: &[&str]) -> Layers {
        let points: Vec<PathBuf> = points.iter().map(PathBuf::from).collect();
        let below = Below {
            locked: points.first().cloned(),
            shown: points.clone(),
            covering: points,
        };
        Layers {
            advice: Advice::Debian,
            privilege,
            offers: Ok(Offers {
                overlay: Ok(()),
                fuse,
            }),
            below: vec![("/usr".into(), Below::default()), ("/etc".into(), below)],
        }
    }

    fn no_device() -> Result<(), NoDevice> {
        Err(NoDevice {
            error: "open(\"/dev/fuse\", O_RDWR): permission denied (EACCES)".to_owned(),
            errno: Some(13),
        })
    }

    #[test]
    fn without_fuse_a_mount_forbids_or_hides() {
        for (privilege, points, outcome) in [
            (Privilege::Root, &[][..], Finding::Holds),
            (Privilege::Rootless, &[], Finding::Holds),
            (Privilege::Root, &["/etc/issue"], Finding::Limited),
            (Privilege::Rootless, &["/etc/issue"], Finding::Fails),
        ] {
            let without = layers(privilege, no_device(), points);
            assert_eq!(without.mounts().outcome, outcome, "{points:?}");
            assert_eq!(without.fuse().outcome, Finding::Limited);
            assert!(without.fuse().fix.unwrap().contains("chmod 666 /dev/fuse"));
            let with = layers(privilege, Ok(()), points);
            assert_eq!(with.mounts().outcome, Finding::Holds);
            assert_eq!(with.fuse().outcome, Finding::Holds);
        }
    }

    #[test]
    fn a_kernel_without_overlays_is_told() {
        let mut layers = layers(Privilege::Root, Ok(()), &[]);
        assert_eq!(layers.overlay().outcome, Finding::Holds);
        layers.offers = Ok(Offers {
            overlay: Err("fsopen(\"overlay\"): no such device (ENODEV)".to_owned()),
            fuse: Ok(()),
        });
        let check = layers.overlay();
        assert_eq!(check.outcome, Finding::Fails);
        assert!(check.fix.unwrap().contains("modprobe -a overlay"));
        layers.offers = Err("clone3(): ENOSPC".to_owned());
        assert_eq!(layers.overlay().outcome, Finding::Limited);
        assert!(layers.fuse().detail.contains("ENOSPC"));
    }

    #[test]
    fn many_mounts_are_counted() {
        let points = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(listed(&points[..3]), "a, b, c");
        assert_eq!(listed(&points), "a, b, c and 2 more");
    }
}
