//! What became of files, for the record: told before anything is removed.
//!
//! A session's files were compared with their base already, see [`work`](crate::work). Of other layers, only what was
//! written is there to be looked at: its names, sizes and times, and what lies below it on the host. Contents are read of
//! what is listed alone.

mod layer;
mod listing;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use wardian_events::{ChangeKind, FileType, FilesChanged, FilesOf, visible_bytes};
use wardian_git::changes::{BaseEntry, File, FileKind};
use wardian_git::review::Files;
use wardian_sandbox::record::SandboxRecord;
use wardian_sandbox::spec::WorkspaceMode;
use wardian_sandbox::state::SandboxDirectory;

pub(crate) use self::layer::Start;
use self::layer::{Before, Layer};
use self::listing::{Listing, Noted};
use crate::work::Found;

/// One for each place where something changed. `home` is where the sandbox sees its home, and how that was at the
/// start, if the program was ever let go.
pub(crate) fn changed(
    directory: &SandboxDirectory,
    record: &SandboxRecord,
    found: &Found,
    home: Option<(&Path, &Start)>,
) -> Vec<FilesChanged> {
    let mut all = Vec::new();
    for (number, workspace) in record.workspaces.iter() {
        let upper = directory.workspace(number).upper();
        let place = visible_bytes(workspace.path.as_os_str().as_bytes());
        let listing = match workspace.mode {
            WorkspaceMode::Clone => found
                .sessions
                .iter()
                .find(|(session, _)| *session == number)
                .map(|(_, files)| of_session(&upper, files)),
            WorkspaceMode::Overlay => Some(of_layer(&upper, Before::Below(&workspace.path))),
            WorkspaceMode::Bind | WorkspaceMode::BindReadOnly => None,
        };
        let of = match workspace.mode {
            WorkspaceMode::Clone => FilesOf::Clone,
            _ => FilesOf::Overlay,
        };
        all.extend(listing.map(|listing| listing.finish(&place, of)));
    }
    if let Some((path, since)) = home {
        let own = directory.layers().join("home");
        let place = visible_bytes(path.as_os_str().as_bytes());
        all.push(of_layer(&own, Before::Since(since)).finish(&place, FilesOf::Home));
    }
    all.retain(|changed| !is_nothing(changed));
    all
}

fn is_nothing(changed: &FilesChanged) -> bool {
    let FilesChanged {
        added,
        changed,
        removed,
        left_out,
        ignored,
        unreadable,
        ref unknown,
        ..
    } = *changed;
    added + changed + removed + left_out + ignored + unreadable == 0 && unknown.is_none()
}

fn of_layer(root: &Path, before: Before<'_>) -> Listing {
    let mut listing = Listing::new(root);
    match Layer::open(root, before) {
        Ok(Some(mut layer)) => layer.walk(&mut listing),
        Ok(None) => {}
        Err(error) => listing.unknown(format!("{}: {error}", root.display())),
    }
    listing
}

fn of_session(upper: &Path, files: &Files) -> Listing {
    let mut listing = Listing::new(upper);
    listing.ignored = files.changes.ignored.len() as u64;
    for change in &files.changes.changed {
        let (kind, file) = match (&change.before, &change.after) {
            (_, None) => (ChangeKind::Removed, of_before(change.before)),
            (None, Some(file)) => (ChangeKind::Added, file_type(file.kind)),
            (Some(_), Some(file)) => (ChangeKind::Changed, file_type(file.kind)),
        };
        listing.add(Noted {
            path: change.path.to_vec(),
            change: kind,
            file,
            before: files.size_before(change),
            after: change.after.as_ref().map(|File { size, .. }| *size),
        });
    }
    for left in &files.changes.left_out {
        listing.add(Noted {
            path: left.path.to_vec(),
            change: ChangeKind::LeftOut,
            file: FileType::Other,
            before: None,
            after: None,
        });
    }
    listing
}

fn of_before(before: Option<BaseEntry>) -> FileType {
    before.map_or(FileType::Other, |before| file_type(before.kind))
}

fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Plain => FileType::File,
        FileKind::Executable => FileType::Program,
        FileKind::Symlink => FileType::Symlink,
    }
}
