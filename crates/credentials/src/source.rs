//! Reading a secret where the person keeps it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use wardian_linux::SyscallError;
use wardian_linux::locked::Locked;

use crate::value::{MAX_LENGTH, Value, ValueError};

/// Nearly all secrets are shorter, and what a process may lock can be as little as 64 KiB.
const FIRST: usize = 8 << 10;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot run {program:?}: {source}")]
    NotRun { program: String, source: io::Error },
    #[error("{program:?} failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl From<SyscallError> for SourceError {
    fn from(error: SyscallError) -> Self {
        Self::Value(error.into())
    }
}

/// Where a secret that this crate reads by itself is. Variables are handed in by whoever has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    File(&'a Path),
    Command(&'a [String]),
}

/// The value without line breaks at its end; `None` if there is none.
pub fn read(place: &Place<'_>) -> Result<Option<Value>, SourceError> {
    let locked = match place {
        Place::File(path) => match File::open(path).and_then(take) {
            Ok(locked) => locked?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = path.to_path_buf();
                return Err(SourceError::File { path, source });
            }
        },
        Place::Command(words) => output(words)?,
    };
    text(locked)
}

/// `~/` stands for `home`.
pub fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(below) => home.join(below),
        None => PathBuf::from(path),
    }
}

/// Its messages and questions are for the person whose terminal it has, if it has one.
fn output(words: &[String]) -> Result<Locked, SourceError> {
    let [program, arguments @ ..] = words else {
        let source = io::ErrorKind::InvalidInput.into();
        let program = String::new();
        return Err(SourceError::NotRun { program, source });
    };
    let not_run = |source| SourceError::NotRun {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(not_run)?;
    let printed = child.stdout.take().map(take);
    if matches!(&printed, Some(Ok(Ok(locked))) if locked.bytes().len() > MAX_LENGTH) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(ValueError::TooLong.into());
    }
    let status = child.wait().map_err(not_run)?;
    if !status.success() {
        let program = program.clone();
        return Err(SourceError::Failed { program, status });
    }
    match printed {
        Some(printed) => printed.map_err(not_run)?,
        None => Ok(Locked::zeroed(0)?),
    }
}

/// Straight into locked memory: no buffer on the way holds it.
fn take(mut from: impl Read) -> io::Result<Result<Locked, SourceError>> {
    let mut locked = match Locked::zeroed(FIRST) {
        Ok(locked) => locked,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut length = 0;
    loop {
        if length == locked.bytes().len() && length <= MAX_LENGTH {
            locked = match grown(&locked) {
                Ok(locked) => locked,
                Err(error) => return Ok(Err(error.into())),
            };
        }
        match from.read(&mut locked.bytes_mut()[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    locked.truncate(length);
    Ok(Ok(locked))
}

fn grown(from: &Locked) -> Result<Locked, SyscallError> {
    let length = from.bytes().len();
    let mut locked = Locked::zeroed((2 * length).min(MAX_LENGTH + 2))?;
    locked.bytes_mut()[..length].copy_from_slice(from.bytes());
    Ok(locked)
}

/// The value in as few pages as it needs.
fn text(locked: Locked) -> Result<Option<Value>, SourceError> {
    let bytes = locked.bytes();
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(0, |last| last + 1);
    if end == 0 {
        return Ok(None);
    }
    if end > MAX_LENGTH {
        return Err(ValueError::TooLong.into());
    }
    Ok(Some(Value::from_locked(Locked::copy_of(&bytes[..end])?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn files_and_commands_give_values_without_line_breaks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert_eq!(read(&Place::File(&path)).unwrap(), None);
        std::fs::write(&path, "sk-1\r\n\n").unwrap();
        let value = read(&Place::File(&path)).unwrap().unwrap();
        assert_eq!(value.expose(), "sk-1");
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(read(&Place::File(&path)).unwrap(), None);
        assert!(read(&Place::File(directory.path())).is_err());

        let printed = words(&["sh", "-c", "printf sk-; printf '2\\n'"]);
        let value = read(&Place::Command(&printed)).unwrap().unwrap();
        assert_eq!(value.expose(), "sk-2");
    }

    #[test]
    fn what_fails_says_so_and_never_the_value() {
        for (program, expected) in [
            (
                words(&["sh", "-c", "printf sk-3; exit 3"]),
                "exit status: 3",
            ),
            (words(&["wardian-no-such-program"]), "cannot run"),
            (words(&[]), "cannot run"),
            (words(&["printf", "sk-3\\nsk-4"]), "control character"),
            (words(&["head", "-c", "70000", "/dev/zero"]), "longer than"),
        ] {
            let error = read(&Place::Command(&program)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("sk-4"), "{error}");
        }
    }
}
