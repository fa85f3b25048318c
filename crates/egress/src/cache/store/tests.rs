use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::cache::key::Asked;

fn key(target: &str) -> Key {
    let asked = Asked {
        authority: "a.example",
        target,
        authorities: None,
    };
    asked.key(std::iter::empty()).unwrap()
}

fn meta(key: Key) -> Meta {
    let address = [127, 0, 0, 1].into();
    Meta::new(key, "https://a.example/", address, std::iter::empty()).unwrap()
}

struct Stored {
    base: tempfile::TempDir,
    store: Store,
}

impl Stored {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let store = Store::open(&base.path().join("wardian/downloads")).unwrap();
        Self { base, store }
    }

    fn path(&self, name: impl ToString) -> std::path::PathBuf {
        let directory = self.base.path().join("wardian/downloads");
        directory.join(name.to_string())
    }

    fn put(&self, target: &str, body: &[u8]) -> Key {
        let key = key(target);
        let mut draft = self.store.draft().unwrap();
        draft.write(body).unwrap();
        draft.publish(key, meta(key)).unwrap();
        key
    }

    fn get(&self, key: Key) -> Option<Vec<u8>> {
        let Found { meta, body } = self.store.find(key).unwrap()?;
        let bytes = match body {
            Body::Memory(bytes) => bytes.to_vec(),
            Body::File(file) => {
                let mut bytes = Vec::new();
                each_block(&file, meta.length, |block| {
                    bytes.extend_from_slice(block);
                    Ok(())
                })
                .unwrap();
                bytes
            }
        };
        Some(bytes)
    }

    fn names(&self) -> usize {
        fs::read_dir(self.path("")).unwrap().count()
    }
}

#[test]
fn what_was_put_in_comes_out() {
    let stored = Stored::new();
    let large = vec![7; SMALL as usize + 1];
    for body in [&b""[..], b"small", &large] {
        let key = stored.put("/x.crate", body);
        assert_eq!(stored.get(key).as_deref(), Some(body));
    }
    assert_eq!(stored.get(key("/y.crate")), None);
    assert_eq!(stored.names(), 1, "an entry is replaced");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(stored.path("")), 0o700);
    assert_eq!(mode(stored.path(key("/x.crate"))), 0o600);
}

#[test]
fn a_draft_that_is_dropped_was_never_there() {
    let stored = Stored::new();
    let mut draft = stored.store.draft().unwrap();
    draft.write(b"half").unwrap();
    assert_eq!(stored.names(), 1);
    drop(draft);
    assert_eq!(stored.names(), 0);
}

#[test]
fn damage_is_a_miss_and_goes() {
    let stored = Stored::new();
    let large = vec![7; SMALL as usize + 1];
    for body in [&b"small"[..], &large] {
        let size = {
            let key = stored.put("/x.crate", body);
            fs::metadata(stored.path(key)).unwrap().len() as usize
        };
        for at in [0, body.len() - 1, body.len() + 4, size - FOOTER, size - 1] {
            let key = stored.put("/x.crate", body);
            let path = stored.path(key);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(stored.get(key), None, "a bit at {at} of {size}");
            assert!(!path.exists());
        }
        for length in [0, 1, FOOTER as u64, size as u64 - 1] {
            let key = stored.put("/x.crate", body);
            let file = File::options().write(true).open(stored.path(key)).unwrap();
            file.set_len(length).unwrap();
            assert_eq!(stored.get(key), None, "{length} of {size} bytes");
        }
    }
}

#[test]
fn an_entry_is_one_under_its_own_name_only() {
    let stored = Stored::new();
    let (one, other) = (stored.put("/1.crate", b"one"), key("/2.crate"));
    fs::copy(stored.path(one), stored.path(other)).unwrap();
    assert_eq!(stored.get(other), None);
    symlink(stored.path(one), stored.path(other)).unwrap();
    assert_eq!(stored.get(other), None);
    assert!(fs::symlink_metadata(stored.path(other)).is_err());
    fs::set_permissions(stored.path(one), Permissions::from_mode(0o666)).unwrap();
    assert_eq!(stored.get(one), None, "others could have written it");
}

#[test]
fn a_directory_of_others_is_not_used() {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(Store::open(base.path()).is_err());
    fs::set_permissions(base.path(), Permissions::from_mode(0o700)).unwrap();
    assert!(Store::open(base.path()).is_ok());
    let link = base.path().join("link");
    fs::create_dir(base.path().join("real")).unwrap();
    symlink("real", &link).unwrap();
    assert!(Store::existing(&link).is_err());
}

#[test]
fn the_least_recently_used_go_first() {
    let stored = Stored::new();
    let keys: Vec<_> = (0..4)
        .map(|number| stored.put(&format!("/{number}.crate"), &[0; 1000]))
        .collect();
    for (age, key) in keys.iter().enumerate() {
        let used = SystemTime::now() - Duration::from_secs(100 - age as u64);
        let file = File::options().write(true).open(stored.path(key)).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(used))
            .unwrap();
    }
    assert!(stored.get(keys[0]).is_some(), "used just now");
    let size = fs::metadata(stored.path(keys[0])).unwrap().len();
    assert_eq!(stored.store.trim(4 * size).unwrap(), Freed::default());
    let freed = stored.store.trim(2 * size + 1).unwrap();
    assert_eq!((freed.entries, freed.bytes), (2, 2 * size));
    let left: Vec<_> = keys.iter().map(|key| stored.path(key).exists()).collect();
    assert_eq!(left, [true, false, false, true]);
}

#[test]
fn what_a_crash_left_is_swept_and_what_is_written_is_not() {
    let stored = Stored::new();
    let (old, new) = (stored.path("new-1"), stored.path("new-2"));
    for path in [&old, &new, &stored.path("notes.txt")] {
        fs::write(path, b"half").unwrap();
    }
    let long_ago = SystemTime::now() - 2 * ABANDONED;
    File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    stored.store.trim(MOST).unwrap();
    assert!(!old.exists() && new.exists() && stored.path("notes.txt").exists());
}
