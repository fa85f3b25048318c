//! What a sandbox works on, from the wire types.

use super::decode::Spanned;
use super::wire::{Text, WorkspaceTable, Workspaces};
use super::{ManifestError, Source};
use crate::settings::{Access, Changes, WorkspaceSpec};

pub(super) fn workspaces(
    source: &Source<'_>,
    Workspaces(tables): Workspaces,
) -> Result<Vec<WorkspaceSpec>, ManifestError> {
    tables
        .into_iter()
        .map(|table| workspace(source, table))
        .collect()
}

fn workspace(
    source: &Source<'_>,
    table: Spanned<WorkspaceTable>,
) -> Result<WorkspaceSpec, ManifestError> {
    let WorkspaceTable {
        clone,
        bind,
        overlay,
        volume,
        at,
        read_only,
        with_changes,
        include,
    } = table.value;
    let place = source.place(table.span.start);
    let access = match &read_only {
        Some(read_only) if read_only.value => Access::ReadOnly,
        _ => Access::ReadWrite,
    };
    let idle = |key: &str, given: Option<usize>, kinds: &str| match given {
        Some(start) => Err(source
            .place(start)
            .error(format_args!("`{key}` is for {kinds}"))),
        None => Ok(()),
    };
    let at_start = at.as_ref().map(|text| text.span.start);
    let read_only = read_only.as_ref().map(|value| value.span.start);
    let of_clone = [
        (
            "with_changes",
            with_changes.as_ref().map(|value| value.span.start),
        ),
        ("include", include.first().map(|text| text.span.start)),
    ];
    if clone.is_none() {
        for (key, given) in of_clone {
            idle(key, given, "a clone")?;
        }
    }
    if volume.is_none() {
        idle("at", at_start, "a volume")?;
    }
    if bind.is_none() && volume.is_none() {
        idle("read_only", read_only, "a bind or a volume")?;
    }
    match (clone, bind, overlay, volume) {
        (Some(path), None, None, None) => Ok(WorkspaceSpec::Clone {
            path: plain(source, path)?,
            changes: match with_changes {
                Some(with_changes) if with_changes.value => Changes::Brought,
                _ => Changes::Left,
            },
            include: include
                .into_iter()
                .map(|path| plain(source, path))
                .collect::<Result<_, _>>()?,
        }),
        (None, Some(path), None, None) => Ok(WorkspaceSpec::Bind {
            path: plain(source, path)?,
            access,
        }),
        (None, None, Some(path), None) => Ok(WorkspaceSpec::Overlay {
            path: plain(source, path)?,
        }),
        (None, None, None, Some(name)) => Ok(WorkspaceSpec::Volume {
            name: plain(source, name)?,
            at: at.map(|path| plain(source, path)).transpose()?,
            access,
        }),
        _ => Err(place
            .error("exactly one of `clone`, `bind`, `overlay` and `volume` should stand here")
            .with_example(r#"workspace = { clone = "." }"#)),
    }
}

/// Something that can be a path or a name at all.
fn plain(source: &Source<'_>, text: Text) -> Result<String, ManifestError> {
    if text.value.is_empty() || text.value.chars().any(char::is_control) {
        return Err(source
            .place(text.span.start)
            .error("this is empty or has control characters"));
    }
    Ok(text.value)
}
