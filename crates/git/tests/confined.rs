//! Git on what an agent wrote: nothing of it is executed or followed, and what git says is what is there.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "confined/canaries.rs"]
mod canaries;
#[path = "confined/cost.rs"]
mod cost;
#[path = "transfer/fixture.rs"]
mod fixture;
#[path = "confined/lies.rs"]
mod lies;
#[path = "confined/trees.rs"]
mod trees;

use std::fs;

use fixture::{Fixture, as_each_user, full_name};
use wardian_git::confined::{Binary, Commit, View};
use wardian_git::refs::{SessionHead, SessionRefs, read_base};
use wardian_git::review::LooseEnds;

/// The session's objects and the user's.
pub(crate) fn view(fixture: &Fixture) -> View {
    View::of_user(&fixture.base)
        .unwrap()
        .with_session(&fixture.open())
        .unwrap()
}

#[test]
fn says_what_is_there() {
    as_each_user("says_what_is_there", || {
        for format in ["sha1", "sha256"] {
            let fixture = Fixture::of_format(format);
            let base = fixture.session.id("HEAD");
            fixture.session.git(&["mv", "src/lib.rs", "src/moved.rs"]);
            fixture.session.commit("odd \u{1f980}\n\tname", b"text\n");
            let tip = fixture.session.commit("bin", [0, 159, 146, 150]);
            let view = view(&fixture);
            let git = fixture.git.on(&view);

            let log = git.log(&[tip], &[base], 10).unwrap();
            let subjects: Vec<_> = log
                .iter()
                .map(|commit| commit.subject.to_string())
                .collect();
            assert_eq!(subjects, ["Change bin", "Change odd \u{1f980} \tname"]);
            assert_eq!((log[0].id, &log[1].parents[..]), (tip, &[base][..]));
            assert_eq!(log[0].author_email, "ada@example.com");
            assert!(log[0].author_time > 1_700_000_000);
            assert_eq!(git.log(&[tip], &[base], 1).unwrap().len(), 1);
            assert_eq!(git.log(&[base], &[tip], 10).unwrap(), []);
            assert_eq!(git.count_commits(&[tip], &[base]).unwrap(), 2);

            let stat = git.stat(Some(base), tip).unwrap();
            let lines: Vec<_> = stat
                .iter()
                .map(|file| (file.path.to_string(), file.old_path.is_some(), file.lines))
                .collect();
            let expected = [
                ("bin", false, None),
                ("odd \u{1f980}\n\tname", false, Some((1, 0))),
                ("src/moved.rs", true, Some((0, 0))),
            ];
            assert_eq!(
                lines,
                expected.map(|(path, moved, lines)| (path.to_owned(), moved, lines))
            );

            // What we write is what git applies.
            let mut patch = Vec::new();
            git.patch(Some(base), tip, Binary::Whole, &mut patch)
                .unwrap();
            fixture.user.feed(&["apply", "--index", "-"], &patch);
            assert_eq!(
                fixture.user.git(&["write-tree"]),
                fixture.session.git(&["rev-parse", "HEAD^{tree}"])
            );
            let mut whole = Vec::new();
            git.patch(None, base, Binary::Named, &mut whole).unwrap();
            assert!(whole.starts_with(b"diff --git a/README b/README\nnew file mode 100644\n"));
        }
    });
}

#[test]
fn refs_of_a_session() {
    let fixture = Fixture::new();
    let base = read_base(&fixture.workspace(), gix::hash::Kind::Sha1).unwrap();
    let read = || SessionRefs::read(&fixture.open(), gix::hash::Kind::Sha1).unwrap();
    let names = || {
        let changes = read().changes_since(&base);
        changes
            .iter()
            .map(|change| change.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["refs/heads/wardian/a"]);
    let tip = fixture.session.commit("README", "second\n");
    fixture.session.git(&["tag", "v1"]);
    fixture.session.git(&["branch", "-q", "other"]);
    fixture.session.git(&["pack-refs", "--all"]);
    fixture.session.git(&["branch", "-D", "-q", "main"]);
    assert_eq!(
        names(),
        [
            "refs/heads/main",
            "refs/heads/other",
            "refs/heads/wardian/a",
            "refs/tags/v1"
        ]
    );
    let refs = read();
    assert_eq!(
        refs.head,
        SessionHead::Branch(full_name("refs/heads/wardian/a"))
    );
    assert_eq!(refs.head_commit(), Some(tip));
    fixture.session.git(&["checkout", "-q", "--detach"]);
    assert_eq!(read().head, SessionHead::Detached(tip));
}

#[test]
fn work_without_a_branch_is_found() {
    let fixture = Fixture::new();
    let base = read_base(&fixture.workspace(), gix::hash::Kind::Sha1).unwrap();
    let loose = || {
        let view = view(&fixture);
        let session = fixture.open();
        let refs = SessionRefs::read(&session, view.format()).unwrap();
        let known: Vec<_> = refs.head_commit().into_iter().collect();
        let moved = refs.changes_since(&base);
        LooseEnds::find(&session, &moved, &known, &fixture.git.on(&view)).unwrap()
    };
    let ids = |commits: &[Commit]| commits.iter().map(|it| it.id).collect::<Vec<_>>();
    let git = |arguments: &[&str]| fixture.session.git(arguments);
    fixture.session.commit("README", "second\n");
    assert!(loose().is_empty());
    let mut stashes = Vec::new();
    for text in ["stashed\n", "stashed too\n"] {
        fixture.session.write("README", text);
        git(&["stash", "-q"]);
        stashes.push(fixture.session.id("stash"));
    }
    let found = loose();
    assert_eq!(ids(&found.stashes).len(), 2);
    assert!(stashes.iter().all(|id| ids(&found.stashes).contains(id)));
    assert!(found.commits.is_empty() && found.tags.is_empty());
    git(&["stash", "clear"]);
    fixture.session.commit("README", "third\n");
    let last = fixture.session.commit("README", "fourth\n");
    git(&["reset", "-q", "--hard", "HEAD~2"]);
    let found = loose();
    assert_eq!((ids(&found.commits), found.stashes.len()), (vec![last], 0));
    // What was amended or rebased is not lost.
    git(&["reset", "-q", "--hard", "ORIG_HEAD"]);
    git(&["commit", "-q", "--amend", "-m", "amended"]);
    git(&["rebase", "-q", "--force-rebase", "HEAD~2"]);
    assert!(loose().is_empty());
    git(&["tag", "mark"]);
    let found = loose();
    assert_eq!(found.tags[0].name.as_bstr(), "refs/tags/mark");
    assert_eq!(found.commits, []);
    git(&["tag", "-d", "mark"]);
    // A log that was tampered with names nothing that is there.
    fixture.session.write(
        ".git/logs/HEAD",
        format!("x {} y\n{}\n", "1".repeat(40), "z".repeat(9000)),
    );
    assert!(loose().is_empty());
}

#[test]
fn a_missing_or_unfit_git_is_told() {
    use std::os::unix::fs::PermissionsExt;
    use wardian_git::confined::Git;
    let directory = fixture::open_directory();
    let program = directory.path().join("git");
    // A script in the place of git, found first, cannot run there: the next one is taken.
    let fired = directory.path().join("fired");
    fs::write(
        &program,
        format!(
            "#!/bin/sh\ntouch {}\necho git version 99.0\n",
            fired.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let search = format!("relative:{}:/usr/bin", directory.path().display());
    let git = Git::find(search.as_ref()).unwrap();
    assert!(git.version() < wardian_git::confined::Version(99, 0) || !fired.exists());
    assert!(!fired.exists());
}
