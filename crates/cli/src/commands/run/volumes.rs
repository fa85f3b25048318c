//! `--volume`: a directory that outlives the sandbox, at a place of its own.

use std::path::{Component, Path, PathBuf};

use anyhow::{anyhow, bail};
use wardian_sandbox::plan::Access;
use wardian_sandbox::spec::{Mount, Workspaces};

use crate::commands::volume::store::{InUse, VolumeName, Volumes};
use crate::failure::Failure;
use crate::output::visible_path;

/// Where volumes are inside unless somebody says otherwise.
const PLACE: &str = "/volumes";

/// Nothing can be mounted there, or below.
const SYSTEM: [&str; 13] = [
    "proc", "sys", "dev", "run", "etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32",
    "boot",
];
/// Much else lies below.
const TOO_WIDE: [&str; 7] = ["/", "/var", "/home", "/root", "/tmp", "/opt", PLACE];

/// The mounts of volumes that a person asked for. Nothing is made yet.
pub(super) fn plan(
    asked: &[String],
    home: &Path,
    workspaces: &Workspaces,
) -> Result<Vec<Mount>, Failure> {
    let volumes = Volumes::discover()?;
    let mut mounts: Vec<Mount> = Vec::new();
    for text in asked {
        let Asked {
            name,
            target,
            access,
        } = parse(text, home).map_err(|error| {
            Failure::from(error).hint("it is --volume NAME, or NAME:PATH, and `:ro` to read only")
        })?;
        let others = mounts.iter().map(|mount| &mount.target);
        let works = workspaces.iter().map(|(_, workspace)| &workspace.path);
        for other in others.chain(works) {
            if target.starts_with(other) || other.starts_with(&target) {
                return Err(anyhow!(
                    "a volume at {} would lie over or in {}",
                    visible_path(&target),
                    visible_path(other)
                )
                .into());
            }
        }
        mounts.push(Mount {
            source: volumes.data(&name),
            target,
            access,
        });
    }
    Ok(mounts)
}

/// Makes those that are missing. None can be removed as long as the result lives.
pub(super) fn take(mounts: &[Mount]) -> Result<Vec<InUse>, Failure> {
    let volumes = Volumes::discover()?;
    let mut taken = Vec::new();
    for mount in mounts {
        taken.extend(volumes.take(&mount.source)?);
    }
    Ok(taken)
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    name: VolumeName,
    target: PathBuf,
    access: Access,
}

/// `NAME`, `NAME:PATH`, `NAME:ro` or `NAME:PATH:ro`.
fn parse(text: &str, home: &Path) -> anyhow::Result<Asked> {
    let (text, access) = match text.strip_suffix(":ro") {
        Some(text) => (text, Access::ReadOnly),
        None => (text.strip_suffix(":rw").unwrap_or(text), Access::ReadWrite),
    };
    let (name, target) = match text.split_once(':') {
        Some((name, path)) => (VolumeName::parse(name)?, path.into()),
        None => {
            let name = VolumeName::parse(text)?;
            let target = Path::new(PLACE).join(name.as_str());
            (name, target)
        }
    };
    let target = match target.strip_prefix("~") {
        Ok(below) => home.join(below),
        Err(_) => target,
    };
    let shown = visible_path(&target);
    let is_plain = |it| matches!(it, Component::RootDir | Component::Normal(_));
    if !target.is_absolute() || !target.components().all(is_plain) {
        bail!("{shown}: the place of a volume is an absolute path without `..`");
    }
    let target: PathBuf = target.components().collect();
    let is_system = SYSTEM
        .iter()
        .any(|name| target.starts_with(Path::new("/").join(name)));
    let is_wide = TOO_WIDE.iter().any(|path| target == Path::new(path));
    if is_system || is_wide || home.starts_with(&target) {
        bail!("a volume cannot be at {shown}, where the system or your home is");
    }
    Ok(Asked {
        name,
        target,
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> anyhow::Result<(String, PathBuf, Access)> {
        parse(text, Path::new("/home/ann"))
            .map(|it| (it.name.as_str().to_owned(), it.target, it.access))
    }

    #[test]
    fn volumes_have_a_name_and_a_place() {
        use Access::{ReadOnly, ReadWrite};
        let fine = [
            ("data", "data", "/volumes/data", ReadWrite),
            ("data:ro", "data", "/volumes/data", ReadOnly),
            ("data:/srv/x/", "data", "/srv/x", ReadWrite),
            ("d:/srv/a:b:ro", "d", "/srv/a:b", ReadOnly),
            ("d:~/models:rw", "d", "/home/ann/models", ReadWrite),
        ];
        for (text, name, target, access) in fine {
            assert_eq!(
                parsed(text).unwrap(),
                (name.to_owned(), target.into(), access),
                "{text}"
            );
        }
        let bad = [
            "",
            ":/x",
            "../x",
            "a/b",
            ".x",
            "-x",
            "A",
            "d:",
            "d:rel",
            "d:/",
            "d:/a/../etc",
            "d:/etc/x",
            "d:/usr",
            "d:/run/wardian",
            "d:~",
            "d:/home",
            "d:/home/ann/",
            "d:/proc/1",
        ];
        for text in bad {
            assert!(parsed(text).is_err(), "{text}");
        }
    }
}
