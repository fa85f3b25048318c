//! What a snapshot shows is what git would have written to disk.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use wardian_filesystem::snapshot::{Content, Node, Refusal, Source};
use wardian_git::snapshot::{AutoCrlf, Conversion, Eol, HeadTree, Trouble};

use crate::fixture::{Entry, Repository, assert_same, entries, git, noise};

fn node(tree: &HeadTree, path: &str) -> Node {
    path.split('/').fold(Node::ROOT, |directory, name| {
        tree.look_up(directory, OsStr::new(name)).unwrap()
    })
}

fn read(tree: &HeadTree, path: &str) -> Result<Vec<u8>, Refusal> {
    let content = tree.content(node(tree, path))?;
    let mut bytes = vec![0; content.size() as usize];
    assert_eq!(content.read_at(0, &mut bytes)?, bytes.len());
    Ok(bytes)
}

fn size(tree: &HeadTree, path: &str) -> u64 {
    tree.facts(node(tree, path)).unwrap().size
}

/// Everything that a tree can have.
fn rich(format: &'static str) -> Repository {
    let repository = Repository::with_format(format);
    repository.write("README", "read me\n");
    repository.write("empty", "");
    repository.write_executable("bin/run", "#!/bin/sh\necho run\n");
    repository.write("lib/a", "a");
    repository.write("lib-x", "x");
    repository.write("lib.rs", "rs");
    repository.write(&format!("{}deep", "d/".repeat(150)), "deep");
    repository.write("name with space", "s");
    repository.write("new\nline", "n");
    repository.write("quote\"'\\", "q");
    repository.write("crlf-in-git.dat", "a\r\nb\r\n");
    repository.write("large/noise", noise(5 << 20));
    repository.write("large/zeros", vec![0; 20 << 20]);
    repository.link("link", "README");
    repository.link("lib/up", "../../outside");
    let name = OsString::from_vec(b"not\xffutf8".to_vec());
    fs::write(repository.worktree().join(name), "bytes").unwrap();
    repository.commit();
    repository
}

fn assert_as_checked_out(repository: &Repository, conversion: Conversion) {
    let (tree, troubles) = repository.snapshot_with(&repository.base(), conversion);
    let shown = repository.materialised(&tree);
    assert_same(&shown, &entries(&repository.worktree()));
    assert_eq!(troubles.all(), []);
    assert_sizes(&tree, Node::ROOT);
}

/// The size of each file is that of its content, before it is read.
fn assert_sizes(tree: &HeadTree, directory: Node) {
    let mut children = Vec::new();
    tree.list(directory, 0, &mut |child| {
        children.push(child.node);
        wardian_filesystem::snapshot::Taken::Yes
    })
    .unwrap();
    for child in children {
        match tree.content(child) {
            Ok(content) => assert_eq!(tree.facts(child).unwrap().size, content.size()),
            Err(_) => assert_sizes(tree, child),
        }
    }
}

#[test]
fn files_are_as_checked_out() {
    for format in ["sha1", "sha256"] {
        let repository = rich(format);
        assert_as_checked_out(&repository, Conversion::default());

        repository.git(&["gc", "-q"]);
        assert_as_checked_out(&repository, Conversion::default());

        for version in ["2", "3", "4"] {
            repository.git(&["update-index", "--index-version", version]);
            repository.git(&["update-index", "--refresh"]);
            assert_as_checked_out(&repository, Conversion::default());
        }
    }
}

#[test]
fn a_large_file_that_is_a_difference_to_another_is_whole() {
    let repository = Repository::new();
    let mut content = noise(6 << 20);
    repository.write("one", &content);
    content[1 << 20] ^= 1;
    content.extend_from_slice(b"more");
    repository.write("other", &content);
    repository.commit();
    repository.git(&["repack", "-q", "-a", "-d", "-f"]);
    let stored = repository.git(&[
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(deltabase)",
    ]);
    assert!(
        stored.lines().any(|base| !base.starts_with("000")),
        "control"
    );
    assert_as_checked_out(&repository, Conversion::default());
}

#[test]
fn large_files_are_not_held_in_memory() {
    let repository = rich("sha1");
    let (tree, _) = repository.snapshot();
    for path in ["large/noise", "large/zeros"] {
        let content = tree.content(node(&tree, path)).unwrap();
        assert!(matches!(content, Content::File { .. }), "{path}");
    }
    let names: Vec<_> = fs::read_dir(repository.state()).unwrap().collect();
    // `base.json` and `base.index`.
    assert_eq!(names.len(), 2, "files without a name: {names:?}");
}

#[test]
fn line_endings_encodings_and_keywords_are_as_checked_out() {
    let repository = Repository::new();
    repository.write(
        ".gitattributes",
        "*.txt text\n*.bat text eol=crlf\n*.sh text eol=lf\n*.id ident\n*.bin -text\n\
         *.latin text working-tree-encoding=ISO-8859-1\n[attr]dos text eol=crlf\n*.dos dos\n\
         *.u16 text working-tree-encoding=UTF-16\n*.le text working-tree-encoding=utf-16le\n\
         *.be text working-tree-encoding=UTF-16BE\n*.bom text working-tree-encoding=UTF-16LE-BOM\n\
         *.jp text working-tree-encoding=Shift_JIS\n",
    );
    let units = |order: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    };
    let text = "gr\u{fc}n \u{1f600}\n";
    let marked = format!("\u{feff}{text}");
    repository.write("a.u16", units(u16::to_le_bytes, &marked));
    repository.write("a.le", units(u16::to_le_bytes, text));
    repository.write("a.be", units(u16::to_be_bytes, text));
    repository.write("a.bom", units(u16::to_le_bytes, &marked));
    repository.write("a.jp", b"\x93\xfa\x96\x7b\n");
    repository.write("a.txt", "one\ntwo\n");
    repository.write("a.bat", "one\ntwo\n");
    repository.write("a.sh", "one\ntwo\n");
    repository.write(
        "a.id",
        "$Id$ and $Idea$ $Id: old $\n$Id: by someone else $\n",
    );
    repository.write("a.bin", "one\ntwo\n");
    repository.write("a.dos", "one\n");
    repository.write("a.latin", b"caf\xe9\n");
    repository.write("sub/.gitattributes", "*.txt -text\n*.id -ident\n");
    repository.write("sub/a.txt", "one\n");
    repository.write("sub/a.id", "$Id$\n");
    repository.write("other", "one\ntwo\n");
    repository.write("zero", "\0\n");
    for (settings, conversion) in [
        (["input", "lf"], (AutoCrlf::Input, Eol::Lf)),
        (["false", "native"], (AutoCrlf::Off, Eol::Native)),
        (["off", "crlf"], (AutoCrlf::Off, Eol::Crlf)),
        (["Yes", "crlf"], (AutoCrlf::On, Eol::Crlf)),
    ] {
        repository.git(&["config", "core.autocrlf", settings[0]]);
        repository.git(&["config", "core.eol", settings[1]]);
        repository.commit();
        // Git writes them anew, each as it has to be.
        repository.git(&["rm", "-q", "-r", "--cached", "."]);
        repository.git(&["reset", "-q", "--hard"]);
        let (auto_crlf, eol) = conversion;
        let conversion = Conversion::from_config(Some(settings[0]), Some(settings[1]));
        assert_eq!(conversion, Conversion { auto_crlf, eol });
        assert_as_checked_out(&repository, conversion);
    }
    let bat = fs::read(repository.worktree().join("a.bat")).unwrap();
    assert_eq!(bat, b"one\r\ntwo\r\n", "control");
}

#[test]
fn files_that_the_index_has_never_seen_on_disk_have_the_time_of_the_start() {
    let repository = Repository::new();
    repository.write("file", "12345");
    repository.write(".gitattributes", "*.bat text eol=crlf\n");
    repository.write("a.bat", "one\n");
    repository.write("empty", "");
    repository.link("link", "file");
    repository.commit();
    let index = repository.state().join("base.index");
    let variable = ("GIT_INDEX_FILE", &index);
    let read_tree = crate::fixture::git_command(&repository.worktree(), &["read-tree", "HEAD"])
        .env(variable.0, variable.1)
        .status();
    assert!(read_tree.unwrap().success());
    let base = repository.base();
    let (tree, _) = repository.snapshot_of_base_index(&base, Conversion::default());
    assert_eq!(size(&tree, "file"), 5);
    assert_eq!(size(&tree, "a.bat"), 5);
    assert_eq!(size(&tree, "empty"), 0);
    assert_eq!(size(&tree, "link"), 4);
    let start = fs::metadata(repository.state().join("base.json"));
    let start = start.unwrap().modified().unwrap();
    for node in [node(&tree, "file"), Node::ROOT] {
        assert_eq!(tree.facts(node).unwrap().modified, start);
    }
}

#[test]
fn objects_may_be_packed_anew_meanwhile() {
    let repository = rich("sha1");
    let (tree, troubles) = repository.snapshot();
    assert_eq!(read(&tree, "README").unwrap(), b"read me\n");
    repository.git(&["repack", "-q", "-a", "-d"]);
    repository.git(&["prune-packed"]);
    assert_eq!(read(&tree, "lib/a").unwrap(), b"a");
    repository.git(&["repack", "-q", "-a", "-d", "-f", "--depth=1"]);
    repository.git(&["repack", "-q", "-a", "-d", "--write-midx"]);
    assert_eq!(read(&tree, "lib.rs").unwrap(), b"rs");
    assert_eq!(read(&tree, "large/noise").unwrap(), noise(5 << 20));
    assert_eq!(troubles.all(), []);
}

#[test]
fn objects_of_other_repositories_are_found() {
    let original = rich("sha1");
    let shared = Repository::new();
    let url = original.worktree();
    shared.git(&["fetch", "-q", url.to_str().unwrap(), "main"]);
    let alternates = shared.git_dir().join("objects/info/alternates");
    fs::write(
        &alternates,
        original.git_dir().join("objects").to_str().unwrap(),
    )
    .unwrap();
    shared.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    shared.git(&["repack", "-q", "-a", "-d", "-l"]);
    shared.git(&["prune-packed"]);
    let count = shared.git(&["count-objects"]);
    assert!(count.starts_with("0 objects"), "control: {count}");

    let mut base = shared.base();
    base.objects.push(original.git_dir().join("objects"));
    let (tree, _) = shared.snapshot_with(&base, Conversion::default());
    assert_same(&shared.materialised(&tree), &entries(&shared.worktree()));
    // Whether or not the first directory still names the others.
    fs::remove_file(&alternates).unwrap();
    let (tree, _) = shared.snapshot_of_base_index(&base, Conversion::default());
    assert_same(&shared.materialised(&tree), &entries(&shared.worktree()));
}

#[test]
fn what_the_repository_lacks_cannot_be_read_and_is_said_once() {
    let repository = Repository::new();
    for name in ["fine", "lost", "lost too"] {
        repository.write(name, name);
    }
    repository.commit();
    for name in ["lost", "lost too"] {
        let id = repository.git(&["rev-parse", &format!("HEAD:{name}")]);
        remove_object(&repository, &id);
    }
    let (tree, troubles) = repository.snapshot();
    assert_eq!(size(&tree, "lost"), 4);
    assert_eq!(read(&tree, "fine").unwrap(), b"fine");
    assert_eq!(read(&tree, "lost"), Err(Refusal::Unavailable));
    assert_eq!(read(&tree, "lost too"), Err(Refusal::Unavailable));
    assert_eq!(read(&tree, "lost"), Err(Refusal::Unavailable));
    let troubles = troubles.all();
    let [Trouble::Missing { path, .. }] = &troubles[..] else {
        panic!("{troubles:?}");
    };
    assert_eq!(path, "lost");
}

fn remove_object(repository: &Repository, id: &str) {
    let objects = repository.git_dir().join("objects");
    fs::remove_file(objects.join(&id[..2]).join(&id[2..])).unwrap();
}

#[test]
fn a_damaged_object_costs_the_one_file() {
    for large in [10, 5 << 20] {
        let repository = Repository::new();
        repository.write("fine", "fine");
        repository.write("hurt", noise(large));
        repository.commit();
        let id = repository.git(&["rev-parse", "HEAD:hurt"]);
        let objects = repository.git_dir().join("objects");
        let path = objects.join(&id[..2]).join(&id[2..]);
        let whole = fs::read(&path).unwrap();
        for damage in [
            &whole[..whole.len() / 2],
            &whole[..1],
            b"",
            b"garbage, all of it",
        ] {
            fs::remove_file(&path).unwrap();
            fs::write(&path, damage).unwrap();
            let (tree, troubles) = repository.snapshot();
            assert_eq!(read(&tree, "hurt"), Err(Refusal::Unavailable));
            assert_eq!(read(&tree, "fine").unwrap(), b"fine");
            assert_eq!(troubles.all().len(), 1);
        }
    }
}

#[test]
fn an_index_that_cannot_be_read_is_said() {
    let repository = Repository::new();
    repository.commit();
    let base = repository.base();
    fs::write(repository.state().join("base.index"), "DIRCgarbage").unwrap();
    let (tree, troubles) = repository.snapshot_of_base_index(&base, Conversion::default());
    for _ in 0..2 {
        let found = tree.look_up(Node::ROOT, OsStr::new("file"));
        assert_eq!(found.unwrap_err(), Refusal::Unavailable);
    }
    assert!(matches!(troubles.all()[..], [Trouble::Index { .. }]));
}

/// Git LFS as far as a clean filter of it goes: keeps what it gets and prints a pointer.
const CLEAN: &str = r#"t=$(mktemp) && cat > $t && id=$(sha256sum < $t | cut -c1-64) &&
    d=.git/lfs/objects/$(echo $id | cut -c1-2)/$(echo $id | cut -c3-4) && size=$(stat -c %s $t) &&
    mkdir -p $d && mv $t $d/$id &&
    printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' $id $size"#;

fn with_lfs() -> Repository {
    let repository = Repository::new();
    repository.git(&["config", "filter.lfs.clean", CLEAN]);
    let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.key filter=secret\n";
    repository.write(".gitattributes", attributes);
    repository.write("a.bin", noise(100_000));
    repository.write("b.txt", "text\n");
    repository.commit();
    let stored = repository.git(&["cat-file", "-p", "HEAD:a.bin"]);
    assert!(stored.starts_with("version"), "control: {stored}");
    repository
}

#[test]
fn files_of_git_lfs_are_those_that_the_repository_has() {
    let repository = with_lfs();
    assert_as_checked_out(&repository, Conversion::default());
}

#[test]
fn files_of_git_lfs_that_are_not_there_are_pointers() {
    let repository = with_lfs();
    let pointer = repository.git(&["cat-file", "-p", "HEAD:a.bin"]) + "\n";
    let id = pointer.split(':').nth(2).unwrap()[..64].to_owned();
    let object = repository.git_dir().join("lfs/objects");
    let object = object.join(&id[..2]).join(&id[2..4]).join(&id);
    let assert_pointer = |why| {
        let (tree, _) = repository.snapshot();
        assert_eq!(size(&tree, "a.bin"), pointer.len() as u64, "{why}");
        assert_eq!(read(&tree, "a.bin").unwrap(), pointer.as_bytes(), "{why}");
    };
    let whole = fs::read(&object).unwrap();
    fs::write(&object, &whole[1..]).unwrap();
    assert_pointer("cut off");

    fs::remove_file(&object).unwrap();
    let elsewhere = repository.path().join("elsewhere");
    fs::write(&elsewhere, &whole).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &object).unwrap();
    assert_pointer("a symlink");

    fs::remove_file(&object).unwrap();
    assert_pointer("nothing");

    // The user's work tree has the pointer, though there is an object.
    fs::write(&object, &whole).unwrap();
    repository.git(&["config", "filter.lfs.smudge", "cat"]);
    repository.git(&["config", "filter.lfs.clean", "cat"]);
    fs::remove_file(repository.worktree().join("a.bin")).unwrap();
    repository.git(&["checkout", "-q", "a.bin"]);
    assert_pointer("as in the work tree");
}

#[test]
fn what_another_program_made_of_a_file_is_not_shown() {
    let repository = Repository::new();
    repository.git(&["config", "filter.secret.clean", "rev"]);
    repository.git(&["config", "filter.secret.smudge", "echo decrypted; rev"]);
    repository.write(".gitattributes", "*.key filter=secret\n");
    repository.write("a.key", "abc\n");
    repository.commit();
    fs::remove_file(repository.worktree().join("a.key")).unwrap();
    repository.git(&["checkout", "-q", "a.key"]);
    let on_disk = fs::read(repository.worktree().join("a.key")).unwrap();
    assert_eq!(on_disk, b"decrypted\nabc\n", "control");

    let (tree, _) = repository.snapshot();
    assert_eq!(size(&tree, "a.key"), 4);
    assert_eq!(read(&tree, "a.key").unwrap(), b"cba\n");
}

#[test]
fn a_sparse_checkout_shows_what_is_in_it() {
    for sparse_index in ["--no-sparse-index", "--sparse-index"] {
        let repository = rich("sha1");
        let set = ["sparse-checkout", "set", "--cone", sparse_index, "lib"];
        repository.git(&set);
        let shown = entries(&repository.worktree());
        assert!(
            !shown.contains_key(&b"bin"[..]) && shown.contains_key(&b"lib"[..]),
            "control"
        );
        assert_as_checked_out(&repository, Conversion::default());
    }
}

#[test]
fn the_place_of_a_submodule_is_an_empty_directory() {
    let inner = rich("sha1");
    let outer = Repository::new();
    let url = inner.worktree();
    let add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];
    outer.git(&[&add[..], &[url.to_str().unwrap(), "modules/inner"]].concat());
    outer.commit();
    let (tree, _) = outer.snapshot();
    let shown = outer.materialised(&tree);
    assert_eq!(shown[&b"modules/inner"[..]], Entry::Directory);
    assert!(!shown.keys().any(|path| path.starts_with(b"modules/inner/")));
    assert!(matches!(shown[&b".gitmodules"[..]], Entry::File { .. }));
}

#[test]
fn a_tree_of_git_internals_is_not_shown() {
    let repository = Repository::new();
    repository.write("file", "text");
    repository.commit();
    let id = repository.git(&["rev-parse", "HEAD:file"]);
    let index = repository.git_dir().join("index");
    // As git itself refuses to write such an index, a name of the same length is replaced.
    let entry = format!("100644,{id},xgit/hooks/pre-commit");
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    let bytes = fs::read(&index).unwrap();
    let at = bytes.windows(5).position(|part| part == b"xgit/").unwrap();
    let mut changed = bytes.clone();
    changed[at] = b'.';
    fs::write(repository.state().join("base.index"), changed).unwrap();
    let base = repository.base();
    let (tree, _) = repository.snapshot_of_base_index(&base, Conversion::default());
    let names: Vec<_> = repository.materialised(&tree).into_keys().collect();
    assert_eq!(names, [b"file"], "{:?}", Path::new("xgit"));
    assert!(tree.look_up(Node::ROOT, OsStr::new(".git")).is_err());
    let listed = git(&repository.worktree(), &["ls-files"]);
    assert!(listed.contains("xgit/hooks/pre-commit"), "control");
}
