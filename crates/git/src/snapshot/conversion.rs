//! What git does to a blob on its way to disk, as far as no program is needed for it.
//! See gitattributes(5) and `convert.c` of git, which this follows.

mod encoding;
mod ident;
mod wanted;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gix::ObjectId;
use gix::attrs::Search;
use gix::attrs::search::{MetadataCollection, Outcome};
use gix::bstr::{BStr, ByteSlice};
use gix::filter::plumbing::eol;
use gix::glob::pattern::Case;
use gix::index::entry::Mode;
use gix::worktree::Stack;
use gix::worktree::stack::State;
use gix::worktree::stack::state::Attributes;
use gix::worktree::stack::state::attributes::Source;

use super::layout::Layout;
use super::objects::{Failure, Objects, damaged};
use wanted::{Filter, Wanted};

/// The user's settings on line endings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conversion {
    /// `core.autocrlf`.
    pub auto_crlf: AutoCrlf,
    /// `core.eol`.
    pub eol: Eol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoCrlf {
    #[default]
    Off,
    On,
    Input,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eol {
    /// `lf` on Linux.
    #[default]
    Native,
    Lf,
    Crlf,
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The blob.
    AsIs,
    /// The blob, with other line endings, in another encoding or with keywords replaced.
    Converted,
    /// As `Converted`; the user's own file has been through a program as well, so that its size says nothing.
    Foreign,
    /// What a pointer of Git LFS stands for.
    Large,
}

pub(super) struct Converter {
    /// `None` if no file of the tree is anything but its blob.
    attributes: Option<Mutex<Lookup>>,
    settings: eol::Configuration,
    /// By position, what was found out so far.
    treatments: Box<[AtomicU8]>,
}

impl Converter {
    /// Reads the tree's `.gitattributes`, to see whether there is anything to do.
    pub(super) fn new(layout: &Layout, objects: &Objects, conversion: Conversion) -> Self {
        let settings = conversion.settings();
        let mentioned = || {
            (0..layout.len())
                .filter(|position| is_attributes(layout.path(*position)))
                .any(|position| mentions(objects, &layout.entry(position).id))
        };
        let needed = settings.to_eol() == eol::Mode::CrLf || mentioned();
        let attributes = needed.then(|| Mutex::new(Lookup::new(layout)));
        let count = if needed { layout.len() } else { 0 };
        Self {
            attributes,
            settings,
            treatments: (0..count).map(|_| AtomicU8::new(UNKNOWN)).collect(),
        }
    }

    pub(super) fn treatment(
        &self,
        objects: &Objects,
        layout: &Layout,
        position: usize,
    ) -> Treatment {
        let Some(known) = self.treatments.get(position) else {
            return Treatment::AsIs;
        };
        if let Some(treatment) = decode(known.load(Ordering::Relaxed)) {
            return treatment;
        }
        let treatment = match layout.entry(position).mode {
            Mode::SYMLINK => Treatment::AsIs,
            _ => match self.wanted(objects, layout.path(position)) {
                Ok(wanted) => self.judge(&wanted),
                Err(_) => Treatment::AsIs,
            },
        };
        known.store(encode(treatment), Ordering::Relaxed);
        treatment
    }

    /// A blob as it is on disk.
    pub(super) fn convert(
        &self,
        objects: &Objects,
        path: &BStr,
        id: &ObjectId,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>, Failure> {
        let wanted = self.wanted(objects, path)?;
        if wanted.ident {
            bytes = ident::expand(&bytes, id);
        }
        let mut converted = Vec::new();
        if eol::convert_to_worktree(&bytes, wanted.digest, &mut converted, self.settings)
            .map_err(damaged)?
        {
            bytes = converted;
        }
        let encoded = wanted
            .encoding
            .and_then(|name| encoding::encode(&bytes, name.as_bstr()));
        Ok(encoded.unwrap_or(bytes))
    }

    fn wanted(&self, objects: &Objects, path: &BStr) -> Result<Wanted, Failure> {
        match &self.attributes {
            Some(attributes) => lock(attributes).at(objects, path, self.settings),
            None => Ok(Wanted::default()),
        }
    }

    fn judge(&self, wanted: &Wanted) -> Treatment {
        let changes = wanted.ident
            || wanted.encoding.is_some()
            || wanted.digest.to_eol(self.settings) == Some(eol::Mode::CrLf);
        match wanted.filter {
            Filter::Lfs => Treatment::Large,
            Filter::Other => Treatment::Foreign,
            Filter::None if changes => Treatment::Converted,
            Filter::None => Treatment::AsIs,
        }
    }
}

impl Conversion {
    /// From the values of `core.autocrlf` and `core.eol`, as git-config(1) has them.
    pub fn from_config(auto_crlf: Option<&str>, eol: Option<&str>) -> Self {
        let lower = |value: Option<&str>| value.unwrap_or_default().to_ascii_lowercase();
        Self {
            auto_crlf: match lower(auto_crlf).as_str() {
                "input" => AutoCrlf::Input,
                "true" | "yes" | "on" | "1" => AutoCrlf::On,
                _ => AutoCrlf::Off,
            },
            eol: match lower(eol).as_str() {
                "lf" => Eol::Lf,
                "crlf" => Eol::Crlf,
                _ => Eol::Native,
            },
        }
    }

    fn settings(self) -> eol::Configuration {
        eol::Configuration {
            auto_crlf: match self.auto_crlf {
                AutoCrlf::Off => eol::AutoCrlf::Disabled,
                AutoCrlf::On => eol::AutoCrlf::Enabled,
                AutoCrlf::Input => eol::AutoCrlf::Input,
            },
            eol: match self.eol {
                Eol::Native => None,
                Eol::Lf => Some(eol::Mode::Lf),
                Eol::Crlf => Some(eol::Mode::CrLf),
            },
        }
    }
}

/// Attributes of the tree's files, fastest for one directory after the other.
struct Lookup {
    stack: Stack,
    outcome: Outcome,
}

impl Lookup {
    fn new(layout: &Layout) -> Self {
        let mut collection = MetadataCollection::default();
        // Those that git has built in. No file is read for them.
        let globals = Search::new_globals(None::<&str>, &mut Vec::new(), &mut collection);
        let globals = globals.unwrap_or_default();
        let attributes = Attributes::new(globals, None, Source::IdMapping, collection);
        let state = State::AttributesStack(attributes);
        let index = layout.index();
        let files = state.id_mappings_from_index(index, index.path_backing(), Case::Sensitive);
        // The directory is not looked at either: attributes are read from objects.
        let stack = Stack::new("", state, Case::Sensitive, Vec::new(), files);
        let outcome = stack.selected_attribute_matches(wanted::ATTRIBUTES);
        Self { stack, outcome }
    }

    fn at(
        &mut self,
        objects: &Objects,
        path: &BStr,
        settings: eol::Configuration,
    ) -> Result<Wanted, Failure> {
        let Self { stack, outcome } = self;
        objects.with(|handles| {
            let at = stack.at_entry(path, Some(Mode::FILE), handles);
            at.map_err(damaged)?.matching_attributes(outcome);
            let states: Vec<_> = outcome
                .iter_selected()
                .map(|found| found.assignment.state.to_owned())
                .collect();
            Ok(Wanted::new(&states, settings))
        })
    }
}

fn is_attributes(path: &BStr) -> bool {
    let name = path
        .rsplit_once_str("/")
        .map_or(path.as_bytes(), |(_, name)| name);
    name == b".gitattributes"
}

/// Whether a file of attributes says anything that leads to a conversion by itself.
fn mentions(objects: &Objects, id: &ObjectId) -> bool {
    let decisive = ["filter", "eol", "ident", "working-tree-encoding"];
    let text = objects.bytes(id);
    text.is_ok_and(|text| decisive.iter().any(|name| text.contains_str(name)))
}

const UNKNOWN: u8 = u8::MAX;

fn encode(treatment: Treatment) -> u8 {
    match treatment {
        Treatment::AsIs => 0,
        Treatment::Converted => 1,
        Treatment::Foreign => 2,
        Treatment::Large => 3,
    }
}

fn decode(code: u8) -> Option<Treatment> {
    match code {
        0 => Some(Treatment::AsIs),
        1 => Some(Treatment::Converted),
        2 => Some(Treatment::Foreign),
        3 => Some(Treatment::Large),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each lookup leads from wherever the last one ended.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
