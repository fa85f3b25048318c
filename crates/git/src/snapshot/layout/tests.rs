use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::bstr::BString;
use gix::index::entry::Stat;
use gix::index::entry::stat::Time;
use proptest::prelude::*;

use super::*;

fn layout_of(entries: impl IntoIterator<Item = (BString, Mode, Flags)>) -> Layout {
    let mut index = State::new(gix::hash::Kind::Sha1);
    for (number, (path, mode, flags)) in (100..).zip(entries) {
        let stat = Stat {
            ino: number,
            ..Stat::default()
        };
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        index.dangerously_push_entry(stat, id, flags, mode, path.as_ref());
    }
    Layout::new(index).unwrap()
}

fn files<'a>(paths: impl IntoIterator<Item = &'a str>) -> Layout {
    let entry = |path: &str| (path.into(), Mode::FILE, Flags::empty());
    layout_of(paths.into_iter().map(entry))
}

fn directory(layout: &Layout, node: Node) -> Directory {
    match layout.find(node) {
        Some(Found::Directory(directory)) => directory,
        other => panic!("{other:?}"),
    }
}

/// All paths by walking, directories with a slash at the end; each name is looked up as well.
fn walk(layout: &Layout) -> Vec<String> {
    let mut paths = Vec::new();
    walk_below(layout, Node::ROOT, "", &mut paths);
    paths
}

fn walk_below(layout: &Layout, node: Node, prefix: &str, paths: &mut Vec<String>) {
    let directory = directory(layout, node);
    let mut from = 0;
    // From one to the next, as the kernel may ask.
    while let Some((name, node, next)) = layout.list(directory, from).next() {
        assert_eq!(layout.look_up(directory, name), Some(node), "{name}");
        let path = format!("{prefix}{name}");
        match layout.find(node) {
            Some(Found::File(position)) => {
                assert_eq!(layout.path(position), path.as_str());
                paths.push(path);
            }
            Some(Found::Directory(_)) => {
                let path = path + "/";
                paths.push(path.clone());
                walk_below(layout, node, &path, paths);
            }
            None => panic!("{path} leads nowhere"),
        }
        from = next;
    }
}

#[test]
fn a_directory_is_found_behind_names_that_begin_with_its_own() {
    let layout = files([
        "a", "lib!x", "lib-x", "lib.rs", "lib/a", "lib/b/c", "lib0", "z",
    ]);
    let expected = [
        "a", "lib!x", "lib-x", "lib.rs", "lib/", "lib/a", "lib/b/", "lib/b/c", "lib0", "z",
    ];
    assert_eq!(walk(&layout), expected);
    let top = directory(&layout, Node::ROOT);
    for name in ["li", "lib!", "lib-", "lib/a", "lib/", "", "zz", "."] {
        assert_eq!(layout.look_up(top, name.into()), None, "{name:?}");
    }
}

#[test]
fn an_empty_index_is_an_empty_directory() {
    assert_eq!(walk(&files([])), [""; 0]);
}

#[test]
fn the_place_of_a_submodule_is_an_empty_directory() {
    let entry = |path: &str, mode| (path.into(), mode, Flags::empty());
    let layout = layout_of([
        entry("a/module", Mode::COMMIT),
        entry("a/zone", Mode::FILE),
        entry("module", Mode::COMMIT),
    ]);
    assert_eq!(walk(&layout), ["a/", "a/module/", "a/zone", "module/"]);
    let module = layout.look_up(directory(&layout, Node::ROOT), "module".into());
    let module = directory(&layout, module.unwrap());
    assert_eq!(layout.look_up(module, "".into()), None);
    assert_eq!(layout.look_up(module, "x".into()), None);
}

#[test]
fn what_is_not_in_the_work_tree_is_not_shown() {
    let conflict = Flags::from_stage(Stage::Ours);
    let layout = layout_of([
        ("a/sparse".into(), Mode::FILE, Flags::SKIP_WORKTREE),
        ("b/sparse".into(), Mode::FILE, Flags::SKIP_WORKTREE),
        ("b/there".into(), Mode::FILE, Flags::empty()),
        ("conflict".into(), Mode::FILE, conflict),
        ("folded/".into(), Mode::DIR, Flags::SKIP_WORKTREE),
    ]);
    assert_eq!(walk(&layout), ["b/", "b/there"]);
}

#[test]
fn what_git_would_not_write_is_not_shown() {
    let layout = files([
        "../out",
        "./dot",
        ".GIT/hooks/pre-commit",
        ".git/config",
        "/root",
        "a//b",
        "a/../b",
        "a/.git/config",
        "a/b\0c",
        "a/fine",
        "a/fine/too",
        "b/",
    ]);
    assert_eq!(walk(&layout), ["a/", "a/fine"]);
}

#[test]
fn what_is_out_of_order_is_not_shown() {
    assert_eq!(walk(&files(["b", "a", "c", "c"])), ["b", "c"]);
}

#[test]
fn hard_links_are_told_apart_and_git_sees_their_number() {
    let stat = Stat {
        ino: 77,
        ..Stat::default()
    };
    let mut index = State::new(gix::hash::Kind::Sha1);
    for path in ["one", "other"] {
        let id = ObjectId::null(gix::hash::Kind::Sha1);
        index.dangerously_push_entry(stat, id, Flags::empty(), Mode::FILE, path.into());
    }
    let layout = Layout::new(index).unwrap();
    let nodes: BTreeSet<_> = (0..2).map(|at| layout.node_of_file(at)).collect();
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        assert_eq!(node.0 & u64::from(u32::MAX), 77);
        assert_eq!(layout.find(Node(node.0 + 1)), None);
    }
    for unknown in [0, 2, 1 << 32, 9 << 32 | 77] {
        assert_eq!(layout.find(Node(unknown)), None);
    }
}

#[test]
fn size_and_times_are_what_the_index_knows() {
    let mut index = State::new(gix::hash::Kind::Sha1);
    let null = ObjectId::null(gix::hash::Kind::Sha1);
    let empty = ObjectId::empty_blob(gix::hash::Kind::Sha1);
    let stat = |seconds, size| Stat {
        mtime: Time {
            secs: seconds,
            nsecs: 5,
        },
        ctime: Time {
            secs: seconds + 1,
            nsecs: u32::MAX,
        },
        size,
        ..Stat::default()
    };
    for (path, stat, id) in [
        ("a", stat(1000, 7), null),
        ("b", stat(1000, 0), null),
        ("c", stat(1000, 0), empty),
        ("d", stat(0, 0), null),
    ] {
        index.dangerously_push_entry(stat, id, Flags::empty(), Mode::FILE, path.into());
    }
    let layout = Layout::new(index).unwrap();
    let sizes: Vec<_> = (0..4).map(|at| layout.size(at)).collect();
    assert_eq!(sizes, [Some(7), None, Some(0), None]);
    let modified = UNIX_EPOCH + Duration::new(1000, 5);
    let changed = UNIX_EPOCH + Duration::new(1001, 999_999_999);
    assert_eq!(layout.times(0), Some((modified, changed)));
    assert_eq!(layout.times(3), None);
}

proptest! {
    #[test]
    fn shows_just_the_paths_of_the_index(
        paths in prop::collection::btree_set("[ab.!0]{1,3}(/[ab.!0]{1,3}){0,4}", 0..40),
    ) {
        // A file gives way to none that lies below it.
        let mut expected = BTreeMap::new();
        for path in &paths {
            let mut above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
            let named = path.split('/').all(|name| name != "." && name != "..");
            if named && !above.clone().any(|above| expected.get(above) == Some(&Mode::FILE)) {
                for above in above.by_ref() {
                    expected.insert(above.to_owned(), Mode::DIR);
                }
                expected.insert(path.clone(), Mode::FILE);
            }
        }
        let expected: BTreeSet<_> = expected
            .into_iter()
            .map(|(path, mode)| if mode == Mode::DIR { path + "/" } else { path })
            .collect();
        let found = walk(&files(paths.iter().map(String::as_str)));
        prop_assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected);
        prop_assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len());
    }
}
