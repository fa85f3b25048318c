//! The file of a login: JSON that belongs to another program, of which we change what we renewed and nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use zeroize::{Zeroize, Zeroizing};

/// Longer than any login.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: is no JSON object of at most 1 MiB", .0.display())]
    NotJson(PathBuf),
}

/// Holds secrets: wiped when dropped, and not shown by `Debug`.
pub(crate) struct Document(Json);

impl Document {
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, DocumentError> {
        let failed = |source| DocumentError::File {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut text = Zeroizing::new(Vec::with_capacity(16 << 10));
        file.take(MAX_FILE).read_to_end(&mut text).map_err(failed)?;
        match serde_json::from_slice(&text) {
            Ok(json @ Json::Object(_)) => Ok(Some(Self(json))),
            _ => Err(DocumentError::NotJson(path.to_owned())),
        }
    }

    pub(crate) fn get(&self, pointer: &str) -> Option<&Json> {
        self.0.pointer(pointer)
    }

    pub(crate) fn text(&self, pointer: &str) -> Option<&str> {
        self.get(pointer)?.as_str()
    }

    pub(crate) fn number(&self, pointer: &str) -> Option<u64> {
        self.get(pointer)?.as_u64()
    }

    pub(crate) fn set(&mut self, pointer: &str, value: Json) {
        set(&mut self.0, pointer, value);
    }

    /// Puts this in the place of the file, which keeps its owner, its mode and, if it is a link, the place it leads to.
    /// Whoever reads it sees the old one or the new one.
    pub(crate) fn replace(&self, path: &Path) -> Result<(), DocumentError> {
        let failed = |source| DocumentError::File {
            path: path.to_owned(),
            source,
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        let metadata = fs::metadata(&real).map_err(failed)?;
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
        serde_json::to_writer_pretty(&mut *text, &self.0).map_err(|error| failed(error.into()))?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the kernel's random source answers once it is seeded");
        let mut name = real.file_name().unwrap_or_default().to_owned();
        name.push(format!(".wardian-{:016x}", u64::from_le_bytes(random)));
        let temporary = real.with_file_name(name);
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
                fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
            file.set_permissions(metadata.permissions())?;
            file.sync_all()?;
            fs::rename(&temporary, &real)
        };
        let written = write();
        if written.is_err() {
            // What matters is the first error.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(failed)
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Document([redacted])")
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Makes what is missing on the way.
pub(crate) fn set(json: &mut Json, pointer: &str, value: Json) {
    let mut at = json;
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Json::Object(Map::new());
        }
        let Json::Object(map) = at else { return };
        at = map.entry(key).or_insert(Json::Null);
    }
    wipe(at);
    *at = value;
}

pub(crate) fn wipe(json: &mut Json) {
    match json {
        Json::String(text) => text.zeroize(),
        Json::Array(items) => items.iter_mut().for_each(wipe),
        Json::Object(map) => map.values_mut().for_each(wipe),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
