use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// A root with a home, as the last program may have left it.
struct Inside(tempfile::TempDir);

impl Inside {
    fn new() -> Self {
        let inside = Self(tempfile::tempdir().unwrap());
        for directory in ["home/ada", "etc", "run", "elsewhere"] {
            fs::create_dir_all(inside.at(directory)).unwrap();
        }
        inside
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn place(&self, path: &str, text: &str, occupied: Occupied) -> Result<(), PlaceError> {
        let mut parcel = Parcel::new().unwrap();
        let label = Label {
            path: path.into(),
            mode: 0o640,
            occupied,
        };
        parcel.add(label, text.as_bytes()).unwrap();
        let root = fs::File::open(self.0.path()).unwrap();
        let placer = Placer {
            root: root.as_fd(),
            home: Path::new("/home/ada"),
            owner: None,
        };
        placer.unpack(&parcel)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(directory)).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

const ALL: [Occupied; 3] = [Occupied::Leave, Occupied::Replace, Occupied::Precede];

#[test]
fn files_are_placed_with_their_directories() {
    for occupied in ALL {
        let inside = Inside::new();
        for path in ["/home/ada/.a/b/c", "/etc/d/e", "/run/f"] {
            inside.place(path, "text\n", occupied).unwrap();
            assert_eq!(inside.text(&path[1..]), "text\n");
            let mode = fs::metadata(inside.at(&path[1..])).unwrap().permissions();
            assert_eq!(mode.mode() & 0o7777, 0o640);
        }
        assert_eq!(inside.names("home/ada/.a/b"), ["c"]);
    }
}

#[test]
fn only_where_files_belong() {
    let inside = Inside::new();
    for path in [
        "/elsewhere/x",
        "/home/adam/x",
        "/home/ada",
        "/home/ada/../x",
        "/etc/../elsewhere/x",
        "/run",
        "relative",
        "/",
    ] {
        let error = inside.place(path, "x", Occupied::Replace).unwrap_err();
        assert!(matches!(error, PlaceError::NoPlace(_)), "{path}: {error}");
    }
    assert!(inside.names("elsewhere").is_empty());
}

#[test]
fn what_is_there_is_kept_replaced_or_preceded() {
    let inside = Inside::new();
    let place = |text: &str, occupied| inside.place("/etc/f", text, occupied).unwrap();
    place("first", Occupied::Leave);
    place("second", Occupied::Leave);
    assert_eq!(inside.text("etc/f"), "first");
    place("third", Occupied::Replace);
    assert_eq!(inside.text("etc/f"), "third");

    let block = |text: &str| format!("{}\n{text}\n{}\n", BLOCK.0, BLOCK.1);
    place(&block("one"), Occupied::Precede);
    assert_eq!(inside.text("etc/f"), format!("{}\nthird\n", block("one")));
    let own = format!("mine\n{}\nmore\n", inside.text("etc/f"));
    fs::write(inside.at("etc/f"), own).unwrap();
    // The program wrote above and below; the block is renewed, and again the first.
    for _ in 0..2 {
        place(&block("two"), Occupied::Precede);
        let text = inside.text("etc/f");
        assert_eq!(text, format!("{}\nmine\n\n\nthird\n\nmore\n", block("two")));
    }
    // Bytes that are no text survive.
    fs::write(inside.at("etc/f"), b"\xff\xfe").unwrap();
    place(&block("three"), Occupied::Precede);
    assert!(
        fs::read(inside.at("etc/f"))
            .unwrap()
            .ends_with(b"\n\xff\xfe\n")
    );
    assert_eq!(inside.names("etc"), ["f"]);
}

/// The control is what an ordinary write does with the same link.
#[test]
fn no_symlink_is_followed() {
    for occupied in ALL {
        for (link, path) in [(".a/file", ".a/file"), (".a", ".a/file")] {
            let inside = Inside::new();
            let home = inside.at("home/ada");
            fs::create_dir_all(home.join(link).parent().unwrap()).unwrap();
            let target = if link == path {
                inside.at("elsewhere/victim")
            } else {
                inside.at("elsewhere")
            };
            symlink(&target, home.join(link)).unwrap();
            let reached = inside.at(if link == path {
                "elsewhere/victim"
            } else {
                "elsewhere/file"
            });
            fs::write(home.join(path), "written by following").unwrap();
            assert_eq!(
                fs::read_to_string(&reached).unwrap(),
                "written by following"
            );

            let outcome = inside.place(&format!("/home/ada/{path}"), "new\n", occupied);
            outcome.unwrap();
            assert_eq!(
                fs::read_to_string(&reached).unwrap(),
                "written by following"
            );
            assert_eq!(inside.names("elsewhere").len(), 1);
            let is_link = fs::symlink_metadata(home.join(link)).unwrap().is_symlink();
            assert_eq!(is_link, occupied == Occupied::Leave);
            if occupied != Occupied::Leave {
                assert_eq!(fs::read_to_string(home.join(path)).unwrap(), "new\n");
            }
        }
    }
}

#[test]
fn odd_things_are_moved_aside_and_not_opened() {
    for occupied in [Occupied::Replace, Occupied::Precede] {
        let inside = Inside::new();
        let home = inside.at("home/ada");
        fs::create_dir_all(home.join("directory/full")).unwrap();
        let fifo = home.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        fs::write(home.join("file"), "in the way").unwrap();
        fs::write(home.join("huge"), vec![b'x'; MAX_FILE + 1]).unwrap();
        for path in ["directory", "fifo", "file/below"] {
            inside
                .place(&format!("/home/ada/{path}"), "new\n", occupied)
                .unwrap();
            assert_eq!(inside.text(&format!("home/ada/{path}")), "new\n");
        }
        inside.place("/home/ada/huge", "new\n", occupied).unwrap();
        assert_eq!(inside.text("home/ada/huge"), "new\n");
        let aside: Vec<_> = inside
            .names("home/ada")
            .into_iter()
            .filter(|name| name.contains(".moved-by-wardian."))
            .collect();
        let expected = match occupied {
            Occupied::Precede => 4,
            _ => 3,
        };
        assert_eq!(aside.len(), expected, "{aside:?}");
        assert!(
            aside
                .iter()
                .any(|name| home.join(name).join("full").is_dir())
        );
    }
}
