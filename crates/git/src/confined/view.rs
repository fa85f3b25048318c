//! Which objects a command sees.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice;
use gix::hash::Kind;

use super::{ConfinedError, SessionRepository};
use crate::Base;

/// The objects that a command sees, and what must be known to read them.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) format: Kind,
    /// Of the user; may be moved or replaced, but not by an agent.
    pub(super) objects: Vec<PathBuf>,
    /// Directory of the workspace whose session's objects are seen as well.
    pub(super) session: Option<PathBuf>,
    /// An existing directory where new objects are written to.
    pub(super) written: Option<PathBuf>,
    /// Commits whose parents the user's repository does not have: the text of its file `shallow`.
    pub(super) shallow: Vec<u8>,
    /// The user's repository is a partial clone: objects may be missing that its remote has.
    pub(super) partial: bool,
}

/// More than any repository that is worked in.
const MAX_FILE: u64 = 64 << 20;

impl View {
    pub(super) fn empty() -> Self {
        Self {
            format: Kind::Sha1,
            objects: Vec::new(),
            session: None,
            written: None,
            shallow: Vec::new(),
            partial: false,
        }
    }

    /// The user's repository alone. Its configuration is read for what it says about objects, by us.
    pub fn of_user(base: &Base) -> Result<Self, ConfinedError> {
        let format = match base.object_format.as_str() {
            "sha1" => Kind::Sha1,
            "sha256" => Kind::Sha256,
            other => {
                return Err(ConfinedError::Repository {
                    path: base.common_dir.clone(),
                    why: format!("objects are named by {other:?}, which is not known"),
                });
            }
        };
        let shallow = read_bounded(&base.common_dir.join("shallow"))?;
        Ok(Self {
            format,
            objects: base.objects.clone(),
            shallow: only_ids(&shallow, format),
            partial: is_partial(&base.common_dir)?,
            ..Self::empty()
        })
    }

    /// Sees what the session has as well.
    pub fn with_session(self, session: &SessionRepository) -> Result<Self, ConfinedError> {
        session.survey_objects()?;
        Ok(Self {
            session: Some(session.workspace().to_owned()),
            ..self
        })
    }

    /// New objects go to `directory`, which exists, and are seen there.
    pub fn writing_to(self, directory: &Path) -> Self {
        Self {
            written: Some(directory.to_owned()),
            ..self
        }
    }

    /// Sees nothing but what was written to `directory`.
    pub(crate) fn alone_in(&self, directory: &Path) -> Self {
        Self {
            format: self.format,
            partial: self.partial,
            written: Some(directory.to_owned()),
            ..Self::empty()
        }
    }

    pub(crate) fn is_partial(&self) -> bool {
        self.partial
    }

    pub fn format(&self) -> Kind {
        self.format
    }
}

/// Empty if there is no such file.
pub(crate) fn read_bounded(path: &Path) -> Result<Vec<u8>, ConfinedError> {
    let failed = |source| ConfinedError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// One id a line. What is no id cannot steer anything.
fn only_ids(text: &[u8], format: Kind) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in text.lines() {
        if gix::ObjectId::from_hex(line).is_ok_and(|id| id.kind() == format) {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    kept
}

fn is_partial(common_dir: &Path) -> Result<bool, ConfinedError> {
    let config = user_config(common_dir)?;
    let promises = |section: gix::config::file::SectionRef<'_>| {
        section.value("promisor").is_some_and(|value| {
            gix::config::Boolean::try_from(value).is_ok_and(|value| value.is_true())
        }) || section.value("partialclonefilter").is_some()
    };
    Ok(config.string("extensions.partialclone").is_some()
        || config
            .sections_by_name("remote")
            .into_iter()
            .flatten()
            .any(promises))
}

/// The repository's own file, without what it includes.
pub(crate) fn user_config(common_dir: &Path) -> Result<gix::config::File, ConfinedError> {
    let path = common_dir.join("config");
    let bytes = read_bounded(&path)?;
    let parsed = gix::config::File::from_bytes_no_includes(
        &bytes,
        gix::config::file::Metadata::from(gix::config::Source::Local),
        gix::config::file::init::Options::default(),
    );
    parsed.map_err(|error| ConfinedError::Repository {
        path,
        why: error.to_string(),
    })
}

/// For messages.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.as_bytes())
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_partial_clones_by_their_configuration() {
        let cases: [(&str, bool); 5] = [
            ("", false),
            ("[remote \"origin\"]\n\turl = x\n", false),
            ("[remote \"origin\"]\n\tpromisor = true\n", true),
            (
                "[remote \"origin\"]\n\tpartialclonefilter = blob:none\n",
                true,
            ),
            ("[extensions]\n\tpartialClone = origin\n", true),
        ];
        for (text, expected) in cases {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("config"), text).unwrap();
            assert_eq!(is_partial(directory.path()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn shallow_holds_ids_only() {
        let id = "1234567890123456789012345678901234567890";
        let text = format!("{id}\n\nshallow {id}\n{id}{id}\n../x\n{id}");
        assert_eq!(
            only_ids(text.as_bytes(), Kind::Sha1),
            format!("{id}\n{id}\n").as_bytes()
        );
    }
}
