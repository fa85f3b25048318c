//! What is a repository, and what only looks like one.

use std::process::Command;

use wardian_git::repository::Places;
use wardian_git::session::{self, SessionError};
use wardian_git::{Repository, RepositoryError};

use crate::fixture::Fixture;

impl Fixture {
    fn refused(&self, name: &str) -> RepositoryError {
        Repository::discover_with(&self.path(name), self.places()).unwrap_err()
    }
}

#[test]
fn nothing_around() {
    let fixture = Fixture::new();
    let found = Repository::discover_with(&fixture.path("home"), fixture.places());
    assert!(found.unwrap().is_none());
}

#[test]
fn a_directory_called_git_is_not_enough() {
    let fixture = Fixture::with_repository("");
    fixture.shell("mkdir -p repo/d/.git/objects repo/d/.git/refs && mkfifo repo/f/.git");
    assert_eq!(
        fixture.repository("repo/d").worktree(),
        fixture.path("repo")
    );
    assert_eq!(
        fixture.repository("repo/f").worktree(),
        fixture.path("repo")
    );
}

#[test]
fn bare_and_inside_of_git() {
    let fixture = Fixture::with_repository("");
    fixture.shell("git clone -q --bare repo bare.git && git clone -q --bare repo repo/d/embedded");
    assert!(matches!(
        fixture.refused("bare.git"),
        RepositoryError::Bare(_)
    ));
    assert!(matches!(
        fixture.refused("repo/d/embedded/refs"),
        RepositoryError::Bare(_)
    ));
    for name in ["repo/.git", "repo/.git/objects"] {
        assert!(matches!(
            fixture.refused(name),
            RepositoryError::InsideGitDirectory(_)
        ));
    }
    fixture.shell("git -C repo config core.bare true");
    assert!(matches!(fixture.refused("repo"), RepositoryError::Bare(_)));
}

#[test]
fn another_users_repository() {
    let fixture = Fixture::with_repository("");
    let mut places = fixture.places();
    places.owners = vec![u32::MAX - 1];
    let discover = || Repository::discover_with(&fixture.path("repo/d"), places.clone());
    assert!(matches!(
        discover(),
        Err(RepositoryError::OtherOwner { .. })
    ));
    for (listed, is_safe) in [
        ("*", true),
        ("%", false),
        (fixture.path("repo").to_str().unwrap(), true),
        (&format!("{}/*", fixture.path("").display()), true),
        (&format!("{}/*", fixture.path("repo").display()), false),
        (fixture.path("rep").to_str().unwrap(), false),
    ] {
        fixture.shell(&format!(
            "git config --file home/.gitconfig safe.directory '{listed}'"
        ));
        assert_eq!(discover().is_ok(), is_safe, "{listed}");
    }
    // What the repository says of itself does not count, and an empty value takes all back.
    fixture.shell("git -C repo config safe.directory '*'");
    assert!(discover().is_err());
    fixture.shell("cd home && printf '[safe]\\ndirectory = *\\ndirectory =\\n' >.gitconfig");
    assert!(discover().is_err());
}

#[test]
fn a_git_file_must_be_answered() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "mkdir -p archive linked-too && echo \"gitdir: $PWD/repo/.git\" >archive/.git
         mkdir symlinked && ln -s ../repo/.git symlinked/.git
         git -C repo worktree add -q \"$PWD/linked\" side && cp linked/.git linked-too/.git
         git init -q --separate-git-dir=separate.git separate && cd separate && git commit -q --allow-empty -m x",
    );
    // Control: git takes them all for the repository.
    for name in ["archive", "symlinked", "linked-too", "separate"] {
        fixture.shell(&format!("cd {name} && git rev-parse HEAD"));
        let refused = fixture.refused(name);
        assert!(
            matches!(refused, RepositoryError::NotAcknowledged { .. }),
            "{name}: {refused}"
        );
    }
    // What the message can advise to do.
    fixture.shell("git -C separate config core.worktree \"$PWD/separate\"");
    assert_eq!(
        fixture.repository("separate").git_dir(),
        fixture.path("separate.git")
    );
    fixture.shell("mv linked moved");
    assert!(matches!(
        fixture.refused("moved"),
        RepositoryError::NotAcknowledged { .. }
    ));
    fixture.shell("git -C repo worktree repair \"$PWD/moved\" 2>/dev/null");
    fixture.repository("moved");
}

#[test]
fn a_git_directory_leads_nowhere_else() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "cp -r repo archive && cp -r repo other && git -C archive config core.worktree ../../other",
    );
    // Control.
    let top = fixture.shell("git -C archive/.git rev-parse --show-toplevel");
    assert_eq!(top.trim(), fixture.path("other").to_str().unwrap());
    assert!(matches!(
        fixture.refused("archive"),
        RepositoryError::WorktreeElsewhere { .. }
    ));
    fixture.shell("git -C archive config --unset core.worktree && echo ../../other/.git >archive/.git/commondir");
    assert!(matches!(
        fixture.refused("archive"),
        RepositoryError::NotAcknowledged { .. }
    ));
}

#[test]
fn object_directories_hold_objects() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "mkdir keys && touch keys/id_rsa && cp -r repo archive && cp -r repo other
         echo \"$PWD/keys\" >archive/.git/objects/info/alternates
         cd other/.git && mv objects/* ../../keys/ && rmdir objects && ln -s ../../keys objects",
    );
    // Control: git uses them.
    fixture.shell(
        "git -C archive count-objects -v | grep -q keys && git -C other rev-parse HEAD^{tree}",
    );
    for name in ["archive", "other"] {
        let refused = fixture.refused(name);
        assert!(
            matches!(refused, RepositoryError::NotObjects { .. }),
            "{name}: {refused}"
        );
    }
}

#[test]
fn files_that_go_along_are_not_symlinks() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "echo root:secret >shadow && cd repo/.git && git config core.sparseCheckout true
         git config core.excludesFile \"$PWD/../../shadow\"
         for name in info/exclude info/attributes info/sparse-checkout shallow MERGE_MSG; do
             rm -f $name && ln -s ../../../shadow $name; done
         ln -sf ../../shadow shallow && rm shallow && ln -sf ../../shadow MERGE_MSG",
    );
    let mut options = Fixture::options();
    options.changes = session::Changes::Bring;
    let session = fixture.session(&fixture.repository("repo"), &options);
    let found = Command::new("grep")
        .args(["-r", "secret"])
        .arg(&session.state)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    // A list of commits is checked line by line.
    fixture.shell("ln -s ../../shadow repo/.git/shallow");
    let state = fixture.path("state");
    std::fs::create_dir(&state).unwrap();
    let created = session::create(&fixture.repository("repo"), &state, &Fixture::options());
    assert!(matches!(
        created,
        Err(SessionError::Repository(RepositoryError::Malformed { .. }))
    ));
    assert!(!state.join("base.json").exists());
}

#[test]
fn formats_that_are_not_supported() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git init -q --ref-format=reftable tables && cd tables && git commit -q --allow-empty -m x",
    );
    assert!(matches!(
        fixture.refused("tables"),
        RepositoryError::Reftable { .. }
    ));
    fixture.shell(
        "cd repo && git config core.repositoryformatversion 1 && git config extensions.future true",
    );
    assert!(matches!(
        fixture.refused("repo"),
        RepositoryError::Extension { .. }
    ));
    fixture.shell("cd repo && sed -i 's/repositoryformatversion = 1/repositoryformatversion = 2/' .git/config");
    assert!(matches!(
        fixture.refused("repo"),
        RepositoryError::Extension { .. }
    ));
}

#[test]
fn a_session_is_made_once_and_its_branch_is_free() {
    let fixture = Fixture::with_repository("");
    let repository = fixture.repository("repo");
    let session = fixture.session(&repository, &Fixture::options());
    assert!(session::create(&repository, &session.state, &Fixture::options()).is_err());
    fixture.shell("cd repo && git branch wardian && git branch taken/x && git symbolic-ref refs/heads/alias/y refs/heads/main");
    let repository = fixture.repository("repo");
    for (branch, is_taken) in [
        ("wardian/test-1", true),
        ("taken", true),
        ("taken/x", true),
        ("alias", true),
        ("alias/y/z", true),
        ("main", true),
        ("a..b", false),
        ("-x", false),
        ("a\nb", false),
    ] {
        let mut options = Fixture::options();
        options.branch = branch.to_owned();
        match session::create(&repository, &fixture.path("home"), &options).unwrap_err() {
            SessionError::BranchTaken(_) => assert!(is_taken, "{branch}"),
            SessionError::Branch(_) => assert!(!is_taken, "{branch}"),
            other => panic!("{branch}: {other}"),
        }
    }
}

/// Runs itself as git would run a hook.
#[test]
fn the_environment_leads_nowhere() {
    const CHILD: &str = "WARDIAN_TEST_REPOSITORY";
    if let Some(path) = std::env::var_os(CHILD) {
        let repository = Repository::discover(path.as_ref()).unwrap().unwrap();
        assert_eq!(repository.worktree(), path);
        assert_eq!(Places::of_process().home.unwrap(), path);
        return;
    }
    let fixture = Fixture::with_repository("");
    fixture.shell("cp -r repo other");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "discover::the_environment_leads_nowhere"])
        .env(CHILD, fixture.path("repo"))
        .env("HOME", fixture.path("repo"))
        .env("GIT_DIR", fixture.path("other/.git"))
        .env("GIT_WORK_TREE", fixture.path("other"))
        .env("GIT_COMMON_DIR", fixture.path("other/.git"))
        .env("GIT_OBJECT_DIRECTORY", "/nowhere")
        .env("GIT_INDEX_FILE", "/nowhere")
        .status()
        .unwrap();
    assert!(status.success());
}
