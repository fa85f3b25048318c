//! Facts of the user's repository, read without git and without executing anything.
//!
//! ```text
//! directory ──locate──▶ work tree, git directory, common directory ──▶ config, HEAD, refs, objects, index
//!              │
//!              └ owned by the user; what a `.git` file names must name it back
//! ```
//!
//! `GIT_DIR` and its like do not count, `core.worktree` only if it says what is so anyway, and of the
//! configuration nothing that would be run.

pub mod config;
mod error;
pub(crate) mod files;
pub(crate) mod index;
mod locate;
pub(crate) mod objects;
mod ownership;
mod places;
pub(crate) mod refs;
mod submodules;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use crate::base::Head;
use config::{Config, Context, Scope};
use index::UserIndex;
use locate::Location;

pub use error::RepositoryError;
pub use places::Places;
pub use refs::Refs;
pub use submodules::{Submodule, Submodules};

/// Extensions of the repository format that sessions come to terms with, see gitrepository-layout(5).
const EXTENSIONS: [&str; 7] = [
    "noop",
    "noop-v1",
    "objectformat",
    "partialclone",
    "preciousobjects",
    "relativeworktrees",
    "worktreeconfig",
];

/// The repository of a work tree.
#[derive(Debug)]
pub struct Repository {
    worktree: PathBuf,
    git_dir: PathBuf,
    common_dir: PathBuf,
    objects: Vec<PathBuf>,
    format: gix::hash::Kind,
    head: Head,
    commit: Option<ObjectId>,
    tree: Option<ObjectId>,
    config: Config,
    places: Places,
    refs: OnceLock<Refs>,
    index: OnceLock<Option<UserIndex>>,
}

/// Which files of the tree are in the work tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sparse {
    /// All.
    Off,
    /// Those that patterns name.
    Patterns,
    /// Whole directories, see "INTERNALS - CONE MODE" in git-sparse-checkout(1).
    Cone,
}

impl Repository {
    /// The repository around `directory`, or `None` if there is none.
    pub fn discover(directory: &Path) -> Result<Option<Self>, RepositoryError> {
        Self::discover_with(directory, Places::of_process())
    }

    /// With the user's own configuration elsewhere.
    pub fn discover_with(
        directory: &Path,
        places: Places,
    ) -> Result<Option<Self>, RepositoryError> {
        match locate::locate(directory, &places)? {
            Some(location) => Self::open(location, places).map(Some),
            None => Ok(None),
        }
    }

    fn open(location: Location, places: Places) -> Result<Self, RepositoryError> {
        let Location {
            worktree,
            git_dir,
            common_dir,
        } = location;
        let config = Config::of_file(&common_dir.join("config"))?;
        let format = format_of(&config, &git_dir)?;
        if git_dir == common_dir && config.boolean("core.bare") == Some(true) {
            return Err(RepositoryError::Bare(git_dir));
        }
        let head = refs::head(&git_dir, &common_dir, format)?;
        let branch = head.name.as_ref();
        let branch = branch.and_then(|name| name.strip_prefix(b"refs/heads/"));
        let mut files = vec![common_dir.join("config")];
        if config.boolean("extensions.worktreeconfig") == Some(true) {
            files.push(git_dir.join("config.worktree"));
        }
        let context = Context {
            git_dir: Some(git_dir.clone()),
            branch: branch.map(BString::from),
        };
        let config = Config::read(&places, &files, &context)?;
        let mut repository = Self {
            objects: objects::directories(&common_dir)?,
            head: match branch.map(|name| name.to_str_lossy().into_owned()) {
                Some(name) => Head::Branch(name),
                None => Head::Detached,
            },
            commit: head.id,
            tree: None,
            worktree,
            git_dir,
            common_dir,
            format,
            config,
            places,
            refs: OnceLock::new(),
            index: OnceLock::new(),
        };
        if let Some(commit) = repository.commit {
            let objects = repository.open_objects()?;
            let tree = objects::tree_of(&objects, &repository.objects[0], commit)?;
            repository.tree = Some(tree);
        }
        Ok(repository)
    }

    /// Top of the work tree; absolute, like all paths here, and without symlinks.
    pub fn worktree(&self) -> &Path {
        &self.worktree
    }

    /// `.git`, or what stands for it in a linked work tree or a submodule.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// Where refs and objects are, shared by all linked work trees.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The repository's own object directory, then those of all alternates.
    pub fn objects(&self) -> &[PathBuf] {
        &self.objects
    }

    /// Where git-lfs keeps content, if it does.
    pub fn lfs(&self) -> Option<PathBuf> {
        let directory = self.common_dir.join("lfs/objects");
        let is_own = files::canonical(&directory).ok().flatten() == Some(directory.clone());
        is_own.then_some(directory)
    }

    pub fn object_format(&self) -> gix::hash::Kind {
        self.format
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What `HEAD` leads to; `None` on an unborn branch.
    pub fn commit(&self) -> Option<ObjectId> {
        self.commit
    }

    /// Tree of [`commit`](Self::commit).
    pub fn tree(&self) -> Option<ObjectId> {
        self.tree
    }

    /// Whether the commit has a directory at `path`, which is relative to the top.
    pub fn has_directory(&self, path: &Path) -> Result<bool, RepositoryError> {
        let objects = self.open_objects()?;
        let found = |tree| objects::has_directory(&objects, tree, path);
        Ok(self.tree.is_some_and(found))
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// All refs that a session gets to see. Read once.
    pub fn refs(&self) -> Result<&Refs, RepositoryError> {
        if let Some(refs) = self.refs.get() {
            return Ok(refs);
        }
        let refs = refs::all(&self.common_dir, self.format)?;
        Ok(self.refs.get_or_init(|| refs))
    }

    /// The commits at which a shallow history ends: text of a `shallow` file, one id a line.
    pub fn shallow(&self) -> Result<Option<String>, RepositoryError> {
        let path = self.common_dir.join("shallow");
        let Some(text) = files::read(&path, files::LARGE)? else {
            return Ok(None);
        };
        let valid = text
            .lines()
            .all(|line| ObjectId::from_hex(line).is_ok_and(|id| id.kind() == self.format));
        match String::from_utf8(text) {
            Ok(text) if valid => Ok(Some(text)),
            _ => Err(RepositoryError::malformed(path, "a line that is no commit")),
        }
    }

    pub fn sparse(&self) -> Sparse {
        let is_on = |key| self.config.boolean(key) == Some(true);
        match is_on("core.sparsecheckout") {
            false => Sparse::Off,
            true if is_on("core.sparsecheckoutcone") => Sparse::Cone,
            true => Sparse::Patterns,
        }
    }

    /// Remotes that have the objects which a partial clone lacks.
    pub fn promisors(&self) -> Vec<String> {
        let named = self.config.text("extensions.partialclone");
        let flagged = self
            .config
            .of_scopes(&[Scope::Repository])
            .filter(|setting| {
                setting.section == "remote"
                    && setting.key == "promisor"
                    && setting.boolean() == Some(true)
            });
        let flagged = flagged.filter_map(|setting| setting.subsection.as_ref());
        let mut promisors: Vec<_> = named
            .into_iter()
            .chain(flagged.map(|name| name.as_bstr()))
            .map(|name| name.to_str_lossy().into_owned())
            .collect();
        promisors.sort();
        promisors.dedup();
        promisors
    }

    /// Submodules that are checked out, and theirs.
    pub fn submodules(&self) -> Result<Submodules, RepositoryError> {
        submodules::find(self)
    }

    /// The user's index, or `None` if there is none. Opened once.
    pub(crate) fn index(&self) -> Result<Option<&UserIndex>, RepositoryError> {
        if let Some(index) = self.index.get() {
            return Ok(index.as_ref());
        }
        let index = UserIndex::open(self.git_dir.join("index"), self.format)?;
        Ok(self.index.get_or_init(|| index).as_ref())
    }

    pub(crate) fn open_objects(&self) -> Result<gix::odb::Handle, RepositoryError> {
        let replacements = self.refs()?.replacements.clone();
        objects::open(&self.objects[0], self.format, replacements)
    }
}

/// Refuses what this program knows nothing of, as git does.
fn format_of(config: &Config, git_dir: &Path) -> Result<gix::hash::Kind, RepositoryError> {
    let refused = |extension: String| RepositoryError::Extension {
        git_dir: git_dir.to_owned(),
        extension,
    };
    let version = config.text("core.repositoryformatversion");
    let version = version.map(|version| version.to_string());
    match version.as_deref() {
        None | Some("0" | "1") => {}
        Some(version) => return Err(refused(format!("repositoryformatversion {version}"))),
    }
    let mut format = gix::hash::Kind::Sha1;
    for setting in config.settings() {
        if setting.section != "extensions" || setting.subsection.is_some() {
            continue;
        }
        let value = setting.value.as_ref().map(|value| value.to_string());
        match (setting.key.as_str(), value.as_deref()) {
            ("objectformat", Some("sha1")) => format = gix::hash::Kind::Sha1,
            ("objectformat", Some("sha256")) => format = gix::hash::Kind::Sha256,
            ("objectformat", other) => {
                return Err(refused(format!(
                    "objectformat {}",
                    other.unwrap_or_default()
                )));
            }
            ("refstorage", Some("files")) => {}
            ("refstorage", Some("reftable")) => {
                return Err(RepositoryError::Reftable {
                    git_dir: git_dir.to_owned(),
                });
            }
            (known, _) if EXTENSIONS.contains(&known) => {}
            // Without version 1, git passes over what it does not know.
            (_, _) if version.as_deref() != Some("1") => {}
            (other, _) => return Err(refused(other.to_owned())),
        }
    }
    Ok(format)
}
