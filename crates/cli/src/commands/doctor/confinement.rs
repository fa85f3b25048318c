//! What a program inside may do to the machine: nothing, not even as root.

use super::advice::Advice;
use super::check::{Check, Promise};
use super::inside::{Facts, Status, Superuser};
use super::stage::Stage;
use super::trial::Trial;
use wardian_linux::capabilities::SUPERUSER;
use wardian_sandbox::ids::MissingIds;
use wardian_supervisor::layers::ids_fix;

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let check = |name, against, good: &str| Check::unless(Promise::Sealed, name, against, good);
    let went_through = facts
        .privileges
        .iter()
        .map(|what| format!("{what} succeeded"));
    vec![
        check(
            "no capability",
            match facts.status.capabilities.iter().all(|set| mask(set) == 0) {
                true => Vec::new(),
                false => vec![facts.status.capabilities.join(" ")],
            },
            "all five sets are empty",
        ),
        check(
            "no new privileges, seccomp",
            confined(&facts.status),
            "set-user-ID programs gain nothing, dangerous system calls are refused",
        ),
        check(
            "no mounts, no namespaces",
            went_through.collect(),
            "mounting, unsharing, kernel settings and pid 1 are out of reach",
        ),
    ]
}

fn confined(status: &Status) -> Vec<String> {
    let mut against = Vec::new();
    if status.no_new_privileges != "1" {
        against.push("no_new_privs is off".to_owned());
    }
    if status.seccomp != "2" {
        against.push(format!("no seccomp filter (mode {})", status.seccomp));
    }
    against
}

/// A set that cannot be read counts as full.
fn mask(set: &str) -> u64 {
    u64::from_str_radix(set, 16).unwrap_or(u64::MAX)
}

/// `--root`: uid 0 inside that is nobody outside.
pub(super) fn superuser(stage: &Stage, advice: &Advice) -> anyhow::Result<Vec<Check>> {
    let trial = Trial::run(stage, &["--root".into()], "superuser")?;
    let facts: Superuser = match trial.facts() {
        Ok(facts) => facts,
        Err(why) => {
            let fix = Some(advice.id_map_helpers().to_owned());
            return Ok(vec![Check::limited(Promise::Host, OWNERS, why, fix)]);
        }
    };
    let mut against = confined(&facts.status);
    let more = |set: &String| mask(set) & !SUPERUSER.bits() != 0;
    if facts.status.capabilities.iter().any(more) {
        against.push(facts.status.capabilities.join(" "));
    }
    for (what, went_through) in [
        ("a mount", facts.mounted),
        ("making a disk device", facts.made_device),
    ] {
        if went_through {
            against.push(format!("{what} succeeded"));
        }
    }
    if facts.uid != 0 {
        against.push(format!("--root gave uid {}", facts.uid));
    }
    let owners = match facts.chown {
        Ok(()) => Check::holds(
            Promise::Host,
            OWNERS,
            "files can be given to other users inside",
        ),
        Err(why) => {
            let user = wardian_sandbox::user::current();
            let missing = user.and_then(|user| MissingIds::of(&user));
            let cause = missing.as_ref().map_or(why, ToString::to_string);
            Check::limited(
                Promise::Host,
                OWNERS,
                format!(
                    "installing packages may fail, for files cannot be given to other users inside: {cause}"
                ),
                missing.map(|missing| ids_fix(&missing, &format!("`{}`", advice.id_map_helpers()))),
            )
        }
    };
    Ok(vec![
        owners,
        Check::unless(
            Promise::Sealed,
            "root inside is nobody outside",
            against,
            "--root gives uid 0 and no power over the machine",
        ),
    ])
}

const OWNERS: &str = "users for `--root`";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::Finding;

    #[test]
    fn a_process_without_confinement_is_noticed() {
        let free = Status {
            capabilities: vec!["000001ffffffffff".to_owned()],
            no_new_privileges: "0".to_owned(),
            seccomp: "0".to_owned(),
        };
        assert_eq!(confined(&free).len(), 2);
        assert_eq!(mask("garbage"), u64::MAX);
        let check = Check::unless(Promise::Sealed, "x", confined(&free), "good");
        assert_eq!(check.outcome, Finding::Fails);
        let tight = Status {
            no_new_privileges: "1".to_owned(),
            seccomp: "2".to_owned(),
            ..free
        };
        assert!(confined(&tight).is_empty());
    }
}
