use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::snapshot::testing::{Keeps, Model, Tree, any_directory, shown};

const OWNER: Owner = Owner { uid: 7, gid: 8 };

fn view(root: Tree, keeps: Keeps) -> View<Model> {
    view_of(Model::new(root, keeps))
}

fn view_of(source: Model) -> View<Model> {
    View::new(Snapshot {
        source,
        owner: OWNER,
    })
}

fn find(view: &View<Model>, path: &str) -> FileAttr {
    let mut node = Node::ROOT;
    let mut found = view.attributes(node).unwrap();
    for name in path.split('/') {
        found = view.look_up(node, OsStr::new(name)).unwrap();
        node = Node(found.ino.0);
    }
    found
}

/// As a program would, in pieces of `size` bytes.
fn read(view: &View<Model>, node: Node, size: u32) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let piece = view.read(node, content.len() as u64, size).unwrap();
        if piece.bytes.is_empty() {
            return content;
        }
        content.extend_from_slice(&piece.bytes);
    }
}

/// The whole tree, found by listing, as the kernel would see it.
fn walk(view: &View<Model>, node: Node, size: u32) -> Tree {
    let attributes = view.attributes(node).unwrap();
    assert_eq!((attributes.uid, attributes.gid), (OWNER.uid, OWNER.gid));
    assert_eq!(attributes.mtime, Model::time(node));
    let tree = match (attributes.kind, attributes.perm) {
        (FileType::Directory, 0o755) => Tree::Directory(list(view, node, size)),
        (FileType::RegularFile, 0o644) => Tree::Plain(read(view, node, size)),
        (FileType::RegularFile, 0o755) => Tree::Executable(read(view, node, size)),
        (FileType::Symlink, 0o777) => Tree::Symlink(view.read_link(node).unwrap()),
        other => panic!("{other:?}"),
    };
    if let Tree::Plain(content) | Tree::Executable(content) | Tree::Symlink(content) = &tree {
        assert_eq!(attributes.size, content.len() as u64);
    }
    tree
}

fn list(view: &View<Model>, node: Node, size: u32) -> BTreeMap<OsString, Tree> {
    let mut entries = BTreeMap::new();
    let mut offset = 0;
    loop {
        // Room for two entries in each answer.
        let mut taken = Vec::new();
        view.list(node, offset, |child| {
            if taken.len() == 2 {
                return Taken::Full;
            }
            taken.push((child.name.to_owned(), child.node, child.next));
            Taken::Yes
        })
        .unwrap();
        let Some((_, _, next)) = taken.last() else {
            return entries;
        };
        offset = *next;
        for (name, child, _) in taken {
            assert_eq!(view.look_up(node, &name).unwrap().ino.0, child.0);
            let earlier = entries.insert(name.clone(), walk(view, child, size));
            assert_eq!(earlier, None, "{} twice", shown(&name));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shows_the_tree_as_it_is(
        tree in any_directory(),
        size in 1..2 * MAX_READ,
        keeps in prop_oneof![Just(Keeps::InMemory), Just(Keeps::InFiles)],
    ) {
        // Small pieces of large files take long.
        let size = size.max(1 << 16);
        let view = view(tree.clone(), keeps);
        prop_assert_eq!(walk(&view, Node::ROOT, size), tree);
    }
}

#[test]
fn reads_any_range() {
    for keeps in [Keeps::InMemory, Keeps::InFiles] {
        let tree = Tree::directory([("file", Tree::plain("0123456789"))]);
        let view = view(tree, keeps);
        let node = Node(find(&view, "file").ino.0);
        let read = |offset, size| view.read(node, offset, size).unwrap().bytes.to_vec();
        assert_eq!(read(0, 4), b"0123");
        assert_eq!(read(8, 4), b"89");
        assert_eq!(read(10, 4), b"");
        assert_eq!(read(u64::MAX, u32::MAX), b"");
    }
}

#[test]
fn content_read_in_pieces_is_asked_for_once() {
    let tree = Tree::directory([
        ("large", Tree::Plain(vec![1; 1 << 20])),
        ("small", Tree::plain("small")),
    ]);
    let view = view(tree, Keeps::InMemory);
    let large = Node(find(&view, "large").ino.0);
    assert_eq!(read(&view, large, 4096).len(), 1 << 20);
    assert_eq!(view.source.asked.load(Ordering::Relaxed), 1);

    let small = Node(find(&view, "small").ino.0);
    view.read(small, 0, 4096).unwrap();
    assert_eq!(view.source.asked.load(Ordering::Relaxed), 2);
}

#[test]
fn a_wrong_size_is_put_right_by_the_first_read() {
    for (told, size) in [(0, Size::Longer), (3, Size::Longer), (100, Size::Shorter)] {
        let tree = Tree::directory([("file", Tree::plain("0123456789"))]);
        let mut source = Model::new(tree, Keeps::InMemory);
        source.wrong.insert(Node(2), told);
        let view = view_of(source);
        assert_eq!(find(&view, "file").size, told);

        let first = view.read(Node(2), 0, 4096).unwrap();
        assert_eq!(&*first.bytes, b"0123456789");
        assert_eq!(first.size, size);
        assert_eq!(find(&view, "file").size, 10);
        assert_eq!(view.read(Node(2), 0, 4096).unwrap().size, Size::AsTold);
    }
}

#[test]
fn says_why_there_is_no_answer() {
    let tree = Tree::directory([
        ("file", Tree::plain("")),
        ("lost", Tree::plain("lost")),
        ("link", Tree::Symlink(b"file".to_vec())),
    ]);
    let mut source = Model::new(tree, Keeps::InMemory);
    source.lost.push(Node(4));
    let view = view_of(source);
    let (file, link, lost) = (Node(2), Node(3), Node(4));
    assert_eq!(find(&view, "lost").size, 4);
    let refused = |answer: Answer<()>| answer.unwrap_err();

    let absent = view.look_up(Node::ROOT, OsStr::new("nothing"));
    assert_eq!(refused(absent.map(drop)), Refusal::Absent);
    let below_file = view.look_up(file, OsStr::new("name"));
    assert_eq!(refused(below_file.map(drop)), Refusal::WrongKind);
    let unknown = view.attributes(Node(99));
    assert_eq!(refused(unknown.map(drop)), Refusal::UnknownNode);
    for wrong in [Node::ROOT, link] {
        let read = view.read(wrong, 0, 10);
        assert_eq!(refused(read.map(drop)), Refusal::WrongKind);
    }
    let linked = view.read_link(file);
    assert_eq!(refused(linked.map(drop)), Refusal::WrongKind);
    let read = view.read(lost, 0, 10);
    assert_eq!(refused(read.map(drop)), Refusal::Unavailable);
    let listed = view.list(file, 0, |_| Taken::Yes);
    assert_eq!(refused(listed), Refusal::WrongKind);
}
