//! The jail of one command.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix::hash::Kind;
use wardian_linux::jail::{Access, Content, Entry, Jail, Limits, Program, Source};

use super::session;
use super::{Git, View, program};

const REPOSITORY: &str = "/repository";
const SESSION: &str = "/session";
const WRITTEN: &str = "/written";

/// Git's own settings against surprises. There is nothing that could set them otherwise; they say what is meant.
const CONFIG: &str = "\
[core]
	repositoryFormatVersion = 1
	bare = true
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	# Written by the agent in the session's case, and believed without being checked.
	commitGraph = false
	multiPackIndex = false
	packedGitWindowSize = 32m
	packedGitLimit = 1g
	protectNTFS = true
	protectHFS = true
[safe]
	bareRepository = explicit
[protocol]
	allow = never
[pack]
	useBitmaps = false
	readReverseIndex = false
	allowPackReuse = false
	windowMemory = 256m
[gc]
	auto = 0
[maintenance]
	auto = false
[log]
	mailmap = false
	showSignature = false
";

const ENVIRONMENT: [&str; 17] = [
    "GIT_DIR=/repository",
    "GIT_CONFIG_NOSYSTEM=1",
    "GIT_CONFIG_SYSTEM=/dev/null",
    "GIT_CONFIG_GLOBAL=/dev/null",
    "GIT_ATTR_NOSYSTEM=1",
    "GIT_OPTIONAL_LOCKS=0",
    "GIT_TERMINAL_PROMPT=0",
    "GIT_NO_LAZY_FETCH=1",
    "GIT_NO_REPLACE_OBJECTS=1",
    "GIT_GRAFT_FILE=/dev/null",
    "GIT_ALLOW_PROTOCOL=",
    "GIT_PAGER=cat",
    "GIT_EDITOR=false",
    "TMPDIR=/repository",
    "PATH=/nowhere",
    "LC_ALL=C",
    "TZ=UTC",
];

pub(super) fn jail(git: &Git, view: &View, limits: Limits) -> Jail {
    let mut entries = system();
    if let Some(installation) = &git.installation {
        entries.push(bind(installation.clone(), installation, Access::Execute));
    }
    for device in ["/dev/null", "/dev/urandom"] {
        entries.push(bind(device, device, Access::Device));
    }
    for (target, objects) in user_objects(view) {
        entries.push(bind(&target, objects, Access::Read));
        entries.push(entry(target.join("info"), Content::Cover));
    }
    if let Some(workspace) = &view.session {
        let source = Source::Beneath {
            root: workspace.clone(),
            path: Path::new(session::GIT_DIR).join("objects"),
        };
        let access = Access::Read;
        entries.push(entry(SESSION, Content::Bind { source, access }));
        entries.push(entry(Path::new(SESSION).join("info"), Content::Cover));
    }
    if let Some(written) = &view.written {
        entries.push(bind(WRITTEN, written, Access::Write));
    }
    entries.extend(repository(view));
    Jail { entries, limits }
}

pub(super) fn program(git: &Git, view: &View, arguments: &[CString]) -> Program {
    let mut environment: Vec<CString> = ENVIRONMENT
        .iter()
        .filter_map(|pair| CString::new(*pair).ok())
        .collect();
    let mut alternates: Vec<String> = user_objects(view)
        .map(|(target, _)| target.to_string_lossy().into_owned())
        .collect();
    if view.session.is_some() {
        alternates.push(SESSION.to_owned());
    }
    let objects = match view.written {
        Some(_) => WRITTEN.to_owned(),
        None => format!("{REPOSITORY}/objects"),
    };
    let variables = [
        format!("GIT_OBJECT_DIRECTORY={objects}"),
        format!("GIT_ALTERNATE_OBJECT_DIRECTORIES={}", alternates.join(":")),
    ];
    environment.extend(
        variables
            .into_iter()
            .filter_map(|pair| CString::new(pair).ok()),
    );
    Program {
        path: git.program.clone(),
        arguments: [c"git".to_owned()]
            .iter()
            .chain(arguments)
            .cloned()
            .collect(),
        environment,
        directory: REPOSITORY.into(),
    }
}

fn system() -> Vec<Entry> {
    let mut entries = Vec::new();
    for place in program::SYSTEM {
        let path = Path::new(place);
        match std::fs::read_link(path) {
            Ok(to) => entries.push(entry(path, Content::Symlink(to))),
            Err(_) if path.is_dir() => entries.push(bind(path, path, Access::Execute)),
            Err(_) => {}
        }
    }
    // Where libraries are that are not in the places that the loader was built with.
    let cache = Path::new("/etc/ld.so.cache");
    if cache.is_file() {
        entries.push(bind(cache, cache, Access::Read));
    }
    entries
}

fn user_objects(view: &View) -> impl Iterator<Item = (PathBuf, &PathBuf)> {
    view.objects
        .iter()
        .enumerate()
        .map(|(index, objects)| (PathBuf::from(format!("/objects/{index}")), objects))
}

fn repository(view: &View) -> Vec<Entry> {
    let at = |name: &str| Path::new(REPOSITORY).join(name);
    let format = match view.format {
        Kind::Sha256 => "sha256",
        _ => "sha1",
    };
    let mut config = format!("{CONFIG}[extensions]\n\tobjectFormat = {format}\n");
    if view.partial {
        // A name without an address: missing objects are forgiven, and nothing can be fetched.
        config.push_str("\tpartialClone = promised\n");
    }
    let memory = Content::Memory { bytes: 64 << 20 };
    let file = |text: &[u8]| Content::File(text.to_owned());
    let mut entries = vec![
        entry(REPOSITORY, memory),
        entry(at("HEAD"), file(b"ref: refs/heads/none\n")),
        entry(at("config"), file(config.as_bytes())),
        entry(at("refs"), Content::Directory),
        entry(at("objects"), Content::Directory),
    ];
    if !view.shallow.is_empty() {
        entries.push(entry(at("shallow"), file(&view.shallow)));
    }
    entries
}

fn bind(target: impl Into<PathBuf>, source: impl AsRef<Path>, access: Access) -> Entry {
    let source = Source::Path(source.as_ref().to_owned());
    entry(target, Content::Bind { source, access })
}

fn entry(target: impl Into<PathBuf>, content: Content) -> Entry {
    let target = target.into();
    Entry { target, content }
}

/// Arguments of our own making never hold a NUL; one that does is cut off, and git refuses what it is.
pub(super) fn c_string(text: &OsStr) -> CString {
    let bytes = text.as_bytes();
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
