//! Finding a program on the host, and what of the user's home it needs to run.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::image::layout::HostImage;

/// A program and what must be visible for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Absolute path by which it is started.
    pub path: PathBuf,
    /// Existing files and directories outside of the image, without symlinks.
    pub visible: Vec<PathBuf>,
    /// Symlinks on the way to it: where, and what they hold.
    pub links: Vec<(PathBuf, PathBuf)>,
}

#[derive(Debug, Error)]
pub enum ProgramError {
    #[error("no program named {0:?} is on PATH")]
    NotFound(OsString),
    #[error("{0}: no such file")]
    NoSuchFile(PathBuf),
    #[error("{script}: its first line names the interpreter {interpreter:?}, which does not exist")]
    NoInterpreter {
        script: PathBuf,
        interpreter: OsString,
    },
    #[error("{0}: not an executable file")]
    NotExecutable(PathBuf),
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0}: too many levels of symbolic links")]
    TooManyLinks(PathBuf),
}

/// Links and interpreters in a row before we call it a loop.
const MAX_STEPS: usize = 40;

/// Looks `name` up as execvp(3) does and follows links and interpreters outside of the image.
/// `workspace` is visible anyway.
pub fn resolve(
    name: &OsStr,
    search: &OsStr,
    image: &HostImage,
    workspace: &Path,
) -> Result<Program, ProgramError> {
    let path = find(name, search)?;
    let mut program = Program {
        path: path.clone(),
        ..Program::default()
    };
    let shown = |path: &Path| image.shows(path) || path.starts_with(workspace);
    let mut todo = vec![path];
    for _ in 0..MAX_STEPS {
        let Some(path) = todo.pop() else {
            program.visible.sort();
            program.visible.dedup();
            return Ok(program);
        };
        let target = follow(&path, &mut program.links, &shown)?;
        if !shown(&target) {
            program.visible.push(installation(&target));
        }
        if let Some(interpreter) = interpreter(&target)? {
            let missing = |interpreter: OsString| ProgramError::NoInterpreter {
                script: target.clone(),
                interpreter,
            };
            todo.push(match interpreter {
                Interpreter::Path(path) if path.exists() => path,
                Interpreter::Path(path) => return Err(missing(path.into())),
                Interpreter::Searched(name) => find(&name, search).map_err(|_| missing(name))?,
            });
        }
    }
    Err(ProgramError::TooManyLinks(program.path))
}

fn find(name: &OsStr, search: &OsStr) -> Result<PathBuf, ProgramError> {
    if name.as_bytes().contains(&b'/') {
        let path = std::path::absolute(name)
            .map_err(|error| ProgramError::Io(PathBuf::from(name), error))?;
        return match executable(&path) {
            true => Ok(path),
            false if path.exists() => Err(ProgramError::NotExecutable(path)),
            false => Err(ProgramError::NoSuchFile(path)),
        };
    }
    std::env::split_paths(search)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|path| executable(path))
        .ok_or_else(|| ProgramError::NotFound(name.to_owned()))
}

fn executable(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Follows `path` through symlinks in its last component and in its directories; those outside of
/// what is shown are noted.
fn follow(
    path: &Path,
    links: &mut Vec<(PathBuf, PathBuf)>,
    shown: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, ProgramError> {
    let mut path = path.to_owned();
    for _ in 0..MAX_STEPS {
        let Some(link) = first_link(&path) else {
            return Ok(path);
        };
        let to = fs::read_link(&link).map_err(|error| ProgramError::Io(link.clone(), error))?;
        if !shown(&link) && !links.iter().any(|(known, _)| *known == link) {
            links.push((link.clone(), to.clone()));
        }
        let rest = path.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
        let parent = link.parent().unwrap_or(Path::new("/"));
        path = normalise(&parent.join(to).join(rest));
    }
    Err(ProgramError::TooManyLinks(path))
}

fn first_link(path: &Path) -> Option<PathBuf> {
    let mut so_far = PathBuf::new();
    for component in path.components() {
        so_far.push(component);
        if fs::symlink_metadata(&so_far).is_ok_and(|metadata| metadata.is_symlink()) {
            return Some(so_far);
        }
    }
    None
}

/// Takes out `.` and `..`; exact here, because every directory before a `..` is known to be no link.
fn normalise(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// How much of the neighbourhood a program needs: the whole outermost `node_modules` for a Node
/// package, its own virtual environment for a Python script, its prefix for an interpreter that
/// brings a library directory along, else the file itself.
fn installation(target: &Path) -> PathBuf {
    let mut outermost = None;
    let mut so_far = PathBuf::new();
    for component in target.components() {
        so_far.push(component);
        if component.as_os_str() == "node_modules" && outermost.is_none() {
            outermost = Some(so_far.clone());
        }
    }
    if let Some(directory) = outermost {
        return directory;
    }
    let Some(bin) = target.parent() else {
        return target.to_owned();
    };
    if let Some(prefix) = bin.parent().filter(|_| bin.ends_with("bin")) {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let has_own_library = prefix.join("pyvenv.cfg").is_file()
            || (name == "node" && prefix.join("lib/node_modules").is_dir())
            || (name.starts_with("python") && prefix.join("lib").is_dir());
        if has_own_library {
            return prefix.to_owned();
        }
    }
    target.to_owned()
}

enum Interpreter {
    Path(PathBuf),
    Searched(OsString),
}

/// The interpreter of a script's first line; `env` is looked through.
fn interpreter(path: &Path) -> Result<Option<Interpreter>, ProgramError> {
    let mut first = [0u8; 256];
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Executable but not readable: no script.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(ProgramError::Io(path.to_owned(), error)),
    };
    let length = file
        .read(&mut first)
        .map_err(|error| ProgramError::Io(path.to_owned(), error))?;
    let Some(line) = first[..length].strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes);
    let Some(program) = words.next() else {
        return Ok(None);
    };
    if Path::new(program).file_name() != Some(OsStr::new("env")) {
        return Ok(Some(Interpreter::Path(PathBuf::from(program))));
    }
    let searched =
        words.find(|word| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'='));
    Ok(searched.map(|name| Interpreter::Searched(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn an_npm_agent_in_the_home_directory() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let package = home.join(".npm-global/lib/node_modules/@vendor/agent/cli.js");
        script(&package, "#!/usr/bin/env node\n");
        script(&home.join(".nvm/versions/node/v20/bin/node"), "\x7fELF");
        fs::create_dir_all(home.join(".nvm/versions/node/v20/lib/node_modules")).unwrap();
        fs::create_dir_all(home.join(".npm-global/bin")).unwrap();
        symlink(
            "../lib/node_modules/@vendor/agent/cli.js",
            home.join(".npm-global/bin/agent"),
        )
        .unwrap();
        let search = std::env::join_paths([
            home.join(".npm-global/bin"),
            home.join(".nvm/versions/node/v20/bin"),
        ])
        .unwrap();

        let image = HostImage::discover().unwrap();
        let nowhere = Path::new("/nonexistent");
        let program = resolve(OsStr::new("agent"), &search, &image, nowhere).unwrap();
        assert_eq!(program.path, home.join(".npm-global/bin/agent"));
        assert_eq!(
            program.visible,
            [
                home.join(".npm-global/lib/node_modules"),
                home.join(".nvm/versions/node/v20"),
            ]
        );
        assert_eq!(program.links.len(), 1);
    }

    #[test]
    fn system_programs_need_nothing() {
        let image = HostImage::discover().unwrap();
        let nowhere = Path::new("/nonexistent");
        let search = OsStr::new("/usr/bin:/bin");
        let program = resolve(OsStr::new("sh"), search, &image, nowhere).unwrap();
        assert!(program.visible.is_empty() && program.links.is_empty());
        assert!(matches!(
            resolve(OsStr::new("no-such-program"), search, &image, nowhere),
            Err(ProgramError::NotFound(_))
        ));
    }

    #[test]
    fn link_loops_end() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        symlink(base.join("b"), base.join("a")).unwrap();
        symlink(base.join("a"), base.join("b")).unwrap();
        let mut links = Vec::new();
        assert!(matches!(
            follow(&base.join("a"), &mut links, &|_| false),
            Err(ProgramError::TooManyLinks(_))
        ));
    }
}
