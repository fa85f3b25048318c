use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use wardian_linux::userns::{IdMaps, IdRange};

use super::*;

/// `usr` is exported, `outside` lies beside it.
struct Host {
    base: tempfile::TempDir,
    tree: Tree,
}

fn ranges(lines: &[(u32, u32, u32)]) -> Vec<IdRange> {
    let range = |&(inside, outside, length): &(u32, u32, u32)| IdRange {
        inside,
        outside,
        length,
    };
    lines.iter().map(range).collect()
}

impl Host {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir_all(base.path().join("usr/bin")).unwrap();
        fs::create_dir(base.path().join("outside")).unwrap();
        fs::write(base.path().join("outside/secret"), "secret").unwrap();
        fs::write(base.path().join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
        let tree = Tree::new(HostLayer {
            exports: vec![Export::open("usr", &base.path().join("usr")).unwrap()],
            owners: IdMaps {
                uids: ranges(&[(0, 1000, 1), (1, 100_000, 500)]),
                gids: ranges(&[(0, 1000, 1)]),
            },
            max_open: 4,
        });
        Self { base, tree }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.base.path().join("usr").join(path)
    }

    fn find(&self, path: &str) -> Answer<FileAttr> {
        let mut found = self.tree.look_up(TOP, OsStr::new("usr"))?;
        for name in Path::new(path) {
            found = self.tree.look_up(found.ino.0, name)?;
        }
        Ok(found)
    }

    fn read(&self, path: &str) -> Answer<Vec<u8>> {
        let (handle, _) = self.tree.open(self.find(path)?.ino.0)?;
        let bytes = self.tree.read(handle, 0, MAX_READ);
        self.tree.release(handle);
        bytes
    }

    fn names(&self, path: &str, listing: Listing) -> Vec<String> {
        let node = self.find(path).unwrap().ino.0;
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            // Room for one entry in each answer.
            let mut taken = None;
            self.tree
                .list(node, offset, listing, |entry| {
                    if taken.is_some() {
                        return Taken::Full;
                    }
                    taken = Some((entry.name.to_str().unwrap().to_owned(), entry.next));
                    Taken::Yes
                })
                .unwrap();
            let Some((name, next)) = taken else { break };
            names.push(name);
            offset = next;
        }
        names.sort();
        names
    }
}

#[test]
fn shows_files_as_they_are_but_for_owners_and_set_id_bits() {
    let host = Host::new();
    fs::set_permissions(host.path("bin/tool"), fs::Permissions::from_mode(0o6755)).unwrap();
    let found = host.find("bin/tool").unwrap();
    let real = fs::metadata(host.path("bin/tool")).unwrap();
    assert_eq!((found.kind, found.perm), (FileType::RegularFile, 0o755));
    assert_eq!((found.size, found.nlink), (10, 1));
    assert_eq!(found.mtime, real.modified().unwrap());
    assert_eq!(u64::from(found.blksize), real.blksize());
    assert_eq!(host.read("bin/tool").unwrap(), b"#!/bin/sh\n");
    let again = host.tree.attributes(found.ino.0).unwrap();
    assert_eq!((again.ino, again.ctime), (found.ino, found.ctime));
}

#[test]
fn symlinks_are_text() {
    let host = Host::new();
    symlink("../../outside", host.path("bin/out")).unwrap();
    symlink("/etc/passwd", host.path("bin/absolute")).unwrap();
    let out = host.find("bin/out").unwrap();
    assert_eq!(out.kind, FileType::Symlink);
    assert_eq!(host.tree.read_link(out.ino.0).unwrap(), b"../../outside");
    let absolute = host.find("bin/absolute").unwrap().ino.0;
    assert_eq!(host.tree.read_link(absolute).unwrap(), b"/etc/passwd");
    assert_eq!(host.tree.open(absolute), Err(Refusal::WrongKind));
    // The kernel follows them itself; it has no business with names below one.
    assert_eq!(host.find("bin/out/secret"), Err(Refusal::Absent));
    let tool = host.find("bin/tool").unwrap().ino.0;
    assert_eq!(host.tree.read_link(tool), Err(Refusal::WrongKind));
}

#[test]
fn a_directory_that_becomes_a_symlink_leads_nowhere() {
    let host = Host::new();
    let bin = host.find("bin").unwrap().ino.0;
    let tool = host.find("bin/tool").unwrap().ino.0;
    fs::rename(host.path("bin"), host.path("was-bin")).unwrap();
    symlink("../outside", host.path("bin")).unwrap();
    fs::write(host.base.path().join("outside/tool"), "secret").unwrap();
    assert_eq!(
        host.tree.look_up(bin, OsStr::new("secret")),
        Err(Refusal::Absent)
    );
    assert_eq!(host.tree.open(tool), Err(Refusal::Replaced));
    assert_eq!(host.tree.attributes(tool), Err(Refusal::Replaced));
}

/// `/` with these mounts below it, for uid 0 alone.
fn root_with(mounts: &[&str]) -> Tree {
    let export = Export::open("root", Path::new("/")).unwrap();
    Tree::new(HostLayer {
        exports: vec![
            mounts
                .iter()
                .fold(export, |export, point| export.with_mount(Path::new(point))),
        ],
        owners: IdMaps {
            uids: ranges(&[(0, 0, 1)]),
            gids: ranges(&[(0, 0, 1)]),
        },
        max_open: 4,
    })
}

fn names_in(tree: &Tree, node: u64) -> Vec<String> {
    let mut names = Vec::new();
    tree.list(node, 0, Listing::Names, |entry| {
        names.push(entry.name.to_string_lossy().into_owned());
        Taken::Yes
    })
    .unwrap();
    names
}

#[test]
fn mounts_are_closed_unless_they_are_named() {
    // Mounted wherever there is a Linux.
    let [proc, uptime] = ["proc", "uptime"].map(OsStr::new);
    let closed = root_with(&[]);
    let root = closed.look_up(TOP, OsStr::new("root")).unwrap().ino.0;
    assert_eq!(closed.look_up(root, proc), Err(Refusal::Absent));
    assert!(!names_in(&closed, root).contains(&"proc".to_owned()));

    let open = root_with(&["nowhere", "proc"]);
    let root = open.look_up(TOP, OsStr::new("root")).unwrap().ino.0;
    let names = names_in(&open, root);
    assert!(names.contains(&"proc".to_owned()), "{names:?}");
    assert!(!names.contains(&"sys".to_owned()) && !names.contains(&"nowhere".to_owned()));
    let found = open.look_up(root, proc).unwrap();
    assert_eq!(found.kind, FileType::Directory);
    assert!(names_in(&open, found.ino.0).contains(&"uptime".to_owned()));
    let uptime = open.look_up(found.ino.0, uptime).unwrap().ino.0;
    let (handle, _) = open.open(uptime).unwrap();
    assert!(!open.read(handle, 0, 100).unwrap().is_empty());
}

#[test]
fn a_file_can_be_a_mount() {
    let mut host = Host::new();
    let export = Export::open("usr", &host.path("")).unwrap();
    host.tree.exports = vec![export.with_mount(Path::new("bin/tool"))];
    // Replaced underneath, it stays what was mounted.
    fs::rename(host.path("bin/tool"), host.path("bin/old")).unwrap();
    fs::write(host.path("bin/tool"), "what the mount covers").unwrap();
    assert_eq!(host.read("bin/tool").unwrap(), b"#!/bin/sh\n");
    assert_eq!(host.read("bin/tool").unwrap(), b"#!/bin/sh\n");
    assert_eq!(host.find("bin/tool").unwrap().size, 10);
    assert_eq!(host.find("bin/tool/x"), Err(Refusal::Absent));
    assert_eq!(host.names("bin", Listing::Nodes), ["old", "tool"]);
}

#[test]
fn names_that_are_no_names_are_absent() {
    let host = Host::new();
    let bin = host.find("bin").unwrap().ino.0;
    for name in ["", ".", "..", "../../outside/secret", "bin/tool", "a\0b"] {
        assert_eq!(
            host.tree.look_up(bin, OsStr::new(name)),
            Err(Refusal::Absent),
            "{name:?}"
        );
        assert_eq!(
            host.tree.look_up(TOP, OsStr::new(name)),
            Err(Refusal::Absent)
        );
    }
}

#[test]
fn a_replaced_file_is_the_same_node_with_new_content() {
    let host = Host::new();
    let node = host.find("bin/tool").unwrap().ino.0;
    let (old, content) = host.tree.open(node).unwrap();
    assert_eq!(content, Content::New);
    let (again, content) = host.tree.open(node).unwrap();
    assert_eq!(content, Content::Same);

    fs::write(host.path("bin/tool.new"), "new content").unwrap();
    fs::rename(host.path("bin/tool.new"), host.path("bin/tool")).unwrap();
    assert_eq!(host.find("bin/tool").unwrap().ino.0, node);
    let (new, content) = host.tree.open(node).unwrap();
    assert_eq!(content, Content::New);
    assert_eq!(host.tree.read(new, 4, 3).unwrap(), b"con");
    assert_eq!(host.tree.read(old, 0, 100).unwrap(), b"#!/bin/sh\n");
    for handle in [old, again, new] {
        host.tree.release(handle);
    }
    assert_eq!(host.tree.read(old, 0, 1), Err(Refusal::UnknownHandle));
}

#[test]
fn lists_in_pieces() {
    let host = Host::new();
    for name in ["a", "b", "c"] {
        fs::write(host.path("bin").join(name), name).unwrap();
    }
    let expected = ["a", "b", "c", "tool"];
    assert_eq!(host.names("bin", Listing::Names), expected);
    assert_eq!(host.names("bin", Listing::Nodes), expected);
    assert_eq!(host.names("", Listing::Names), ["bin"]);

    let mut seen = Vec::new();
    host.tree
        .list(TOP, 0, Listing::Nodes, |entry| {
            seen.push((entry.name.to_owned(), entry.attributes.ino));
            Taken::Yes
        })
        .unwrap();
    assert_eq!(seen, [("usr".into(), host.find("").unwrap().ino)]);
}

#[test]
fn everything_is_forgotten() {
    let host = Host::new();
    let mut told = BTreeMap::new();
    for path in ["", "bin", "bin/tool"] {
        for _ in 0..3 {
            let mut parent = TOP;
            for name in Path::new("usr").join(path).iter() {
                parent = host.tree.look_up(parent, name).unwrap().ino.0;
                *told.entry(parent).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(host.tree.held(), (3, 0));
    for (node, lookups) in &told {
        host.tree.forget(*node, lookups - 1);
        assert!(host.tree.attributes(*node).is_ok());
        host.tree.forget(*node, 1);
        assert_eq!(host.tree.attributes(*node), Err(Refusal::UnknownNode));
    }
    assert_eq!(host.tree.held(), (0, 0));
    host.tree.forget(TOP, 100);
    assert!(host.tree.attributes(TOP).is_ok());
}

#[test]
fn open_files_share_descriptors_and_are_limited() {
    let host = Host::new();
    let tool = host.find("bin/tool").unwrap().ino.0;
    let handles: Vec<_> = (0..100).map(|_| host.tree.open(tool).unwrap().0).collect();
    assert_eq!(host.tree.held().1, 1);
    for number in 0..4 {
        fs::write(host.path("bin").join(number.to_string()), "x").unwrap();
        let node = host.find(&format!("bin/{number}")).unwrap().ino.0;
        let opened = host.tree.open(node);
        assert_eq!(opened.err(), (number == 3).then_some(Refusal::TooMany));
    }
    for handle in handles {
        host.tree.release(handle);
    }
    assert_eq!(host.tree.held().1, 3);
}

#[test]
fn pipes_and_devices_are_never_opened() {
    let host = Host::new();
    let fifo = host.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let found = host.find("pipe").unwrap();
    assert_eq!(found.kind, FileType::NamedPipe);
    assert_eq!(host.tree.open(found.ino.0), Err(Refusal::WrongKind));
}

#[test]
fn what_this_user_may_not_read_does_not_exist() {
    let host = Host::new();
    fs::create_dir(host.path("private")).unwrap();
    fs::write(host.path("key"), "x").unwrap();
    for path in ["private", "key"] {
        fs::set_permissions(host.path(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Root reads everything: then the same files are all there.
    let (found, listed) = if rustix::process::geteuid().is_root() {
        (true, vec!["bin", "key", "private"])
    } else {
        (false, vec!["bin"])
    };
    assert_eq!(host.find("key").is_ok(), found);
    assert_eq!(host.find("private").is_ok(), found);
    assert_eq!(host.names("", Listing::Names), listed);
}

proptest! {
    /// Whatever is asked, in whatever order: no panic, and nothing of `outside`.
    #[test]
    fn no_request_leaves_the_exports(
        requests in prop::collection::vec((0_u8..8, 0_usize..8, any::<u64>(), ".{0,12}"), 0..60),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let host = Host::new();
        symlink("../../outside", host.path("bin/out")).unwrap();
        let mut nodes = vec![TOP, host.find("").unwrap().ino.0, host.find("bin").unwrap().ino.0];
        let mut handles = vec![0];
        let odd = OsStr::from_bytes(&bytes);
        for (kind, index, number, name) in requests {
            let pick = |from: &[u64]| from.get(index).copied().unwrap_or(number);
            let node = pick(&nodes);
            let handle = pick(&handles);
            match kind {
                0 => {
                    let known = ["usr", "bin", "tool", "out", "..", "secret", &name];
                    for name in known.iter().map(OsStr::new).chain([odd]) {
                        if let Ok(found) = host.tree.look_up(node, name) {
                            prop_assert!(name != "secret" && name != "..");
                            nodes.push(found.ino.0);
                        }
                    }
                }
                1 => host.tree.forget(node, number % 4),
                2 => drop(host.tree.attributes(node)),
                3 => drop(host.tree.read_link(node)),
                4 => handles.extend(host.tree.open(node).map(|(handle, _)| handle)),
                5 => {
                    if let Ok(content) = host.tree.read(handle, number, u32::MAX) {
                        prop_assert!(content.len() <= 10);
                    }
                }
                6 => drop(host.tree.list(node, number % 9, Listing::Nodes, |entry| {
                    assert_ne!(entry.name, "secret");
                    Taken::Yes
                })),
                _ => {
                    host.tree.release(handle);
                    drop(host.tree.capacity(node));
                }
            }
        }
    }
}
