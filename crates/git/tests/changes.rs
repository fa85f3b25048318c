//! What is read from an upper layer is what `git add -A` finds in the merged view.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

use gix::bstr::ByteSlice;
use proptest::prelude::*;
use wardian_git::changes::{BaseTree, Changes, FileKind};
use wardian_git::{Base, Head};

/// Paths and modes of a work tree: `git ls-files --stage` with everything added.
type Listing = BTreeMap<String, (String, String)>;

struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    /// A repository with one commit, whose files become the lower layer.
    fn new() -> Self {
        let fixture = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in ["lower", "upper", "work", "merged", "state"] {
            fs::create_dir(fixture.path(directory)).unwrap();
        }
        fixture.shell(
            "cd lower && git init -q . && mkdir -p d/e f && echo one >one && echo two >d/two && echo three >d/e/three
             printf '#!/bin/sh\\n' >f/run && chmod +x f/run && ln -s one link && printf '*.log\\n/out/\\n' >.gitignore
             echo kept >kept.log && git add -f . && git -c user.name=a -c user.email=a@b commit -qm base
             mv .git ../repository && cp ../repository/index ../state/base.index",
        );
        fixture
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn shell(&self, script: &str) -> String {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-euc", script])
            .current_dir(self.directory.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `script` in the merged view, then `after` outside of it.
    fn mounted(&self, script: &str, after: &str) -> String {
        self.shell(&format!(
            "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
             (cd merged; set +e; {script}
             true)
             {after}"
        ))
    }

    /// As [`mounted`](Self::mounted); lists what git would commit there.
    fn change(&self, script: &str) -> Listing {
        let listed = self.mounted(
            script,
            "cp -r repository scratch; export GIT_DIR=$PWD/scratch GIT_WORK_TREE=$PWD/merged; cd merged
             git -c core.quotePath=false add -A; git -c core.quotePath=false ls-files --stage",
        );
        fs::remove_dir_all(self.path("scratch")).unwrap();
        listed
            .lines()
            .map(|line| {
                let (facts, path) = line.split_once('\t').unwrap();
                let mut facts = facts.split(' ');
                let mode = facts.next().unwrap().to_owned();
                (path.to_owned(), (mode, facts.next().unwrap().to_owned()))
            })
            .collect()
    }

    fn base(&self) -> Base {
        Base {
            worktree: self.path("lower"),
            git_dir: self.path("repository"),
            common_dir: self.path("repository"),
            objects: vec![self.path("repository/objects")],
            object_format: "sha1".to_owned(),
            head: Head::Detached,
            commit: None,
            tree: None,
            branch: "wardian/test".to_owned(),
            auto_crlf: None,
            eol: None,
        }
    }

    fn read(&self) -> Changes {
        let base = BaseTree::open(&self.path("state"), &self.base()).unwrap();
        let upper = fs::File::open(self.path("upper")).unwrap();
        Changes::list(upper.as_fd(), &base, &BTreeSet::new(), b"").unwrap()
    }

    /// The base with the changes made to it.
    fn listing(&self, changes: &Changes) -> Listing {
        let index = gix::index::File::at(
            self.path("state/base.index"),
            gix::hash::Kind::Sha1,
            true,
            Default::default(),
        )
        .unwrap();
        let mut listing: Listing = index
            .entries()
            .iter()
            .map(|entry| {
                let path = entry.path(&index).to_str().unwrap().to_owned();
                (
                    path,
                    (format!("{:06o}", entry.mode.bits()), entry.id.to_string()),
                )
            })
            .collect();
        for change in &changes.changed {
            let path = change.path.to_str().unwrap().to_owned();
            let old = listing.remove(&path);
            assert_eq!(old.is_some(), change.before.is_some(), "{path}");
            if let Some(after) = &change.after {
                let mode = match after.kind {
                    FileKind::Plain => "100644",
                    FileKind::Executable => "100755",
                    FileKind::Symlink => "120000",
                };
                let new = (mode.to_owned(), after.id.to_string());
                assert_ne!(old.as_ref(), Some(&new), "{path} did not change");
                listing.insert(path, new);
            }
        }
        listing
    }
}

#[track_caller]
fn assert_same(script: &str) {
    let fixture = Fixture::new();
    let expected = fixture.change(script);
    let changes = fixture.read();
    assert_eq!(
        fixture.listing(&changes),
        expected,
        "{script}\n{changes:#?}"
    );
}

#[test]
fn nothing_changed() {
    assert_same("true");
    assert_same("touch one; chmod g+w d/two; mv one x; mv x one");
}

#[test]
fn directories_are_replaced_and_refilled() {
    assert_same("rm -r d; mkdir d; echo two >d/two; echo new >d/new");
    assert_same("rm -r d; mkdir -p d/e; echo three >d/e/three; echo two >d/two");
    assert_same("rm -r d; echo file >d");
    assert_same("rm one; mkdir one; echo x >one/x");
    assert_same("mv d g; mv g/e d");
}

#[test]
fn what_is_tracked_is_never_ignored() {
    assert_same("echo more >>kept.log; echo no >other.log; mkdir out; echo no >out/x");
    assert_same("printf '*\\n' >.gitignore; echo changed >one; echo new >new");
    assert_same("printf 'd\\n' >>.gitignore; rm -r d; mkdir d; echo two >d/two; echo new >d/new");
}

#[test]
fn what_cannot_come_back_is_named() {
    let fixture = Fixture::new();
    fixture.mounted(
        "mkfifo pipe; mkdir -p nested GIT~1 .GiT; git init -q nested/inner; echo x >nested/inner/y
         echo x >GIT~1/config; ln -s /etc d/.gitmodules",
        "",
    );
    let left_out: Vec<_> = fixture
        .read()
        .left_out
        .into_iter()
        .map(|left| left.path.to_string())
        .collect();
    assert_eq!(
        left_out,
        [".GiT", "GIT~1", "d/.gitmodules", "nested/inner", "pipe"]
    );
}

#[test]
fn links_of_the_layer_lead_nowhere() {
    let fixture = Fixture::new();
    let secret = fixture.path("secret");
    fs::write(&secret, "secret").unwrap();
    let upper = fixture.path("upper");
    std::os::unix::fs::symlink(fixture.directory.path(), upper.join("out")).unwrap();
    std::os::unix::fs::symlink(&secret, upper.join("stolen")).unwrap();
    let changes = fixture.read();
    let of = |path: &str| {
        changes
            .changed
            .iter()
            .find(|change| change.path == path)
            .unwrap()
    };
    assert_eq!(changes.changed.len(), 2);
    for path in ["out", "stolen"] {
        assert_eq!(of(path).after.as_ref().unwrap().kind, FileKind::Symlink);
    }
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "one",
        "d",
        "d/two",
        "d/e",
        "d/e/three",
        "f",
        "f/run",
        "link",
        "kept.log",
        "new",
        "d/new",
        "x.log",
        "out",
        "out/y",
        "sp ace",
        "\u{fc}",
        "d/e/deep/er",
        "f/.gitignore",
        ".gitignore",
    ])
}

fn any_step() -> impl Strategy<Value = String> {
    let name = any_name;
    prop_oneof![
        (name(), 0_u8..5)
            .prop_map(|(n, c)| format!("mkdir -p \"$(dirname '{n}')\"; echo {c} >'{n}'")),
        name().prop_map(|n| format!("echo '/{n}' >>'{n}'")),
        name().prop_map(|n| format!("rm -rf '{n}'")),
        (name(), name()).prop_map(|(a, b)| format!("mv -T '{a}' '{b}'")),
        (name(), name()).prop_map(|(a, b)| format!("cp -r '{a}' '{b}'")),
        (name(), name()).prop_map(|(a, b)| format!("ln -s '{a}' '{b}'")),
        name().prop_map(|n| format!("mkdir -p '{n}'")),
        name().prop_map(|n| format!("chmod a+x '{n}'")),
        name().prop_map(|n| format!("chmod a-x '{n}/'* '{n}'; chmod u+rwx '{n}'")),
        name().prop_map(|n| format!("touch '{n}'")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_edits(steps in prop::collection::vec(any_step(), 1..12)) {
        assert_same(&steps.join("\n"));
    }
}

#[test]
fn an_overlay_without_git_is_compared_with_the_directory_itself() {
    use wardian_git::apply::{Repositories, UserTree};
    use wardian_git::changes::{LiveTree, Reason};
    let fixture = Fixture::new();
    fixture.shell(
        "mkdir -p lower/inner/.git; echo x >lower/inner/.git/config; echo y >lower/inner/file",
    );
    fixture.mounted(
        "echo more >>one; rm -r inner; echo new >new.log; touch d/two",
        "",
    );
    let lower = UserTree::open(
        &fixture.path("lower"),
        gix::hash::Kind::Sha1,
        Repositories::Enter,
    );
    let lower = lower.unwrap();
    let upper = fs::File::open(fixture.path("upper")).unwrap();
    let changes = Changes::list(upper.as_fd(), &LiveTree(&lower), &BTreeSet::new(), b"").unwrap();
    let changed: Vec<_> = changes
        .changed
        .iter()
        .map(|change| change.path.to_string())
        .collect();
    assert_eq!(changed, ["inner/file", "new.log", "one"]);
    let left: Vec<_> = changes
        .left_out
        .iter()
        .map(|left| (left.path.to_string(), left.why))
        .collect();
    assert_eq!(left, [("inner/.git/config".to_owned(), Reason::Name)]);
}
