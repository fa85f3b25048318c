//! Uncommitted changes in a real directory: all or nothing, there and back.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gix::bstr::{BString, ByteSlice};
use proptest::prelude::*;
use wardian_git::apply::{
    ApplyError, Contents, Plan, Repositories, Staged, UserTree, Version, Wanted, Why,
};
use wardian_git::changes::FileKind;

const HASH: gix::hash::Kind = gix::hash::Kind::Sha1;

type Files = BTreeMap<String, (FileKind, String)>;

struct Sides {
    base: Files,
    theirs: Files,
}

impl Contents for Sides {
    fn base(&self, path: &BString, _: &Version) -> io::Result<Vec<u8>> {
        Ok(self.base[path.to_str().unwrap()].1.clone().into_bytes())
    }

    fn theirs(&self, path: &BString) -> io::Result<Box<dyn Read>> {
        let content = self.theirs[path.to_str().unwrap()].1.clone();
        Ok(Box::new(Cursor::new(content)))
    }
}

impl Sides {
    fn wanted(&self) -> Vec<Wanted> {
        let paths: BTreeSet<_> = self.base.keys().chain(self.theirs.keys()).collect();
        let wanted = paths.into_iter().map(|path| Wanted {
            path: path.as_str().into(),
            base: self.base.get(path).map(version),
            theirs: self.theirs.get(path).map(version),
        });
        wanted.filter(|file| file.base != file.theirs).collect()
    }
}

fn version((kind, content): &(FileKind, String)) -> Version {
    Version {
        kind: *kind,
        id: gix::objs::compute_hash(HASH, gix::objs::Kind::Blob, content.as_bytes()).unwrap(),
    }
}

fn files(all: &[(&str, &str)]) -> Files {
    let plain = |(path, content): &(&str, &str)| {
        ((*path).to_owned(), (FileKind::Plain, (*content).to_owned()))
    };
    all.iter().map(plain).collect()
}

fn write(top: &Path, files: &Files) {
    for (path, (kind, content)) in files {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if *kind == FileKind::Symlink {
            std::os::unix::fs::symlink(content, &path).unwrap();
            continue;
        }
        fs::write(&path, content).unwrap();
        if *kind == FileKind::Executable {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}

fn read(top: &Path) -> Files {
    let mut found = Files::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                pending.push(path);
                continue;
            }
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            let file = if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                (FileKind::Symlink, target.to_str().unwrap().to_owned())
            } else if kind.permissions().mode() & 0o100 != 0 {
                (FileKind::Executable, fs::read_to_string(&path).unwrap())
            } else {
                (FileKind::Plain, fs::read_to_string(&path).unwrap())
            };
            found.insert(name, file);
        }
    }
    found
}

struct Fixture {
    user: tempfile::TempDir,
    state: tempfile::TempDir,
    sides: Sides,
}

impl Fixture {
    fn new(ours: &Files, base: Files, theirs: Files) -> Self {
        let user = tempfile::tempdir().unwrap();
        write(user.path(), ours);
        Self {
            user,
            state: tempfile::tempdir().unwrap(),
            sides: Sides { base, theirs },
        }
    }

    fn tree(&self) -> UserTree {
        UserTree::open(self.user.path(), HASH, Repositories::Refuse).unwrap()
    }

    fn plan(&self) -> Plan {
        Plan::make(&self.tree(), &self.sides.wanted(), &self.sides).unwrap()
    }

    fn stage(&self) -> Staged {
        let plan = self.plan();
        assert_eq!(plan.conflicts, []);
        Staged::new(self.state.path(), &self.tree(), &plan, &self.sides).unwrap()
    }

    fn now(&self) -> Files {
        read(self.user.path())
    }

    #[track_caller]
    fn assert_conflict(&self, path: &str, why: Why) {
        let conflicts = self.plan().conflicts;
        assert_eq!(conflicts.len(), 1, "{conflicts:?}");
        assert_eq!(
            (conflicts[0].path.to_str().unwrap(), conflicts[0].why),
            (path, why)
        );
    }
}

#[test]
fn both_edits_of_a_text_are_kept_and_undone() {
    let base = files(&[("a", "1\n2\n3\n4\n5\n"), ("gone", "x\n")]);
    let ours = files(&[("a", "one\n2\n3\n4\n5\n"), ("gone", "x\n"), ("mine", "m\n")]);
    let theirs = files(&[("a", "1\n2\n3\n4\nfive\n"), ("d/e/new", "n\n")]);
    let fixture = Fixture::new(&ours, base, theirs);
    fixture.stage().carry_out(&fixture.tree()).unwrap();
    let expected = files(&[
        ("a", "one\n2\n3\n4\nfive\n"),
        ("d/e/new", "n\n"),
        ("mine", "m\n"),
    ]);
    assert_eq!(fixture.now(), expected);
    let staged = Staged::open(fixture.state.path()).unwrap().unwrap();
    assert!(staged.is_done());
    staged.undo(&fixture.tree()).unwrap();
    assert_eq!(fixture.now(), ours);
    assert!(!fixture.user.path().join("d").exists());
    assert!(Staged::open(fixture.state.path()).unwrap().is_none());
}

#[test]
fn conflicts_are_named() {
    let case = |ours: &[(&str, &str)], base: &[(&str, &str)], theirs: &[(&str, &str)], why| {
        Fixture::new(&files(ours), files(base), files(theirs)).assert_conflict("a", why);
    };
    case(
        &[("a", "mine\n")],
        &[("a", "base\n")],
        &[("a", "theirs\n")],
        Why::SameLines,
    );
    case(
        &[("a", "\0mine")],
        &[("a", "base\n")],
        &[("a", "theirs\n")],
        Why::NotText,
    );
    case(&[("a", "mine\n")], &[], &[("a", "theirs\n")], Why::BothNew);
    case(
        &[],
        &[("a", "base\n")],
        &[("a", "theirs\n")],
        Why::DeletedHere,
    );
    case(
        &[("a", "mine\n")],
        &[("a", "base\n")],
        &[],
        Why::DeletedThere,
    );
    case(
        &[("a/b", "mine\n")],
        &[],
        &[("a", "theirs\n")],
        Why::InTheWay,
    );
}

#[test]
fn no_symlink_of_the_users_tree_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(&Files::new(), Files::new(), files(&[("d/a", "x\n")]));
    std::os::unix::fs::symlink(outside.path(), fixture.user.path().join("d")).unwrap();
    fixture.assert_conflict("d/a", Why::InTheWay);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn another_repository_is_not_entered() {
    let fixture = Fixture::new(&Files::new(), Files::new(), files(&[("d/a", "x\n")]));
    fs::create_dir_all(fixture.user.path().join("d/.git")).unwrap();
    fixture.assert_conflict("d/a", Why::OtherRepository);
}

#[test]
fn a_change_after_the_plan_stops_everything() {
    let base = files(&[("a", "1\n"), ("b", "1\n")]);
    let fixture = Fixture::new(&base, base.clone(), files(&[("a", "2\n"), ("b", "2\n")]));
    let mut staged = fixture.stage();
    fs::write(fixture.user.path().join("b"), "mine\n").unwrap();
    let error = staged.carry_out(&fixture.tree()).unwrap_err();
    assert!(matches!(error, ApplyError::Changed(paths) if paths == ["b"]));
    assert_eq!(fixture.now(), files(&[("a", "1\n"), ("b", "mine\n")]));
}

/// Contents that are unlike each other, so that nothing merges by chance.
fn any_files() -> impl Strategy<Value = Files> {
    let path = prop::sample::select(vec!["a", "b", "d", "d/a", "d/b", "d/e/a", "f/g", "x y"]);
    let kind = prop_oneof![
        4 => Just(FileKind::Plain),
        1 => Just(FileKind::Executable),
        1 => Just(FileKind::Symlink),
    ];
    let files = prop::collection::btree_map(path, (kind, "[a-d]{1,3}"), 0..7);
    files.prop_map(|files| {
        let mut kept = Files::new();
        for (path, (kind, content)) in files {
            // A path is a file or a directory.
            let path = path.to_owned();
            if !kept
                .keys()
                .any(|other| path.starts_with(&format!("{other}/")))
            {
                kept.insert(path, (kind, content));
            }
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// An untouched tree becomes the session's, from wherever it was interrupted, and comes back.
    #[test]
    fn there_and_back(base in any_files(), theirs in any_files(), interrupted in 0_usize..8) {
        let fixture = Fixture::new(&base, base.clone(), theirs.clone());
        let plan = fixture.plan();
        prop_assert_eq!(&plan.conflicts, &[]);
        let tree = fixture.tree();
        let mut staged = Staged::new(fixture.state.path(), &tree, &plan, &fixture.sides).unwrap();
        // As a kill would leave it: the first steps were done.
        for step in plan.steps.iter().take(interrupted) {
            let path = fixture.user.path().join(step.path.to_str().unwrap());
            if step.before.is_some() {
                fs::remove_file(&path).unwrap();
                let directories = path.ancestors().skip(1);
                for directory in directories.take_while(|path| *path != fixture.user.path()) {
                    let _ = fs::remove_dir(directory);
                }
            }
            if step.after.is_some() {
                let name = step.path.to_str().unwrap().to_owned();
                let file = theirs[&name].clone();
                write(fixture.user.path(), &Files::from([(name, file)]));
            }
        }
        staged.carry_out(&tree).unwrap();
        prop_assert_eq!(fixture.now(), theirs);
        staged.undo(&tree).unwrap();
        prop_assert_eq!(fixture.now(), base);
    }
}
