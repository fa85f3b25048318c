//! Layers as a kernel writes them, where that needs no mount: whiteouts and opaque directories need one, see the
//! end-to-end tests.

use std::fs;
use std::os::unix::fs::symlink;

use wardian_events::{Digest, FileChange, FilesChanged, FilesOf};

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("upper")).unwrap();
        fs::create_dir(directory.path().join("lower")).unwrap();
        Self { directory }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn listed(&self, before: Before<'_>) -> FilesChanged {
        let upper = self.directory.path().join("upper");
        let mut listing = Listing::new(&upper);
        let mut layer = Layer::open(&upper, before).unwrap().unwrap();
        layer.walk(&mut listing);
        listing.finish("/home/ann/api", FilesOf::Overlay)
    }

    fn upon_lower(&self) -> FilesChanged {
        self.listed(Before::Below(&self.directory.path().join("lower")))
    }
}

fn brief(changed: &FilesChanged) -> Vec<(&str, ChangeKind, Option<u64>, Option<u64>)> {
    let brief = |file: &FileChange| (file.change, file.before, file.after);
    changed
        .files
        .iter()
        .map(|file| {
            let (change, before, after) = brief(file);
            (file.path.as_str(), change, before, after)
        })
        .collect()
}

#[test]
fn files_are_compared_with_what_lies_below() {
    let place = Place::new();
    place.write("lower/src/old", "12345");
    place.write("lower/untouched", "x");
    place.write("upper/src/old", "123");
    place.write("upper/src/new\x1b", "1");
    symlink("/etc", place.directory.path().join("upper/link")).unwrap();
    let changed = place.upon_lower();
    assert_eq!(
        brief(&changed),
        [
            ("link", ChangeKind::Added, None, Some(4)),
            ("src/new\\x1b", ChangeKind::Added, None, Some(1)),
            ("src/old", ChangeKind::Changed, Some(5), Some(3)),
        ]
    );
    assert_eq!((changed.added, changed.changed, changed.removed), (2, 1, 0));
    assert_eq!(changed.files[2].sha256, Some(Digest::of(b"123")));
    assert_eq!(changed.files[0].sha256, None);
}

/// The layer is hostile: it may name paths that lead elsewhere below.
#[test]
fn nothing_outside_is_asked_for() {
    let place = Place::new();
    place.write("outside/secret", "123456789");
    symlink("../outside", place.directory.path().join("lower/way")).unwrap();
    place.write("upper/way/secret", "x");
    let changed = place.upon_lower();
    assert_eq!(
        brief(&changed),
        [
            // It was a symlink, and is a directory now.
            ("way", ChangeKind::Removed, Some(10), None),
            ("way/secret", ChangeKind::Added, None, Some(1)),
        ]
    );
}

#[test]
fn a_home_tells_what_was_written_since() {
    let place = Place::new();
    place.write("upper/.config/old", "was there");
    place.write("upper/.cache/changed", "was there");
    // The clock that files are dated by moves in steps.
    let tick = || std::thread::sleep(std::time::Duration::from_millis(30));
    let since = Start::of(&place.directory.path().join("upper"));
    tick();
    place.write("upper/.cache/changed", "and is not as it was");
    place.write("upper/.new", "new");
    // A time that a program sets says nothing.
    let old = fs::File::options()
        .append(true)
        .open(place.directory.path().join("upper/.new"))
        .unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    let changed = place.listed(Before::Since(&since));
    let names: Vec<_> = changed
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(names, [".cache/changed", ".new"]);
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let place = Place::new();
    for number in 0..500 {
        place.write(&format!("upper/{number:04}"), "x");
    }
    place.write(
        &format!("upper/{}/{}", "a".repeat(250), "b".repeat(250)),
        "x",
    );
    let changed = place.upon_lower();
    assert_eq!(
        (changed.added, changed.files.len() as u64 + changed.further),
        (501, 501)
    );
    assert!((50..100).contains(&changed.files.len()));
    let event = wardian_events::Event::FilesChanged(changed.clone());
    let (journal, sink) = wardian_events::Journal::in_memory("one", wardian_events::SystemClock);
    journal.append(&event).unwrap();
    // Nothing of it had to be cut.
    let read = wardian_events::Records::new(&sink.bytes()[..]).next();
    assert_eq!(read.unwrap().unwrap().record.event, event);
}

#[test]
fn a_layer_that_is_not_there_is_no_layer() {
    let place = Place::new();
    let missing = place.directory.path().join("missing");
    let start = Start::of(&missing);
    let none = Layer::open(&missing, Before::Since(&start)).unwrap();
    assert!(none.is_none());
}
