//! Which refs may be set, and which not.

use std::fs;
use std::process::Command;

use wardian_git::transfer::TransferError;

use crate::BRANCH;
use crate::fixture::{Fixture, Repo, Run, again, as_each_user};

#[test]
fn a_branch_that_is_checked_out_stays() {
    let fixture = Fixture::new();
    let linked = fixture.root().join("linked");
    fixture.user.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "side",
        linked.to_str().unwrap(),
    ]);
    let tip = fixture.session.commit("README", "second\n");
    let main = fixture.user.id("main");
    for name in ["refs/heads/main", "refs/heads/side"] {
        let error = fixture.bring_over(tip, name, Some(main)).unwrap_err();
        assert!(matches!(error, TransferError::CheckedOut { .. }), "{error}");
        assert_eq!(fixture.user.id(name), main);
    }
    // The same is true while it is being rebased, when HEAD does not name it.
    fixture.user.git(&["branch", "busy"]);
    fixture.user.write(
        ".git/worktrees/linked/rebase-merge/head-name",
        "refs/heads/busy\n",
    );
    let error = fixture
        .bring_over(tip, "refs/heads/busy", Some(main))
        .unwrap_err();
    assert!(matches!(error, TransferError::CheckedOut { .. }), "{error}");
    fixture.assert_no_leftovers();
}

#[test]
fn a_ref_that_moved_stays() {
    let fixture = Fixture::new();
    fixture.user.git(&["branch", "wardian/a", "main~1"]);
    let old = fixture.user.id(BRANCH);
    let tip = fixture.session.commit("README", "second\n");
    for expected in [None, Some(tip), Some(fixture.user.id("main"))] {
        if expected == Some(tip) {
            continue;
        }
        let error = fixture.bring_over(tip, BRANCH, expected).unwrap_err();
        assert!(matches!(error, TransferError::Moved { .. }), "{error}");
        assert_eq!(fixture.user.id(BRANCH), old);
    }
    // Packed refs count as well.
    fixture.user.git(&["pack-refs", "--all"]);
    fixture.bring(tip, BRANCH).unwrap_err();
    fixture.bring_over(tip, BRANCH, Some(old)).unwrap();
    assert_eq!(fixture.user.id(BRANCH), tip);
}

#[test]
fn names_in_the_way_are_told() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("README", "second\n");
    for packed in [false, true] {
        fixture.user.git(&["branch", "-f", "wardian"]);
        if packed {
            fixture.user.git(&["pack-refs", "--all"]);
        }
        let error = fixture.bring(tip, BRANCH).unwrap_err();
        assert!(matches!(error, TransferError::Clash { .. }), "{error}");
        assert!(error.to_string().contains("refs/heads/wardian"), "{error}");
    }
    fixture.user.git(&["branch", "-D", "wardian"]);
    fixture.user.git(&["branch", "wardian/a/b"]);
    fixture.bring(tip, BRANCH).unwrap_err();
    fixture.user.git(&["branch", "-D", "wardian/a/b"]);
    // Git leaves directories behind.
    fs::create_dir_all(fixture.user.path(".git/refs/heads/wardian/a/b/c")).unwrap();
    fixture.bring(tip, BRANCH).unwrap();
    fixture.user.fsck();
}

#[test]
fn a_lock_of_somebody_elses_is_respected() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("README", "second\n");
    let lock = ".git/refs/heads/wardian/a.lock";
    fixture.user.write(lock, format!("{tip}\n"));
    let error = fixture.bring(tip, BRANCH).unwrap_err();
    assert!(matches!(error, TransferError::Locked { .. }), "{error}");
    assert!(fixture.user.path(lock).exists());
    fs::remove_file(fixture.user.path(lock)).unwrap();
    fixture.assert_no_leftovers();
    fixture.bring(tip, BRANCH).unwrap();
}

#[test]
fn only_branches_and_tags_are_set() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("README", "second\n");
    for name in [
        "HEAD",
        "refs/replace/x",
        "refs/remotes/origin/main",
        "refs/stash",
    ] {
        let error = fixture.bring(tip, name).unwrap_err();
        assert!(matches!(error, TransferError::NotATarget { .. }), "{error}");
    }
    let tree = fixture.session.id("HEAD^{tree}");
    let error = fixture.bring(tree, BRANCH).unwrap_err();
    assert!(matches!(error, TransferError::NotACommit { .. }), "{error}");
    fixture.session.git(&["tag", "-m", "noted", "v1"]);
    let tag = fixture.session.id("v1");
    fixture.bring(tag, BRANCH).unwrap_err();
    fixture.bring(tag, "refs/tags/v1").unwrap();
    assert_eq!(fixture.user.git(&["cat-file", "-t", "v1"]), "tag");
    fixture.assert_no_leftovers();
}

#[test]
fn a_linked_worktree_shares_its_refs() {
    as_each_user("places::a_linked_worktree_shares_its_refs", || {
        let main = Fixture::new();
        let linked = main.root().join("linked");
        main.user.git(&[
            "worktree",
            "add",
            "-q",
            "-b",
            "side",
            linked.to_str().unwrap(),
        ]);
        let root = crate::fixture::open_directory();
        let fixture = Fixture::around(root, Repo(linked), "sha1");
        assert_ne!(fixture.base.git_dir, fixture.base.common_dir);
        let tip = fixture.session.commit("README", "second\n");
        fixture.bring(tip, BRANCH).unwrap();
        assert_eq!(main.user.id(BRANCH), tip);
        main.user.fsck();
        main.assert_no_leftovers();
    });
}

#[test]
fn modes_follow_the_umask_and_core_shared_repository() {
    use std::os::unix::fs::MetadataExt;
    const NAME: &str = "places::modes_follow_the_umask_and_core_shared_repository";
    const UNDER: &str = "WARDIAN_TESTS_UMASK";
    if std::env::var_os(UNDER).is_none() {
        // Of the whole process, so in one of its own.
        let test = again(NAME);
        let shell = ["-c", "umask 077; exec \"$0\" \"$@\""];
        Command::new("sh")
            .args(shell)
            .arg(test.get_program())
            .args(test.get_args())
            .env(UNDER, "1")
            .succeed();
        return;
    }
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    let fixture = Fixture::new();
    fixture
        .user
        .git(&["config", "core.sharedRepository", "group"]);
    let packs = || {
        let packs = fs::read_dir(fixture.user.path(".git/objects/pack")).unwrap();
        packs.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let tip = fixture.session.commit("README", "second\n");
    fixture.bring(tip, BRANCH).unwrap();
    assert!(packs().len() >= 2);
    for path in packs() {
        assert_eq!(mode(path), 0o440);
    }
    assert_eq!(mode(fixture.user.path(".git/refs/heads/wardian/a")), 0o660);
    assert_eq!(mode(fixture.user.path(".git/refs/heads/wardian")), 0o770);
}

/// A repository may have been unpacked from a stranger's archive.
#[test]
fn links_in_the_users_repository_are_not_followed_out_of_it() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("README", "second\n");
    let outside = fixture.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let entries = || fs::read_dir(&outside).unwrap().count();
    let link = fixture.user.path(".git/refs/heads/wardian");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let error = fixture.bring(tip, BRANCH).unwrap_err();
    assert!(error.to_string().contains("leads out"), "{error}");
    // The control: git follows it.
    fixture
        .user
        .git(&["update-ref", "refs/heads/wardian/git", "HEAD"]);
    assert_eq!(entries(), 1);
    fs::remove_file(&link).unwrap();
    let log = fixture.user.path(".git/logs/refs/heads/wardian/a");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    let target = outside.join("profile");
    fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &log).unwrap();
    fixture.bring(tip, BRANCH).unwrap_err();
    assert_eq!(fs::read_to_string(&target).unwrap(), "");
    fixture.user.fsck();
}
