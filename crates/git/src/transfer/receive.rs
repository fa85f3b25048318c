//! From the session's objects to a checked pack in the quarantine.

use std::io;

use gix::ObjectId;

use super::TransferError;
use super::desk::Desk;
use crate::confined::{
    Completeness, ConfinedError, Git, Input, Output, SessionRepository, Version, View, attend,
    lines,
};

/// More than git's own defaults. Git itself does not follow such a link; other programs might.
const STRICTER: &str = "gitattributesSymlink=error";

const FSCK_OBJECTS_WITH_RULES: Version = Version(2, 45);

/// Returns the view in which all is there.
pub(super) fn receive(
    git: &Git,
    user: &View,
    session: &SessionRepository,
    desk: &Desk,
    tips: &[ObjectId],
    known: &[ObjectId],
) -> Result<View, TransferError> {
    let theirs = user.clone().with_session(session)?;
    let ours = user.clone().writing_to(&desk.quarantine);
    let (reader, writer) = io::pipe().map_err(|source| ConfinedError::Stream {
        command: "pack-objects".to_owned(),
        source,
    })?;
    let revisions = [lines(tips, ""), lines(known, "^")].concat();
    let mut revisions = revisions.as_slice();
    let mut hash = Vec::new();
    let sending = git.on(&theirs);
    let mut sender = sending.start(
        pack_objects(user),
        Input::From(&mut revisions),
        Output::Pipe(writer.into()),
    )?;
    let mut receiver = git.on(&ours).start(
        index_pack(git, user),
        Input::Pipe(reader.into()),
        Output::To(&mut hash),
    )?;
    attend(&mut [&mut sender, &mut receiver], sending.time())?;
    match (sender.finish(), receiver.finish()) {
        (Ok(()), Ok(())) => {}
        // A sender whose receiver has ended fails as well, and the other way round.
        (Ok(()), Err(error)) => return Err(refused(error)),
        (Err(sent), Err(received)) if lost_its_reader(&sent) => return Err(refused(received)),
        (Err(error), _) => return Err(incomplete(error)),
    }
    match git.on(&ours).are_complete(tips, known)? {
        Completeness::Complete => Ok(ours),
        Completeness::Missing(said) => Err(TransferError::Incomplete { said }),
    }
}

fn pack_objects(user: &View) -> Vec<&'static str> {
    let mut arguments = vec![
        "pack-objects",
        "--revs",
        "--stdout",
        "--thin",
        "--delta-base-offset",
        "--quiet",
    ];
    if user.is_partial() {
        arguments.push("--missing=allow-promisor");
    }
    arguments
}

fn index_pack(git: &Git, user: &View) -> Vec<String> {
    let mut arguments = ["index-pack", "--stdin", "--fix-thin"]
        .map(str::to_owned)
        .to_vec();
    // In a partial clone, objects may be missing that others name. The objects themselves are held to the same
    // rules; but older versions take none of their own.
    arguments.push(match user.is_partial() {
        false => format!("--strict={STRICTER}"),
        true if git.version() >= FSCK_OBJECTS_WITH_RULES => format!("--fsck-objects={STRICTER}"),
        true => "--fsck-objects".to_owned(),
    });
    arguments
}

fn lost_its_reader(error: &ConfinedError) -> bool {
    match error {
        ConfinedError::Failed { said, .. } => {
            said.trim().is_empty() || said.contains("Broken pipe") || said.contains("write error")
        }
        _ => false,
    }
}

fn refused(error: ConfinedError) -> TransferError {
    match error {
        ConfinedError::Failed { said, .. } => TransferError::Refused { said },
        error => error.into(),
    }
}

fn incomplete(error: ConfinedError) -> TransferError {
    match error {
        ConfinedError::Failed { said, .. } => TransferError::Incomplete { said },
        error => error.into(),
    }
}
