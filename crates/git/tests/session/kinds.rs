//! One test for each kind of repository.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wardian_git::Head;
use wardian_git::changes::BaseTree;
use wardian_git::repository::Sparse;

use crate::fixture::{BRANCH, Fixture};

const REFS: &str = "git for-each-ref --format='%(refname) %(objectname) %(symref) %(*objectname)' \
                    | grep -v -e refs/stash -e refs/heads/wardian/ -e refs/bisect || true";

/// Makes a session of the work tree at `name` and looks at it with git: it has the commit, its history and
/// refs, nothing is changed or missing, one can work in it, and the user's repository is as it was.
fn check(fixture: &Fixture, name: &str) {
    let repository = fixture.repository(name);
    let top = repository.worktree().to_owned();
    let digest = format!(
        "cd {} && find . -type f -not -name '*.lock' -exec sha1sum {{}} + | sort | sha1sum",
        repository.common_dir().display()
    );
    let before = fixture.shell(&digest);
    let session = fixture.session(&repository, &Fixture::options());
    assert_eq!(fixture.shell(&digest), before);

    let users = |script: &str| fixture.shell_in(&top, script);
    let inside = session.inside();
    let inner = |script: &str| fixture.shell_in(&inside, script);
    assert_eq!(
        inner("git fsck --strict --no-dangling --no-progress 2>&1 | grep -v ^notice || true"),
        ""
    );
    assert_eq!(
        inner("git symbolic-ref HEAD"),
        format!("refs/heads/{BRANCH}\n")
    );
    assert_eq!(inner("git rev-parse HEAD"), users("git rev-parse HEAD"));
    assert_eq!(
        inner("git log --format='%H %s'"),
        users("git log --format='%H %s'")
    );
    assert_eq!(inner(REFS), users(REFS));
    assert_eq!(inner("git ls-tree -r HEAD"), users("git ls-tree -r HEAD"));
    let ignoring = "git status --porcelain --ignore-submodules=all";
    assert_eq!(inner(ignoring), "");
    assert_eq!(
        inner("git ls-files --stage --sparse | sort"),
        fixture.shell(&format!(
            "GIT_DIR={top}/.git GIT_INDEX_FILE={state}/base.index git ls-files --stage --sparse | sort",
            top = top.display(),
            state = session.state.display(),
        ))
    );
    assert!(!session.upper().join(".git/index").exists());
    inner(
        "echo new >new.txt && git add new.txt && git commit -qm inside && git fsck --no-progress 2>&1",
    );
    assert_eq!(fixture.shell(&digest), before);
}

/// Whether the user's index became the session's as it is.
fn is_copied(fixture: &Fixture, name: &str) -> bool {
    let repository = fixture.repository(name);
    let session = fixture.session(&repository, &Fixture::options());
    let users = std::fs::read(repository.git_dir().join("index")).unwrap();
    users == std::fs::read(session.state.join("base.index")).unwrap()
}

#[test]
fn the_users_index_is_neither_copied_nor_followed() {
    let fixture = Fixture::with_repository("");
    let repository = fixture.repository("repo");
    let session = fixture.session(&repository, &Fixture::options());
    let base = session.state.join("base.index");
    let users = fixture.path("repo/.git/index");
    let inode = |path: &std::path::Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&base), inode(&users));
    let listed = || {
        let script = format!("GIT_INDEX_FILE={} git ls-files --stage", base.display());
        fixture.shell_in(&fixture.path("repo"), &script)
    };
    let before = listed();
    let has_one = || {
        let tree = BaseTree::open(&session.state, &session.created.base).unwrap();
        tree.file("one".into()).is_some()
    };

    // Git would never do this.
    fixture.shell(
        "cd repo && cp .git/index other && GIT_INDEX_FILE=other git rm -q --cached one && cat other >.git/index",
    );
    assert_ne!(listed(), before, "control");
    assert!(has_one());
    assert_eq!(listed(), before);

    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    let base = session.state.join("base.index");
    let before = std::fs::read(&base).unwrap();
    fixture.shell("cd repo && git reset -q && echo more >new && git add new");
    assert_eq!(std::fs::read(&base).unwrap(), before);
}

#[test]
fn plain() {
    let fixture = Fixture::with_repository("");
    check(&fixture, "repo");
    assert!(is_copied(&fixture, "repo"));
    let repository = fixture.repository("repo/d/e");
    assert_eq!(repository.worktree(), fixture.path("repo"));
    assert_eq!(*repository.head(), Head::Branch("main".to_owned()));
    assert_eq!(repository.objects(), [fixture.path("repo/.git/objects")]);
    assert_eq!(repository.lfs(), None);
    assert_eq!(repository.sparse(), Sparse::Off);
}

#[test]
fn below_a_symlink() {
    let fixture = Fixture::with_repository("");
    fixture.shell("ln -s repo/d shortcut");
    let repository = fixture.repository("shortcut/e");
    assert_eq!(repository.worktree(), fixture.path("repo"));
}

#[test]
fn sha256() {
    let fixture = Fixture::with_repository("--object-format=sha256");
    check(&fixture, "repo");
    assert!(is_copied(&fixture, "repo"));
}

#[test]
fn detached() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && git checkout -q --detach HEAD~");
    check(&fixture, "repo");
    assert_eq!(*fixture.repository("repo").head(), Head::Detached);
}

#[test]
fn unborn() {
    let fixture = Fixture::new();
    fixture.shell("git init -q -b trunk repo && cd repo && echo staged >a && git add a");
    let repository = fixture.repository("repo");
    assert_eq!(*repository.head(), Head::Branch("trunk".to_owned()));
    assert_eq!(repository.commit(), None);
    let session = fixture.session(&repository, &Fixture::options());
    let inside = session.inside();
    let inner = |script: &str| fixture.shell_in(&inside, script);
    assert_eq!(inner("git status --porcelain"), "");
    inner("echo new >new && git add new && git commit -qm first");
    assert_eq!(
        inner("git symbolic-ref HEAD"),
        format!("refs/heads/{BRANCH}\n")
    );
}

#[test]
fn linked_worktree() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git worktree add -q ../linked side && cd ../linked && git bisect start -q && git bisect bad",
    );
    check(&fixture, "linked");
    check(&fixture, "repo");
    let repository = fixture.repository("linked/d");
    assert_eq!(
        repository.git_dir(),
        fixture.path("repo/.git/worktrees/linked")
    );
    assert_eq!(repository.common_dir(), fixture.path("repo/.git"));
}

#[test]
fn linked_worktree_with_relative_paths() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git worktree add -q ../linked side
         echo gitdir: ../repo/.git/worktrees/linked >../linked/.git
         echo ../../../../linked/.git >.git/worktrees/linked/gitdir",
    );
    check(&fixture, "linked");
}

#[test]
fn linked_worktree_of_a_bare_repository() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git clone -q --bare repo bare.git && cd bare.git && git worktree add -q ../linked side",
    );
    check(&fixture, "linked");
}

#[test]
fn worktree_config() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git worktree add -q ../linked side && git config extensions.worktreeConfig true
         cd ../linked && git config --worktree core.autocrlf input",
    );
    check(&fixture, "linked");
    let session = |name| {
        let repository = fixture.repository(name);
        fixture
            .session(&repository, &Fixture::options())
            .git_file("config")
    };
    assert!(session("linked").contains("autocrlf = \"input\""));
    assert!(!session("repo").contains("autocrlf"));
}

#[test]
fn submodules() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git clone -q repo inner && cd inner && git submodule --quiet add \"$PWD/../repo\" deep/innermost
         git commit -qm nested && cd .. && git init -q -b main outer && cd outer
         git submodule --quiet add ../inner sub/inner && git submodule --quiet add ../repo empty
         git commit -qm outer && git submodule --quiet update --init --recursive
         git submodule --quiet deinit -f empty",
    );
    check(&fixture, "outer");
    check(&fixture, "outer/sub/inner/d");
    check(&fixture, "outer/sub/inner/deep/innermost");
    let found = fixture.repository("outer").submodules().unwrap();
    let paths: Vec<_> = found
        .populated
        .iter()
        .map(|found| found.path.clone())
        .collect();
    assert_eq!(
        paths,
        [
            Path::new("sub/inner"),
            Path::new("sub/inner/deep/innermost")
        ]
    );
    assert!(found.unusable.is_empty());
    let inner = &found.populated[0].repository;
    assert_eq!(
        inner.git_dir(),
        fixture.path("outer/.git/modules/sub/inner")
    );
    assert_eq!(inner.worktree(), fixture.path("outer/sub/inner"));
}

#[test]
fn a_submodule_behind_a_symlink_is_none() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git init -q -b main outer && cd outer && git submodule --quiet add ../repo sub && git commit -qm outer
         mv sub ../moved && ln -s ../moved sub",
    );
    let found = fixture.repository("outer").submodules().unwrap();
    assert!(found.populated.is_empty() && found.unusable.is_empty());
}

#[test]
fn shallow() {
    let fixture = Fixture::with_repository("");
    fixture.shell("git clone -q --depth=1 \"file://$PWD/repo\" clone");
    check(&fixture, "clone");
    assert!(fixture.repository("clone").shallow().unwrap().is_some());
}

#[test]
fn partial() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git -C repo config uploadpack.allowFilter true
         git clone -q --filter=blob:none \"file://$PWD/repo\" clone",
    );
    let repository = fixture.repository("clone");
    assert_eq!(repository.promisors(), ["origin"]);
    // Blobs of older commits are only at the remote.
    check(&fixture, "clone");
}

#[test]
fn sparse_by_directories() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && git sparse-checkout set --cone d");
    check(&fixture, "repo");
    assert_eq!(fixture.repository("repo").sparse(), Sparse::Cone);
    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    assert!(session.git_file("info/sparse-checkout").contains("/d/"));
    let inside = session.inside();
    assert!(inside.join("d/two").exists());
    assert!(!inside.join("f").exists());
}

#[test]
fn sparse_by_patterns() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && git sparse-checkout set --no-cone '/*' '!/f/'");
    check(&fixture, "repo");
    assert_eq!(fixture.repository("repo").sparse(), Sparse::Patterns);
}

#[test]
fn sparse_index() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git sparse-checkout set --cone --sparse-index d
         git config --file ../home/.gitconfig advice.sparseIndexExpanded false",
    );
    let folded = "git ls-files --sparse --stage | grep -c ^040000";
    assert_eq!(fixture.shell_in(&fixture.path("repo"), folded), "1\n");
    check(&fixture, "repo");
    // Derived, as something is staged: the folded directory stays folded.
    fixture.shell("cd repo && echo changed >d/two && git add d/two");
    assert!(!is_copied(&fixture, "repo"));
    check(&fixture, "repo");
    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    assert_eq!(fixture.shell_in(&session.inside(), folded), "1\n");
}

#[test]
fn split_index() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && git update-index --split-index");
    check(&fixture, "repo");
    fixture.shell("cd repo && echo x >d/x && git add d/x && git rm -q --cached one");
    check(&fixture, "repo");
}

#[test]
fn index_of_version_4() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && git update-index --index-version 4");
    check(&fixture, "repo");
    assert!(is_copied(&fixture, "repo"));
}

#[test]
fn index_without_a_hash() {
    let fixture = Fixture::with_repository("");
    fixture
        .shell("cd repo && git config index.skipHash true && git update-index --force-write-index");
    check(&fixture, "repo");
}

#[test]
fn index_with_names_of_untracked_files() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && touch private-untracked && git config core.untrackedCache true
         git update-index --force-untracked-cache && git status >/dev/null && git update-index --fsmonitor
         git config core.fsmonitor false",
    );
    let users = std::fs::read(fixture.path("repo/.git/index")).unwrap();
    let has = |index: &[u8], name: &str| {
        index
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    assert!(has(&users, "UNTR") && has(&users, "private-untracked"));
    check(&fixture, "repo");
    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    let index = std::fs::read(session.state.join("base.index")).unwrap();
    for name in ["UNTR", "FSMN", "private-untracked"] {
        assert!(!has(&index, name), "{name}");
    }
    assert!(has(&index, "TREE"));
}

#[test]
fn missing_index() {
    let fixture = Fixture::with_repository("");
    fixture.shell("rm repo/.git/index");
    check(&fixture, "repo");
}

#[test]
fn staged_changes_stay_behind() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && echo staged >>d/two && git add d/two && git rm -qf d/e/three && echo x >x && git add x
         chmod -x f/run && git add f/run && echo later >later && git add -N later",
    );
    check(&fixture, "repo");
}

#[test]
fn stat_data_of_unchanged_files_is_kept() {
    let fixture = Fixture::with_repository("");
    fixture.shell("cd repo && echo staged >>d/two && git add d/two");
    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    let times = |index: &str| {
        let script = format!(
            "GIT_INDEX_FILE={index} git ls-files --debug one d/two f/run | grep -e mtime -e size"
        );
        fixture.shell_in(&fixture.path("repo"), &script)
    };
    let base = times(session.state.join("base.index").to_str().unwrap());
    let users = times(".git/index");
    let kept = |text: &str| text.lines().filter(|line| line.contains("1577")).count();
    assert_eq!((kept(&users), kept(&base)), (2, 2), "{base}");
    assert!(base.contains("mtime: 0:0"));
    // So git need not read those files again, nor find the trees that are unchanged.
    let trees = format!(
        "GIT_INDEX_FILE={} git ls-files --error-unmatch one >/dev/null && grep -c TREE {0}",
        session.state.join("base.index").display()
    );
    assert_eq!(fixture.shell_in(&fixture.path("repo"), &trees), "1\n");
}

#[test]
fn conflicts_stay_behind() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && git checkout -q side && echo other >>one && git commit -qam other && git checkout -q main
         ! git merge -q side >/dev/null && git ls-files -u | grep -q one",
    );
    check(&fixture, "repo");
}

#[test]
fn alternates() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git clone -q --shared repo second && cd second && echo 2 >2 && git add 2 && git commit -qm 2
         cd .. && git clone -q --shared second third
         cd third/.git/objects/info && echo ../../../second/.git/objects >alternates",
    );
    check(&fixture, "third");
    fixture.shell("echo /nowhere >>third/.git/objects/info/alternates");
    let repository = fixture.repository("third");
    assert_eq!(
        repository.objects(),
        ["third", "second", "repo"].map(|name| fixture.path(name).join(".git/objects"))
    );
    let session = fixture.session(&repository, &Fixture::options());
    assert_eq!(
        session.git_file("objects/info/alternates"),
        "/run/wardian/repositories/0/objects\n/run/wardian/repositories/0/objects.1\n\
         /run/wardian/repositories/0/objects.2\n"
    );
}

#[test]
fn packed_loose_and_symbolic_refs() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git clone -q repo clone && cd clone && git pack-refs --all && git tag -a -m later v2 && git branch -f side2
         git update-ref refs/heads/deep/er/branch HEAD && git symbolic-ref refs/heads/alias refs/heads/main
         git update-ref refs/pull/1/head HEAD~ && git update-ref refs/wardian/internal HEAD
         echo broken >.git/refs/heads/broken && echo dirty >>one && git stash -q && git notes add -m note",
    );
    fixture
        .shell("cd clone && rm .git/refs/heads/broken && git update-ref -d refs/wardian/internal");
    check(&fixture, "clone");
    fixture.shell(
        "cd clone && git update-ref refs/wardian/internal HEAD && echo x >.git/refs/heads/broken",
    );
    let session = fixture.session(&fixture.repository("clone"), &Fixture::options());
    let packed = session.git_file("packed-refs");
    assert_eq!(
        packed,
        std::fs::read_to_string(session.state.join("base.refs")).unwrap()
    );
    for name in ["refs/stash", "refs/wardian/", "broken", "fully-peeled"] {
        assert!(!packed.contains(name), "{name}");
    }
    assert_eq!(
        session.git_file("refs/remotes/origin/HEAD"),
        "ref: refs/remotes/origin/main\n"
    );
}

#[test]
fn replaced_commits() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cd repo && echo replaced >one && git add one
         new=$(git commit-tree -m replaced -p HEAD~ $(git write-tree)) && git replace HEAD $new && git reset -q --hard",
    );
    check(&fixture, "repo");
}

#[test]
fn large_file_storage() {
    let fixture = Fixture::with_repository("");
    fixture.shell("mkdir -p repo/.git/lfs/objects && git -C repo config lfs.url https://me:secret@lfs.example.com/a");
    let repository = fixture.repository("repo");
    assert_eq!(
        repository.lfs(),
        Some(fixture.path("repo/.git/lfs/objects"))
    );
    let session = fixture.session(&repository, &Fixture::options());
    assert!(
        session
            .git_file("config")
            .contains("https://lfs.example.com/a")
    );
    // A symlink could lead anywhere.
    fixture.shell("cd repo/.git/lfs && rmdir objects && ln -s /etc objects");
    assert_eq!(fixture.repository("repo").lfs(), None);
}

#[test]
fn the_filter_of_large_files_comes_along_in_our_words() {
    let fixture = Fixture::with_repository("");
    let filter = |fixture: &Fixture| {
        let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
        fixture.shell_in(
            &session.upper(),
            "git config --file .git/config --get-regexp '^filter' || true",
        )
    };
    assert_eq!(filter(&fixture), "");
    for place in ["repo/.git/config", "home/.gitconfig"] {
        fixture.shell(&format!(
            "git config --file {place} filter.lfs.clean 'touch sang; cat' && git config --file {place} filter.lfs.other touch"
        ));
        assert_eq!(
            filter(&fixture),
            "filter.lfs.clean git-lfs clean -- %f\nfilter.lfs.smudge git-lfs smudge -- %f\n\
             filter.lfs.process git-lfs filter-process\nfilter.lfs.required true\n"
        );
        fixture.shell(&format!(
            "git config --file {place} --remove-section filter.lfs"
        ));
    }
}
