//! Objects that an agent made to do harm, and that `git fetch` would take.

use std::fs;
use std::os::unix::fs::symlink;

use gix::ObjectId;
use wardian_git::transfer::TransferError;

use crate::BRANCH;
use crate::fixture::{Fixture, Repo, as_each_user};

/// An entry of a tree: mode, name, object.
pub(crate) type Entry<'a> = (&'a str, &'a [u8], ObjectId);

pub(crate) fn tree(repo: &Repo, entries: &[Entry<'_>]) -> ObjectId {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode.as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    object(repo, "tree", &bytes)
}

fn object(repo: &Repo, kind: &str, bytes: &[u8]) -> ObjectId {
    let hex = repo.feed(
        &["hash-object", "-t", kind, "-w", "--literally", "--stdin"],
        bytes,
    );
    ObjectId::from_hex(hex.as_bytes()).unwrap()
}

pub(crate) fn commit(repo: &Repo, tree: ObjectId) -> ObjectId {
    let parent = repo.id("HEAD");
    let text = format!(
        "tree {tree}\nparent {parent}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n"
    );
    object(repo, "commit", text.as_bytes())
}

/// A repository that trusts what it fetches, as git does unless it is told otherwise.
fn plain_fetch_takes(fixture: &Fixture, tip: ObjectId) -> bool {
    fixture
        .session
        .git(&["update-ref", "refs/heads/hostile", &tip.to_string()]);
    let victim = Repo(fixture.root().join("victim"));
    let _ = fs::remove_dir_all(&victim.0);
    fs::create_dir(&victim.0).unwrap();
    victim.git(&["init", "-q"]);
    let from = fixture.session.0.to_str().unwrap();
    victim
        .try_git(&["fetch", "-q", from, "refs/heads/hostile"])
        .0
}

#[test]
fn harmful_trees_are_refused() {
    as_each_user("hostile::harmful_trees_are_refused", || {
        let fixture = Fixture::new();
        let repo = &fixture.session;
        let blob = object(repo, "blob", b"content\n");
        let hooks = tree(repo, &[("100755", b"pre-commit", blob)]);
        let link = object(repo, "blob", b"/etc/passwd");
        let option = object(
            repo,
            "blob",
            b"[submodule \"x\"]\n\tpath = x\n\turl = -u/tmp/evil\n",
        );
        let command = object(
            repo,
            "blob",
            b"[submodule \"x\"]\n\tpath = x\n\turl = x\n\tupdate = !touch /tmp/x\n",
        );
        let outside = object(
            repo,
            "blob",
            b"[submodule \"../../x\"]\n\tpath = x\n\turl = x\n",
        );
        let null = ObjectId::null(gix::hash::Kind::Sha1);
        let cases: &[(&str, &[Entry<'_>])] = &[
            ("itself", &[("40000", b".git", hooks)]),
            ("upper case", &[("40000", b".GIT", hooks)]),
            ("NTFS short name", &[("40000", b"git~1", hooks)]),
            ("NTFS trailing dots", &[("40000", b".git. .", hooks)]),
            (
                "NTFS stream",
                &[("40000", b".git::$INDEX_ALLOCATION", hooks)],
            ),
            ("backslash", &[("100755", b".git\\hooks\\pre-commit", blob)]),
            (
                "HFS ignored",
                &[("40000", ".g\u{200c}it".as_bytes(), hooks)],
            ),
            (
                "HFS byte order mark",
                &[("40000", "\u{feff}.git".as_bytes(), hooks)],
            ),
            ("parent", &[("40000", b"..", hooks)]),
            ("self", &[("40000", b".", hooks)]),
            ("no name", &[("100644", b"", blob)]),
            ("slash", &[("100644", b"a/../../b", blob)]),
            ("linked .gitmodules", &[("120000", b".gitmodules", link)]),
            (
                "linked .gitmodules on NTFS",
                &[("120000", b"GITMOD~1", link)],
            ),
            (
                "linked .gitattributes",
                &[("120000", b".gitattributes", link)],
            ),
            ("url as option", &[("100644", b".gitmodules", option)]),
            ("update as command", &[("100644", b".gitmodules", command)]),
            (
                "name that leads out",
                &[("100644", b".gitmodules", outside)],
            ),
            ("padded mode", &[("0100644", b"a", blob)]),
            ("twice", &[("100644", b"a", blob), ("100644", b"a", link)]),
            (
                "unsorted",
                &[("100644", b"b", blob), ("100644", b"a", blob)],
            ),
            ("null", &[("100644", b"a", null)]),
        ];
        let before = fixture.user.refs();
        for (name, entries) in cases {
            let tip = commit(repo, tree(repo, entries));
            let error = fixture.bring(tip, BRANCH).unwrap_err();
            let refused = matches!(
                error,
                TransferError::Refused { .. } | TransferError::Incomplete { .. }
            );
            assert!(refused, "{name}: {error}");
            // The control; a fetch has to read trees, and to find what they name.
            let is_unreadable = ["null", "no name"].contains(name);
            assert!(is_unreadable || plain_fetch_takes(&fixture, tip), "{name}");
            assert_eq!(fixture.user.refs(), before);
        }
        fixture.assert_no_leftovers();
        // The control: the same way with nothing wrong.
        let tip = commit(repo, tree(repo, &[("100644", b"a", blob)]));
        fixture.bring(tip, BRANCH).unwrap();
        fixture.user.fsck();
    });
}

#[test]
fn incomplete_and_damaged_objects_are_refused() {
    let fixture = Fixture::new();
    let repo = &fixture.session;
    let missing = ObjectId::from_hex(b"1234567890123456789012345678901234567890").unwrap();
    let path = |id: ObjectId| {
        let hex = id.to_string();
        repo.path(&format!(".git/objects/{}/{}", &hex[..2], &hex[2..]))
    };
    let refused = |tip: ObjectId, what: &str| {
        let error = fixture.bring(tip, BRANCH).unwrap_err();
        assert!(
            matches!(
                error,
                TransferError::Refused { .. } | TransferError::Incomplete { .. }
            ),
            "{what}: {error}"
        );
        fixture.assert_no_leftovers();
    };
    refused(missing, "no such commit");
    refused(
        commit(repo, tree(repo, &[("100644", b"a", missing)])),
        "no such blob",
    );
    refused(commit(repo, missing), "no such tree");
    let tip = repo.commit("file", "content of a blob\n");
    let blob = repo.id("HEAD:file");
    fs::remove_file(path(blob)).unwrap();
    refused(tip, "blob removed");
    // Somebody else's content under its name.
    let other = object(repo, "blob", b"other content\n");
    fs::copy(path(other), path(blob)).unwrap();
    refused(tip, "blob exchanged");
    fs::write(path(blob), b"x\x9c\0\0garbage").unwrap();
    refused(tip, "blob damaged");
}

#[test]
fn objects_that_are_no_files_are_refused_at_once() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("file", "content\n");
    let objects = fixture.session.path(".git/objects");
    let started = std::time::Instant::now();
    for place in ["pack/pack-1.idx", "00", "00/fifo"] {
        let path = objects.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o644.into(), 0).unwrap();
        let error = fixture.bring(tip, BRANCH).unwrap_err();
        assert!(error.to_string().contains("fifo"), "{error}");
        fs::remove_file(&path).unwrap();
        symlink("/etc", &path).unwrap();
        let error = fixture.bring(tip, BRANCH).unwrap_err();
        assert!(error.to_string().contains("a symlink"), "{error}");
        fs::remove_file(&path).unwrap();
    }
    assert!(started.elapsed().as_secs() < 5);
    fixture.bring(tip, BRANCH).unwrap();
}

#[test]
fn files_beside_the_objects_steer_nothing() {
    let fixture = Fixture::new();
    let repo = &fixture.session;
    let secret = Repo(fixture.root().join("secret"));
    fs::create_dir(&secret.0).unwrap();
    secret.git(&["init", "-q"]);
    let hidden = secret.commit("secret", "the secret\n");
    let theirs = secret.path(".git/objects").display().to_string();
    // A commit on a tree that only the secret repository has.
    let tip = commit(repo, secret.id("HEAD^{tree}"));
    repo.write(
        ".git/objects/info/alternates",
        format!("{}\n{theirs}\n", fixture.base.objects[0].display()),
    );
    repo.write(".git/objects/info/http-alternates", format!("{theirs}\n"));
    // The controls: git follows it.
    assert_eq!(repo.git(&["cat-file", "-t", &hidden.to_string()]), "commit");
    assert_eq!(repo.git(&["show", &format!("{tip}:secret")]), "the secret");
    let error = fixture.bring(tip, BRANCH).unwrap_err();
    assert!(matches!(error, TransferError::Incomplete { .. }), "{error}");
    // By way of a link.
    let info = repo.path(".git/objects/info");
    fs::rename(&info, repo.path("info")).unwrap();
    symlink(repo.path("info"), &info).unwrap();
    assert_eq!(repo.git(&["cat-file", "-t", &hidden.to_string()]), "commit");
    fixture.bring(tip, BRANCH).unwrap_err();
    fixture.bring(hidden, BRANCH).unwrap_err();
    // All of it by way of a link.
    fs::rename(repo.path(".git/objects"), repo.path("objects")).unwrap();
    symlink(repo.path("objects"), repo.path(".git/objects")).unwrap();
    fixture.bring(tip, BRANCH).unwrap_err();
    fixture.assert_no_leftovers();
}
