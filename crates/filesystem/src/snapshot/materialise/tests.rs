use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::snapshot::testing::{Keeps, Model, Tree, any_directory};

fn write(source: &Model, parent: &Path) -> Result<Written, MaterialiseError> {
    let mut last = Written::default();
    let parent = File::open(parent).unwrap();
    materialise(source, parent.as_fd(), OsStr::new("tree"), |written| {
        assert_eq!(written.files, last.files + 1);
        last = written;
    })?;
    Ok(last)
}

fn read(path: &Path, node: Node, source: &Model) -> Tree {
    let status = path.symlink_metadata().unwrap();
    assert_eq!(status.modified().unwrap(), Model::time(node), "{path:?}");
    match (status.file_type(), status.permissions().mode() & 0o7777) {
        (kind, _) if kind.is_symlink() => Tree::Symlink(
            fs::read_link(path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes(),
        ),
        (kind, 0o755) if kind.is_dir() => {
            let entries = fs::read_dir(path).unwrap().map(|entry| {
                let name = entry.unwrap().file_name();
                let child = source.look_up(node, &name).unwrap();
                let tree = read(&path.join(&name), child, source);
                (name, tree)
            });
            Tree::Directory(entries.collect::<BTreeMap<_, _>>())
        }
        (_, 0o644) => Tree::Plain(fs::read(path).unwrap()),
        (_, 0o755) => Tree::Executable(fs::read(path).unwrap()),
        other => panic!("{path:?}: {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn writes_the_tree_as_it_is(
        tree in any_directory(),
        keeps in prop_oneof![Just(Keeps::InMemory), Just(Keeps::InFiles)],
    ) {
        let place = tempfile::tempdir().unwrap();
        let source = Model::new(tree.clone(), keeps);
        write(&source, place.path()).unwrap();
        prop_assert_eq!(read(&place.path().join("tree"), Node::ROOT, &source), tree);
    }
}

fn small() -> Tree {
    Tree::directory([
        ("a", Tree::plain("one")),
        ("b", Tree::directory([("c", Tree::plain("three"))])),
    ])
}

#[test]
fn appears_under_its_name_only_when_it_is_complete() {
    let place = tempfile::tempdir().unwrap();
    let mut source = Model::new(small(), Keeps::InMemory);
    source.lost.push(Node(4));
    let failed = write(&source, place.path()).unwrap_err();
    assert_eq!(
        format!("{failed}: {}", std::error::Error::source(&failed).unwrap()),
        "\"b/c\": the content cannot be had"
    );
    assert!(!place.path().join("tree").exists());

    // As if killed in the middle.
    source.lost.clear();
    let parent = File::open(place.path()).unwrap();
    let killed = catch_unwind(AssertUnwindSafe(|| {
        materialise(&source, parent.as_fd(), OsStr::new("tree"), |_| panic!())
    }));
    assert!(killed.is_err());
    assert!(place.path().join(".tree.partial/a").exists());
    assert!(!place.path().join("tree").exists());

    let written = write(&source, place.path()).unwrap();
    assert_eq!((written.files, written.bytes), (2, 8));
    let names: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn nothing_that_is_there_is_written_to_or_followed() {
    let place = tempfile::tempdir().unwrap();
    let victim = tempfile::tempdir().unwrap();
    fs::write(victim.path().join("a"), "mine").unwrap();
    let source = Model::new(small(), Keeps::InMemory);

    // Where it is going to write: the symlink goes, what it points to stays.
    symlink(victim.path(), place.path().join(".tree.partial")).unwrap();
    write(&source, place.path()).unwrap();
    assert_eq!(fs::read(victim.path().join("a")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);

    // Where it is to appear.
    let inode = place.path().join("tree").metadata().unwrap().ino();
    assert!(write(&source, place.path()).is_err());
    assert_eq!(place.path().join("tree").metadata().unwrap().ino(), inode);
}

#[test]
fn a_name_that_leads_out_is_refused() {
    for name in ["..", ".", "", "../out", "/out"] {
        let place = tempfile::tempdir().unwrap();
        let source = Model::new(Tree::directory([(name, small())]), Keeps::InMemory);
        assert!(write(&source, place.path()).is_err(), "{name:?}");
        let found: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
