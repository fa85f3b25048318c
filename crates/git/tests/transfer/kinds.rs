//! Kinds of repositories: shallow, partial, with alternates, with large files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use wardian_git::transfer::TransferError;

use crate::BRANCH;
use crate::fixture::{Fixture, Repo, Run, as_each_user, open_directory};
use crate::hostile;

fn cloned(arguments: &[&str]) -> Fixture {
    let root = open_directory();
    let origin = Repo(root.path().join("origin"));
    fs::create_dir(&origin.0).unwrap();
    origin.git(&["init", "-q", "-b", "main"]);
    origin.git(&["config", "uploadpack.allowFilter", "true"]);
    origin.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    for number in 0..5 {
        origin.commit("README", format!("{number}\n").repeat(100));
        origin.commit(&format!("dir/{number}"), format!("content {number}\n"));
    }
    // Only from a path does git share objects, and only from a URL does it leave some out.
    let scheme = match arguments.contains(&"--shared") {
        true => "",
        false => "file://",
    };
    let url = format!("{scheme}{}", origin.0.display());
    let clone = [&["clone", "-q"], arguments, &[&url, "user"]].concat();
    Repo(root.path().to_owned()).git(&clone);
    let user = Repo(root.path().join("user"));
    Fixture::around(root, user, "sha1")
}

#[test]
fn into_a_shallow_clone() {
    as_each_user("kinds::into_a_shallow_clone", || {
        let fixture = cloned(&["--depth=1"]);
        assert_eq!(fixture.user.git(&["rev-list", "--count", "HEAD"]), "1");
        let tip = fixture.session.commit("README", "changed\n");
        fixture.bring(tip, BRANCH).unwrap();
        assert_eq!(fixture.user.git(&["rev-list", "--count", BRANCH]), "2");
        fixture.user.fsck();
        fixture.assert_no_leftovers();
    });
}

#[test]
fn into_a_partial_clone() {
    as_each_user("kinds::into_a_partial_clone", || {
        let fixture = cloned(&["--filter=blob:none", "--no-checkout"]);
        let missing = || {
            let list = ["rev-list", "--objects", "--all", "--missing=print"];
            let list = fixture.user.git(&list);
            list.lines().filter(|line| line.starts_with('?')).count()
        };
        assert!(missing() > 5);
        // Inside, nothing can be fetched from the origin either.
        fixture
            .session
            .git(&["config", "remote.origin.promisor", "true"]);
        fixture
            .session
            .git(&["config", "remote.origin.url", "/nowhere"]);
        fixture.session.git(&["read-tree", "HEAD"]);
        fixture.session.write("new", "new\n");
        fixture.session.git(&["add", "new"]);
        // `git commit` would want to see the missing ones.
        let tree = fixture.session.git(&["write-tree", "--missing-ok"]);
        let commit = ["commit-tree", "-p", "HEAD", "-m", "new", &tree];
        fixture
            .session
            .git(&["update-ref", "HEAD", &fixture.session.git(&commit)]);
        let tip = fixture.session.id("HEAD");
        let before = missing();
        fixture.bring(tip, BRANCH).unwrap();
        assert_eq!(missing(), before);
        assert_eq!(fixture.user.git(&["show", "wardian/a:new"]), "new");
        // Checked as strictly as elsewhere.
        let blob = fixture.session.id("HEAD:new");
        let hooks = hostile::tree(&fixture.session, &[("100755", b"pre-commit", blob)]);
        let root = hostile::tree(&fixture.session, &[("40000", b".GIT", hooks)]);
        let error = fixture
            .bring(hostile::commit(&fixture.session, root), "refs/heads/bad")
            .unwrap_err();
        assert!(matches!(error, TransferError::Refused { .. }), "{error}");
        fixture.assert_no_leftovers();
    });
}

#[test]
fn into_a_repository_with_alternates() {
    let mut fixture = cloned(&["--shared"]);
    let origin = fixture.root().join("origin/.git/objects");
    fixture.base.objects.push(origin);
    let tip = fixture.session.commit("README", "changed\n");
    fixture.bring(tip, BRANCH).unwrap();
    fixture.user.fsck();
    // Of objects there, none was copied.
    let in_pack = fixture.user.git(&["count-objects", "-v"]);
    let line = in_pack
        .lines()
        .find(|line| line.starts_with("in-pack:"))
        .unwrap();
    assert!(line[9..].parse::<u32>().unwrap() <= 6, "{in_pack}");
}

fn sha256(path: &std::path::Path) -> String {
    let output = Command::new("sha256sum").arg(path).succeed();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// Where Git LFS keeps the file with that hash.
fn lfs_path(repo: &Repo, hash: &str) -> PathBuf {
    let store = repo.path(".git/lfs/objects");
    store.join(&hash[..2]).join(&hash[2..4]).join(hash)
}

#[test]
fn large_files_come_along_if_they_are_what_they_say() {
    let fixture = Fixture::new();
    let pointer = |content: &str, is_there: bool, lies: bool| {
        let file = fixture.root().join("content");
        fs::write(&file, content).unwrap();
        let hash = sha256(&file);
        if is_there {
            let place = lfs_path(&fixture.session, &hash);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            let stored = if lies {
                content.to_uppercase()
            } else {
                content.to_owned()
            };
            fs::write(place, stored).unwrap();
        }
        let text = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize {}\n",
            content.len()
        );
        fixture.session.write(&format!("{}.bin", &hash[..8]), text);
        hash
    };
    let good = pointer("a large file", true, false);
    let lie = pointer("another file", true, true);
    let absent = pointer("no such file", false, false);
    let link = pointer("a linked file", false, false);
    let place = lfs_path(&fixture.session, &link);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &place).unwrap();
    let tip = fixture.session.commit("x", "x");
    // A link in the place of a file is an attempt, not an accident.
    fixture.bring(tip, BRANCH).unwrap_err();
    fixture.assert_no_leftovers();
    fs::remove_file(&place).unwrap();
    let brought = fixture.bring(tip, BRANCH).unwrap();
    assert_eq!(brought.lfs.copied, std::slice::from_ref(&good));
    let mut missing = vec![lie, absent, link];
    missing.sort();
    assert_eq!(brought.lfs.missing, missing);
    assert_eq!(
        fs::read_to_string(lfs_path(&fixture.user, &good)).unwrap(),
        "a large file"
    );
    fixture.assert_no_leftovers();
}
