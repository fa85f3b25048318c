//! Who the user is to git inside: `~/.gitconfig`, without what names a program or a key.

use std::path::Path;

use wardian_git::identity::{Identity, Signing};
use wardian_git::repository::{Places, Repository};
use wardian_sandbox::parcel::{Label, Occupied};

use super::briefing::{Copied, Copies, LeftOut};
use crate::failure::Failure;

/// Sends it along, for a home that has none. Returns what a person should know of it.
pub(super) fn send<'a>(
    copies: &mut Copies,
    home: &Path,
    mut repositories: impl Iterator<Item = &'a Repository>,
) -> Result<Option<String>, Failure> {
    let path = home.join(".gitconfig");
    let identity = match Identity::of_user(&Places::of_process()) {
        Ok(identity) => identity,
        Err(error) => {
            let why = error.to_string();
            copies.left_out.push(LeftOut { path, why });
            return Ok(None);
        }
    };
    if !identity.gitconfig.is_empty() {
        let label = Label {
            path: path.clone(),
            mode: 0o644,
            occupied: Occupied::Leave,
        };
        copies.parcel.add(label, &identity.gitconfig)?;
        copies.copied.push(Copied { path, files: 1 });
    }
    let is_signed = identity.signing != Signing::NeverOn
        || repositories
            .any(|repository| Identity::in_repository(repository).signing != Signing::NeverOn);
    Ok(is_signed
        .then(|| "commits made inside are not signed: your signing key stays outside".to_owned()))
}
