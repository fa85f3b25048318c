//! Trees made of other trees and changes.

use std::fs;
use std::io;

use gix::ObjectId;
use proptest::prelude::*;
use wardian_git::confined::{Change, Content, Mode};

use crate::fixture::{Fixture, as_each_user};
use crate::view;

fn put<'a>(path: &str, mode: Mode, bytes: &'a [u8]) -> Change<&'a [u8]> {
    Change::Put {
        path: path.into(),
        mode,
        content: Content::Bytes {
            length: bytes.len() as u64,
            reader: bytes,
        },
    }
}

fn make(fixture: &Fixture, base: Option<ObjectId>, changes: Vec<Change<&[u8]>>) -> ObjectId {
    let scratch = fixture.root().join("scratch");
    fs::create_dir_all(&scratch).unwrap();
    let view = view(fixture).writing_to(&scratch);
    let git = fixture.git.on(&view);
    git.tree_with(base, changes.into_iter().map(Ok)).unwrap()
}

#[test]
fn a_tree_is_what_git_would_have_written() {
    as_each_user("trees::a_tree_is_what_git_would_have_written", || {
        for format in ["sha1", "sha256"] {
            let fixture = Fixture::of_format(format);
            let session = &fixture.session;
            let base = session.id("HEAD^{tree}");
            let blob = session.id("HEAD:README");
            let big = vec![7; 3 << 20];
            let odd = "odd \"\\\u{1f980}\n\t\u{7f} name";
            let changes = vec![
                Change::Remove { path: "src".into() },
                put("run", Mode::Executable, b"#!/bin/sh\n"),
                put(odd, Mode::File, b""),
                put("link", Mode::Symlink, b"/etc/passwd"),
                put("deep/er/big", Mode::File, &big),
                Change::Put {
                    path: "copy".into(),
                    mode: Mode::File,
                    content: Content::Object(blob),
                },
            ];
            let tree = make(&fixture, Some(base), changes);
            session.git(&["rm", "-rq", "src"]);
            session.write("run", "#!/bin/sh\n");
            session.git(&["add", "run"]);
            session.git(&["update-index", "--chmod=+x", "run"]);
            session.write(odd, "");
            std::os::unix::fs::symlink("/etc/passwd", session.path("link")).unwrap();
            session.write("deep/er/big", &big);
            session.write("copy", "first\n");
            session.git(&["-c", "core.fileMode=false", "add", "--all"]);
            assert_eq!(session.git(&["write-tree"]), tree.to_string());
            // Nothing was written anywhere else.
            assert!(
                !fixture
                    .user
                    .try_git(&["cat-file", "-e", &tree.to_string()])
                    .0
            );
        }
    });
}

#[test]
fn an_empty_and_an_unchanged_tree() {
    let fixture = Fixture::new();
    let base = fixture.session.id("HEAD^{tree}");
    assert_eq!(make(&fixture, Some(base), Vec::new()), base);
    assert_eq!(
        make(&fixture, None, Vec::new()),
        ObjectId::empty_tree(gix::hash::Kind::Sha1)
    );
}

#[test]
fn a_file_that_shrinks_meanwhile_is_an_error() {
    let fixture = Fixture::new();
    let scratch = fixture.root().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let view = view(&fixture).writing_to(&scratch);
    let change = Change::Put {
        path: "a".into(),
        mode: Mode::File,
        content: Content::Bytes {
            length: 10,
            reader: &b"short"[..],
        },
    };
    let git = fixture.git.on(&view);
    let error = git.tree_with(None, [Ok(change)]).unwrap_err();
    assert!(error.to_string().contains("became shorter"), "{error}");
    let failed: io::Result<Change<&[u8]>> = Err(io::Error::other("cannot be read"));
    let error = git.tree_with(None, [failed]).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Content cannot end its own length, nor a path its quotes.
    #[test]
    fn any_path_and_content(
        files in proptest::collection::btree_map(
            "[a-z\"\\\\ \\n\\t\u{80}-\u{ff}]{1,12}",
            proptest::collection::vec(any::<u8>(), 0..200),
            1..12,
        )
    ) {
        let fixture = Fixture::new();
        let changes = files.iter().map(|(path, bytes)| put(path, Mode::File, bytes)).collect();
        let tree = make(&fixture, None, changes);
        let session = &fixture.session;
        session.git(&["rm", "-rqf", "."]);
        for (path, bytes) in &files {
            session.write(path, bytes);
        }
        session.git(&["add", "--all"]);
        prop_assert_eq!(session.git(&["write-tree"]), tree.to_string());
    }
}
