//! What was said in calls, where the user wants it kept.
//!
//! ```text
//! <sandbox>/conversations/<sha256>.zst    a message, an answer, a list of those: JSON, compressed with Zstandard
//! ```
//!
//! Texts lie under their own SHA-256, so that the messages which a program sends again with each request are stored
//! once. The list of a call names them in order, and the event on the journal names the list: who trusts the journal can
//! trust every word. The event does not name the messages itself, for a long conversation has more of them than fit into
//! a record.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::{Deserialize, Serialize};
use wardian_events::{Digest, ModelConversation};

use super::redact::Redactor;
use super::{Answer, Asked, PartKind};

/// The name of the directory in a sandbox's.
pub const DIRECTORY: &str = "conversations";
/// Bytes on disk of one sandbox's conversations.
const CAPACITY: u64 = 1 << 30;
/// Bytes of one text.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The vendor's name of the answer that this call goes on from, where the vendor keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Digest>,
    /// Of the request, in order. As the program wrote them.
    pub messages: Vec<Digest>,
    /// A [`Said`].
    pub answer: Digest,
}

/// What the model said, in one form for all vendors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Always `assistant`.
    pub role: String,
    pub content: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        text: String,
    },
    Reasoning {
        text: String,
    },
    ToolCall {
        id: String,
        name: String,
        /// As the model wrote them, mostly JSON.
        arguments: String,
    },
    Other {
        name: String,
    },
}

impl Said {
    fn of(answer: &Answer) -> Self {
        let block = |kind: &PartKind, text: &str| match kind {
            PartKind::Text => Block::Text { text: text.into() },
            PartKind::Reasoning => Block::Reasoning { text: text.into() },
            PartKind::ToolCall { id, name } => Block::ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: text.into(),
            },
            PartKind::Other(name) => Block::Other { name: name.clone() },
        };
        let parts = answer.parts.iter();
        Self {
            role: "assistant".to_owned(),
            content: parts.map(|part| block(&part.kind, &part.text)).collect(),
        }
    }
}

/// Why a conversation is not kept. Its name is the `conversation_absent` of the event.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    #[error("the conversations of this sandbox have reached their limit")]
    StoreFull,
    #[error("{path}: {source}")]
    NotWritten { path: PathBuf, source: io::Error },
}

impl NotKept {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::StoreFull => "store_full",
            Self::NotWritten { .. } => "not_written",
        }
    }
}

/// The texts of one sandbox's calls, to be added to.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    used: u64,
    capacity: u64,
}

impl Store {
    /// In the directory of a sandbox. What is there already counts.
    pub fn open(sandbox: &Path) -> io::Result<Self> {
        let directory = sandbox.join(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut used = 0;
        for entry in fs::read_dir(&directory)? {
            used += entry?.metadata()?.len();
        }
        Ok(Self {
            directory,
            used,
            capacity: CAPACITY,
        })
    }

    /// Keeps a call, without the values of credentials.
    pub(crate) fn keep(
        &mut self,
        asked: &Asked,
        answer: &Answer,
        redactor: &Redactor,
    ) -> Result<ModelConversation, NotKept> {
        let mut put = |text: &str| self.put(redactor.redact(text).as_bytes());
        let said = json(&Said::of(answer));
        let listing = Listing {
            previous: asked.previous.as_deref().map(|it| redactor.redact(it)),
            system: asked.system.as_deref().map(&mut put).transpose()?,
            tools: asked.tools.as_deref().map(&mut put).transpose()?,
            messages: asked
                .messages
                .iter()
                .map(|message| put(message))
                .collect::<Result<_, _>>()?,
            answer: put(&said)?,
        };
        Ok(ModelConversation {
            sha256: self.put(json(&listing).as_bytes())?,
            messages: asked.messages.len() as u64,
        })
    }

    fn put(&mut self, text: &[u8]) -> Result<Digest, NotKept> {
        let digest = Digest::of(text);
        let path = self.directory.join(file_name(&digest));
        if path.exists() {
            return Ok(digest);
        }
        let compressed = compress_to_vec(text, CompressionLevel::Fastest);
        let not_written = |source| NotKept::NotWritten {
            path: path.clone(),
            source,
        };
        if unpacked(compressed.as_slice()).map_err(not_written)? != text {
            return Err(not_written(io::Error::other("it was not packed well")));
        }
        let used = self.used + compressed.len() as u64;
        if used > self.capacity {
            return Err(NotKept::StoreFull);
        }
        let unnamed = self.directory.join("new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unnamed)
            .and_then(|mut file| file.write_all(&compressed))
            .and_then(|()| fs::rename(&unnamed, &path));
        written.map_err(not_written)?;
        self.used = used;
        Ok(digest)
    }
}

/// Texts are of our own types, whose keys are strings.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn file_name(digest: &Digest) -> String {
    format!("{digest}.zst")
}

/// Why a text cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} does not hold what its name says")]
    Altered { path: PathBuf },
}

/// A text of a sandbox's calls, which is what it was when it was stored.
pub fn read(sandbox: &Path, digest: &Digest) -> Result<Vec<u8>, ReadError> {
    let path = sandbox.join(DIRECTORY).join(file_name(digest));
    match File::open(&path).and_then(|file| unpacked(io::BufReader::new(file))) {
        Ok(text) if Digest::of(&text) == *digest => Ok(text),
        Ok(_) => Err(ReadError::Altered { path }),
        Err(source) => Err(ReadError::Io { path, source }),
    }
}

fn unpacked(packed: impl Read) -> io::Result<Vec<u8>> {
    let frame = StreamingDecoder::new(packed).map_err(io::Error::other)?;
    let mut text = Vec::new();
    frame.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// The listing of a call, as its event names it.
pub fn listing(sandbox: &Path, digest: &Digest) -> Result<Listing, ReadError> {
    let text = read(sandbox, digest)?;
    let path = || sandbox.join(DIRECTORY).join(file_name(digest));
    serde_json::from_slice(&text).map_err(|_| ReadError::Altered { path: path() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(std::sync::Arc::default())
    }

    fn asked(messages: &[&str]) -> Asked {
        Asked {
            model: Some("m".into()),
            system: Some("\"Be brief.\"".into()),
            messages: messages.iter().map(|&it| it.to_owned()).collect(),
            ..Asked::default()
        }
    }

    fn files(sandbox: &Path) -> usize {
        fs::read_dir(sandbox.join(DIRECTORY)).unwrap().count()
    }

    #[test]
    fn what_is_said_again_is_stored_once() {
        let sandbox = tempfile::tempdir().unwrap();
        let mut store = Store::open(sandbox.path()).unwrap();
        let answer = Answer::default();
        let first = store.keep(&asked(&["1"]), &answer, &redactor()).unwrap();
        let before = files(sandbox.path());
        let second = store
            .keep(&asked(&["1", "2"]), &answer, &redactor())
            .unwrap();
        assert_eq!(files(sandbox.path()), before + 2);
        assert_eq!((first.messages, second.messages), (1, 2));
        let listing = listing(sandbox.path(), &second.sha256).unwrap();
        let texts: Vec<_> = listing
            .messages
            .iter()
            .map(|digest| read(sandbox.path(), digest).unwrap())
            .collect();
        assert_eq!(texts, [b"1", b"2"]);
        let again = Store::open(sandbox.path()).unwrap();
        assert_eq!(again.used, store.used);
    }

    #[test]
    fn a_full_store_takes_no_more() {
        let sandbox = tempfile::tempdir().unwrap();
        let mut store = Store::open(sandbox.path()).unwrap();
        store.capacity = 100;
        let long: String = (0..2000).map(|number| number.to_string()).collect();
        let kept = store.keep(&asked(&[&long]), &Answer::default(), &redactor());
        assert_eq!(kept.unwrap_err().as_str(), "store_full");
    }

    #[test]
    fn what_was_altered_is_not_shown() {
        let sandbox = tempfile::tempdir().unwrap();
        let mut store = Store::open(sandbox.path()).unwrap();
        let digest = store.put(b"yes").unwrap();
        let other = store.put(b"no").unwrap();
        let path = |digest| sandbox.path().join(DIRECTORY).join(file_name(digest));
        fs::copy(path(&other), path(&digest)).unwrap();
        let error = read(sandbox.path(), &digest).unwrap_err();
        assert!(matches!(error, ReadError::Altered { .. }));
        fs::write(path(&digest), "no frame").unwrap();
        assert!(read(sandbox.path(), &digest).is_err());
    }

    proptest! {
        #[test]
        fn what_is_put_is_read(text in prop::collection::vec(any::<u8>(), 0..3000), times in 1_usize..200) {
            let sandbox = tempfile::tempdir().unwrap();
            let mut store = Store::open(sandbox.path()).unwrap();
            let text = text.repeat(times);
            let digest = store.put(&text).unwrap();
            prop_assert_eq!(read(sandbox.path(), &digest).unwrap(), text);
        }
    }
}
