use std::collections::BTreeSet;
use std::fs;

use super::*;

const MOUNT: &str = "/sys/fs/cgroup";
const MANAGER: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";

fn find(own: Option<&str>, ours: &[&str]) -> Option<Vec<PathBuf>> {
    let ours: BTreeSet<_> = ours.iter().map(Path::new).collect();
    let v2 = Hierarchy {
        mount: MOUNT.into(),
        own: own.map(Into::into),
    };
    Unified::find(&v2, |path| ours.contains(path)).map(|unified| unified.levels)
}

#[test]
fn root_goes_below_the_root() {
    let session = format!("{MOUNT}/user.slice/session-1.scope");
    let levels = find(Some(&session), &[MOUNT, &session]);
    assert_eq!(levels, Some(vec![MOUNT.into()]));
    assert_eq!(find(None, &[MOUNT]), Some(vec![MOUNT.into()]));
}

#[test]
fn a_user_goes_beside_their_own_cgroup() {
    let slice = format!("{MANAGER}/app.slice");
    let scope = format!("{slice}/run-1.scope");
    let levels = find(Some(&scope), &[MANAGER, &slice, &scope]);
    assert_eq!(levels, Some(vec![MANAGER.into(), slice.into()]));
}

#[test]
fn a_delegated_cgroup_is_divided() {
    let service = format!("{MOUNT}/system.slice/runner.service");
    let levels = find(Some(&service), &[&service]);
    assert_eq!(levels, Some(vec![service.clone().into()]));
    // And after that, from where we stepped aside to.
    let outside = format!("{service}/{OUTSIDE}");
    let levels = find(Some(&outside), &[&service, &outside]);
    assert_eq!(levels, Some(vec![service.into()]));
}

#[test]
fn a_session_has_no_place() {
    let session = format!("{MOUNT}/user.slice/user-1000.slice/session-1.scope");
    // The user's manager has one, but only root could bring a process there from here.
    assert_eq!(find(Some(&session), &[MANAGER]), None);
    assert_eq!(find(None, &[MANAGER]), None);
}

/// A directory that looks like a cgroup with the memory controller to offer.
fn cgroup(path: &Path, enabled: &str, processes: &str) {
    fs::create_dir_all(path).unwrap();
    for (file, text) in [
        ("cgroup.controllers", "cpu memory\n"),
        ("cgroup.subtree_control", enabled),
        ("cgroup.procs", processes),
        ("cgroup.events", "populated 1\n"),
    ] {
        fs::write(path.join(file), text).unwrap();
    }
}

fn unified(levels: &[&Path], own: &Path) -> Unified {
    Unified {
        levels: levels.iter().map(|level| (*level).to_owned()).collect(),
        own: Some(own.to_owned()),
        us: ancestors(),
    }
}

#[test]
fn says_what_is_not_delegated() {
    let top = tempfile::tempdir().unwrap();
    cgroup(top.path(), "", "");
    let unified = unified(&[top.path()], &top.path().join("own"));
    unified.check("memory").unwrap();
    let missing = unified.check("pids").unwrap_err();
    assert_eq!(
        missing.why,
        "the pids controller is not delegated to this user"
    );
    assert!(missing.fix.unwrap().contains("Delegate=cpu memory pids"));
}

#[test]
fn does_not_divide_a_cgroup_with_processes_of_others() {
    let top = tempfile::tempdir().unwrap();
    // Process 1 is everybody's ancestor, process 2 nobody's.
    let us = format!("1\n{}\n", std::process::id());
    for (own, enabled, processes, possible) in [
        (true, "", us.as_str(), true),
        (true, "", "2\n", false),
        (true, "memory cpu", "2\n", true),
        (false, "", us.as_str(), false),
        (false, "", "", true),
    ] {
        cgroup(top.path(), enabled, processes);
        let place = match own {
            true => top.path().to_owned(),
            false => top.path().join("own"),
        };
        let outcome = unified(&[top.path()], &place).check("memory");
        assert_eq!(
            outcome.is_ok(),
            possible,
            "{enabled:?} {processes:?} {outcome:?}"
        );
        if let Err(missing) = outcome {
            assert!(missing.why.contains("other processes"), "{missing:?}");
        }
    }
}

/// Writing to these files is an append in a real cgroup; here it shows what was written.
#[test]
fn enables_from_the_top_down_where_needed() {
    let top = tempfile::tempdir().unwrap();
    let middle = top.path().join("app.slice");
    cgroup(top.path(), "memory", "");
    cgroup(&middle, "", "");
    let unified = unified(&[top.path(), &middle], &middle.join("own"));
    unified.enable("memory").unwrap();
    let enabled = |level: &Path| fs::read_to_string(level.join("cgroup.subtree_control")).unwrap();
    assert_eq!(enabled(top.path()), "memory");
    assert_eq!(enabled(&middle), "+memory");
}

#[test]
fn knows_its_ancestors() {
    let us = ancestors();
    assert_eq!(us.first().copied(), i32::try_from(std::process::id()).ok());
    assert_eq!(us.last(), Some(&1));
}
