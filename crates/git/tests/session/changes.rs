//! With changes: the session's work tree is the user's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wardian_git::session::{self, Changes, Options, SessionError, Skipped};

use crate::fixture::{Fixture, Session};

const STATUS: &str = "git status --porcelain=v1 --untracked-files=all --ignore-submodules=all";
const LISTING: &str = "find . -path ./.git -prune -o -type f -printf '%m %p ' -exec sha1sum {} ';' \
                       -o -type l -printf '%p -> %l\\n' | sort -k2";

fn bring() -> Options {
    Options {
        changes: Changes::Bring,
        ..Fixture::options()
    }
}

/// Git finds the same changes inside as outside, and the same files but for those that are ignored.
fn check(fixture: &Fixture) -> Session<'_> {
    let session = fixture.session(&fixture.repository("repo"), &bring());
    let inside = session.inside();
    let repo = fixture.path("repo");
    let both = |script: &str| {
        let outside = fixture.shell_in(&repo, script);
        (fixture.shell_in(&inside, script), outside)
    };
    let (inner, outer) = both(STATUS);
    assert_eq!(inner, outer);
    let (inner, outer) = both("git diff --cached && git diff && git ls-files --stage");
    assert_eq!(inner, outer);
    fixture.shell_in(&repo, "git clean -qfdX");
    let (inner, outer) = both(LISTING);
    assert_eq!(inner, outer);
    session
}

#[test]
fn nothing_is_changed() {
    let fixture = Fixture::with_repository("");
    let session = check(&fixture);
    assert_eq!(session.created.brought, Default::default());
}

#[test]
fn changed_staged_untracked_and_deleted() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && echo worktree >>one && echo staged >d/two && git add d/two && echo both >>d/two
         rm d/e/three && chmod -x f/run && ln -sf d link && mkdir -p new/dir && echo untracked >new/dir/file
         ln -s /etc/passwd new/link && chmod 600 new/dir/file && git add -N new/dir/file
         echo log >ignored.log && mkdir out && echo built >out/x && echo forced >forced.log && git add -f forced.log",
    );
    let session = check(&fixture);
    assert_eq!(session.created.brought.removed, [Path::new("d/e/three")]);
    assert!(session.created.brought.skipped.is_empty());
    assert!(!session.upper().join("ignored.log").exists());
    assert!(session.upper().join("d").is_dir());
}

#[test]
fn removed_and_renamed() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git rm -q d/two && git mv f/run f/ran && rm link && git rm -q --cached one",
    );
    let session = check(&fixture);
    assert_eq!(
        session.created.brought.removed,
        ["d/two", "f/run", "link"].map(Path::new)
    );
}

#[test]
fn files_and_directories_change_places() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && rm -r d && echo file >d && rm one && mkdir one && echo inner >one/inner
         rm -r f && ln -s one f && rm link && mkdir link",
    );
    let session = check(&fixture);
    assert_eq!(session.created.brought.removed, [Path::new("link")]);
}

#[test]
fn content_counts_where_times_do_not_tell() {
    let fixture = Fixture::with_repository("");
    // Touched, and nothing else: stays below.
    fixture.shell("cd repo && touch one d/two");
    let session = check(&fixture);
    assert_eq!(session.created.brought.files, 0);
    // Changed within the second in which it was staged, to the same size: only the content tells.
    fixture.shell(
        "cd repo && printf 'aaaa' >racy && git add racy && printf 'bbbb' >racy
         touch -d @2000000000 racy && printf 'aaaa' >racy && touch -d @2000000000 racy && git add racy
         printf 'bbbb' >racy && touch -d @2000000000 racy",
    );
    let session = fixture.session(&fixture.repository("repo"), &bring());
    assert_eq!(fixture.shell_in(&session.inside(), STATUS), "AM racy\n");
}

#[test]
fn line_ends() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git config core.autocrlf true && git ls-files | xargs rm && git checkout -q . && grep -q $'\\r' one
         git ls-files | xargs touch -h -d 2020-02-02 && git update-index -q --refresh",
    );
    let session = check(&fixture);
    // Known from the index by their times.
    assert_eq!(session.created.brought.files, 0);
    fixture.shell("cd repo && touch one");
    let session = check(&fixture);
    assert_eq!(session.created.brought.files, 1);
}

#[test]
fn a_merge_under_way() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git checkout -q side && echo other >>one && git commit -qam other && git checkout -q main
         ! git merge -q side >/dev/null && echo resolved >one && git add one",
    );
    let session = check(&fixture);
    let inside = session.state.join("inside");
    fixture.shell_in(&inside, "git commit -q --no-edit");
    let parents = fixture.shell_in(&inside, "git log -1 --format=%P");
    assert_eq!(parents.split_whitespace().count(), 2);
}

#[test]
fn conflicts() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git checkout -q side && echo other >>one && git commit -qam other && git checkout -q main
         ! git merge -q side >/dev/null",
    );
    check(&fixture);
}

#[test]
fn odd_indexes() {
    for set_up in [
        "git update-index --split-index",
        "git update-index --index-version 4",
        "git sparse-checkout set --cone --sparse-index d && echo kept-out >unrelated",
        "git sparse-checkout set --no-cone '/*' '!/f/' && mkdir f && echo present >f/run",
        "rm .git/index && git reset -q",
    ] {
        let fixture = Fixture::with_repository("");
        fixture.shell(&format!(
            "cd repo && {set_up} && echo changed >>d/two && git add d/two && echo again >>d/two && echo new >d/new"
        ));
        check(&fixture);
    }
}

#[test]
fn an_unborn_branch() {
    let fixture = Fixture::new();
    fixture.shell("git init -q repo && cd repo && echo staged >a && git add a && echo b >b");
    check(&fixture);
}

#[test]
fn what_stays_behind_is_named() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git clone -q repo repo/nested && cd repo && mkfifo fifo && git submodule --quiet add \"$PWD\" sub
         git commit -qm sub && echo inner >sub/inner",
    );
    let session = fixture.session(&fixture.repository("repo"), &bring());
    assert_eq!(
        session.created.brought.skipped,
        [
            ("fifo".into(), Skipped::Special),
            ("nested".into(), Skipped::Repository)
        ]
    );
    assert_eq!(
        session.created.brought.removed,
        Vec::<std::path::PathBuf>::new()
    );
    assert!(!session.upper().join("sub").exists());
}

#[test]
fn included_files() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && echo KEY=1 >.env.log && mkdir -p out/deep/.git && echo built >out/deep/x && ln -s /etc out/etc
         chmod 4755 out/deep/x && echo secret >.git/secret && echo other >not-named.log && ln -s /etc etc.log
         ln -s .. up.log",
    );
    let repository = fixture.repository("repo");
    let with = |paths: &[&str]| Options {
        include: paths.iter().map(Into::into).collect(),
        ..Fixture::options()
    };
    let session = fixture.session(&repository, &with(&[".env.log", "out", "etc.log"]));
    let upper = session.upper();
    assert_eq!(
        fs::read_to_string(upper.join(".env.log")).unwrap(),
        "KEY=1\n"
    );
    let mode = fs::metadata(upper.join("out/deep/x"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o755);
    assert_eq!(
        fs::read_link(upper.join("out/etc")).unwrap(),
        Path::new("/etc")
    );
    assert_eq!(
        fs::read_link(upper.join("etc.log")).unwrap(),
        Path::new("/etc")
    );
    assert!(!upper.join("not-named.log").exists() && !upper.join("one").exists());
    assert!(!upper.join("out/deep/.git").exists());
    assert_eq!(session.created.brought.files, 4);

    for path in [
        "../repo/one",
        "/etc/passwd",
        ".git/secret",
        "out/../.git",
        "etc.log/passwd",
        "up.log/home",
        "",
    ] {
        let state = tempfile::tempdir().unwrap();
        let error = session::create(&repository, state.path(), &with(&[path])).unwrap_err();
        assert!(
            matches!(error, SessionError::IncludeOutside(_)),
            "{path}: {error}"
        );
        assert!(!state.path().join("base.json").exists());
    }
    let state = tempfile::tempdir().unwrap();
    let error = session::create(&repository, state.path(), &with(&["missing"])).unwrap_err();
    assert!(matches!(error, SessionError::IncludeMissing(_)));
}
