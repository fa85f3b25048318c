//! What is in a session's `.git`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gix::bstr::ByteSlice;

use super::place::Place;
use super::{Changes, Options, SessionError, config, object_mounts};
use crate::repository::config::{Scope, interpolate};
use crate::repository::{Refs, Repository, Sparse, files};

/// Files of an operation that was under way, which the next commit would end. Read as text, checked, and
/// only with the changes that they are about.
const UNDER_WAY: [(&str, Content); 6] = [
    ("MERGE_HEAD", Content::Ids),
    ("CHERRY_PICK_HEAD", Content::Ids),
    ("REVERT_HEAD", Content::Ids),
    ("MERGE_MODE", Content::Mode),
    ("MERGE_MSG", Content::Message),
    ("SQUASH_MSG", Content::Message),
];

#[derive(Debug, Clone, Copy)]
enum Content {
    Ids,
    Mode,
    Message,
}

/// Writes all but the index.
pub(super) fn write(
    repository: &Repository,
    refs: &Refs,
    git: &Place,
    options: &Options,
) -> Result<(), SessionError> {
    git.write(
        "HEAD",
        format!("ref: refs/heads/{}\n", options.branch).as_bytes(),
    )?;
    git.write("config", &config::of_session(repository))?;
    write_objects(repository, git, options)?;
    write_refs(repository, refs, git, options)?;
    if let Some(shallow) = repository.shallow()? {
        git.write("shallow", shallow.as_bytes())?;
    }
    write_info(repository, git)?;
    if options.changes == Changes::Bring {
        write_under_way(repository, git)?;
    }
    Ok(())
}

fn write_objects(
    repository: &Repository,
    git: &Place,
    options: &Options,
) -> Result<(), SessionError> {
    let objects = git.make("objects")?;
    objects.make("pack")?;
    let mut alternates = Vec::new();
    for mount in object_mounts(repository.objects(), &options.inside) {
        alternates.extend_from_slice(mount.inside.as_os_str().as_bytes());
        alternates.push(b'\n');
    }
    objects.make("info")?.write("alternates", &alternates)?;
    Ok(())
}

fn write_refs(
    repository: &Repository,
    refs: &Refs,
    git: &Place,
    options: &Options,
) -> Result<(), SessionError> {
    git.write("packed-refs", &refs.packed)?;
    git.make("refs")?.make("tags")?;
    for (name, target) in &refs.symbolic {
        let text = [b"ref: ", target.as_slice(), b"\n"].concat();
        git.write_below(files::as_path(name.as_bstr()), &text)?;
    }
    git.make_all(Path::new("refs/heads"), |_| 0o755)?;
    if let Some(commit) = repository.commit() {
        let path = format!("refs/heads/{}", options.branch);
        git.write_below(Path::new(&path), format!("{commit}\n").as_bytes())?;
    }
    Ok(())
}

fn write_info(repository: &Repository, git: &Place) -> Result<(), SessionError> {
    let info = git.make("info")?;
    let common = repository.common_dir();
    info.write("exclude", &excludes(repository)?)?;
    if let Some(attributes) = files::read_beneath(common, "info/attributes", files::SMALL)? {
        info.write("attributes", &attributes)?;
    }
    let path = "info/sparse-checkout";
    if repository.sparse() != Sparse::Off
        && let Some(patterns) = files::read_beneath(repository.git_dir(), path, files::SMALL)?
    {
        info.write("sparse-checkout", &patterns)?;
    }
    Ok(())
}

/// Patterns that are in no `.gitignore`: the user's, then the repository's, which win.
pub(super) fn excludes(repository: &Repository) -> Result<Vec<u8>, SessionError> {
    let mut patterns = users_excludes(repository)?.unwrap_or_default();
    if !patterns.is_empty() && !patterns.ends_with(b"\n") {
        patterns.push(b'\n');
    }
    let own = files::read_beneath(repository.common_dir(), "info/exclude", files::SMALL)?;
    patterns.extend(own.unwrap_or_default());
    Ok(patterns)
}

/// Patterns of `core.excludesFile`. A repository does not get to name that file.
fn users_excludes(repository: &Repository) -> Result<Option<Vec<u8>>, SessionError> {
    let places = repository.places();
    let own = repository.config().of_scopes(&[Scope::System, Scope::User]);
    let named = own.filter(|setting| setting.is("core.excludesfile")).last();
    let path = match named.and_then(|setting| setting.value.as_ref()) {
        Some(path) => interpolate(path.as_bstr(), places),
        None => places.ignore.clone(),
    };
    match path.filter(|path| path.is_absolute()) {
        Some(path) => Ok(files::read(&path, files::SMALL)?),
        None => Ok(None),
    }
}

fn write_under_way(repository: &Repository, git: &Place) -> Result<(), SessionError> {
    for (name, content) in UNDER_WAY {
        let text = files::read_beneath(repository.git_dir(), name, files::SMALL)?;
        if let Some(text) = text.filter(|text| content.admits(text)) {
            git.write(name, &text)?;
        }
    }
    Ok(())
}

impl Content {
    fn admits(self, text: &[u8]) -> bool {
        match self {
            Self::Ids => text
                .lines()
                .all(|line| gix::ObjectId::from_hex(line).is_ok()),
            Self::Mode => [b"".as_slice(), b"no-ff", b"no-ff\n"].contains(&text),
            Self::Message => true,
        }
    }
}
