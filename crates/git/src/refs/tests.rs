use std::fs;
use std::os::unix::fs::symlink;

use gix::bstr::BString;
use proptest::prelude::*;

use super::*;

const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

struct Session(tempfile::TempDir);

impl Session {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("upper/.git/refs/heads")).unwrap();
        let session = Self(directory);
        session.write("HEAD", "ref: refs/heads/wardian/a\n");
        session
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("upper/.git").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self) -> SessionRefs {
        let repository = SessionRepository::open(self.0.path()).unwrap();
        SessionRefs::read(&repository, Kind::Sha1).unwrap()
    }
}

fn id(text: &str) -> ObjectId {
    ObjectId::from_hex(text.as_bytes()).unwrap()
}

fn name(text: &str) -> FullName {
    FullName::try_from(BString::from(text)).unwrap()
}

#[test]
fn files_count_for_more_than_packed_lines() {
    let session = Session::new();
    let packed = format!(
        "# pack-refs with: peeled fully-peeled sorted \n{ONE} refs/heads/main\n{ONE} refs/tags/v1\n^{TWO}\n"
    );
    session.write("packed-refs", &packed);
    session.write("refs/heads/main", &format!("{TWO}\n"));
    session.write("refs/remotes/origin/HEAD", "ref: refs/heads/main\n");
    session.write("refs/remotes/none/HEAD", "ref: refs/heads/nothing\n");
    let refs = session.read();
    let tips: Vec<_> = refs
        .tips
        .iter()
        .map(|(name, id)| (name.to_string(), id.to_string()))
        .collect();
    let expected = [
        ("refs/heads/main", TWO),
        ("refs/remotes/origin/HEAD", TWO),
        ("refs/tags/v1", ONE),
    ];
    assert_eq!(
        tips,
        expected.map(|(name, id)| (name.to_owned(), id.to_owned()))
    );
    assert_eq!(refs.oddities, []);
    assert_eq!(refs.head, SessionHead::Branch(name("refs/heads/wardian/a")));
    assert_eq!(refs.head_commit(), None);
}

#[test]
fn changes_are_told_apart() {
    let session = Session::new();
    session.write("refs/heads/wardian/a", TWO);
    session.write("refs/heads/same", ONE);
    session.write("refs/tags/new", ONE);
    let base = [
        ("refs/heads/wardian/a", ONE),
        ("refs/heads/same", ONE),
        ("refs/heads/gone", ONE),
    ];
    let base = base.map(|(text, hex)| (name(text), id(hex))).into();
    let changes = session.read().changes_since(&base);
    let expected = [
        ("refs/heads/gone", Some(ONE), None),
        ("refs/heads/wardian/a", Some(ONE), Some(TWO)),
        ("refs/tags/new", None, Some(ONE)),
    ];
    let expected = expected.map(|(text, old, new)| RefChange {
        name: name(text),
        old: old.map(id),
        new: new.map(id),
    });
    assert_eq!(changes, expected);
}

#[test]
fn what_is_no_ref_is_named_and_has_no_effect() {
    let session = Session::new();
    let secret = session.0.path().join("secret");
    fs::write(&secret, format!("{ONE}\n")).unwrap();
    symlink(&secret, session.path("refs/heads/link")).unwrap();
    fs::create_dir_all(session.path("refs/remotes")).unwrap();
    symlink("/", session.path("refs/remotes/root")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        session.path("refs/heads/fifo"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    session.write("refs/heads/text", "not an id");
    session.write("refs/heads/long", &"1".repeat(5000));
    session.write("refs/heads/null", &"0".repeat(40));
    session.write("refs/heads/sha256", &"1".repeat(64));
    session.write("refs/heads/loop", "ref: refs/heads/loop");
    session.write("refs/heads/out", "ref: ../../../../etc/passwd");
    session.write("refs/heads/a..b", ONE);
    session.write("refs/heads/x\u{1b}[2J", ONE);
    session.write("refs/heads/held.lock", ONE);
    let bad_lines = [
        "x",
        "HEAD",
        "refs/heads/../../config",
        "refs/heads/.a",
        "refs/heads/a~1",
    ];
    let lines = bad_lines.map(|name| format!("{ONE} {name}\n"));
    session.write("packed-refs", &lines.concat());
    session.write("refs/heads/good", ONE);
    let refs = session.read();
    let names: Vec<_> = refs.tips.keys().map(FullName::to_string).collect();
    assert_eq!(names, ["refs/heads/good"]);
    assert_eq!(refs.oddities.len(), 16, "{:?}", refs.oddities);
}

#[test]
fn heads_that_lead_nowhere_are_unreadable() {
    let session = Session::new();
    for text in [
        "",
        "ref: /etc/passwd",
        "ref: HEAD",
        "ref: refs/heads/a b",
        "x",
        &"1".repeat(5000),
    ] {
        session.write("HEAD", text);
        let head = session.read().head;
        assert!(
            matches!(head, SessionHead::Unreadable(_)),
            "{text}: {head:?}"
        );
    }
    fs::remove_file(session.path("HEAD")).unwrap();
    symlink("refs/heads/main", session.path("HEAD")).unwrap();
    session.write("refs/heads/main", ONE);
    assert!(matches!(session.read().head, SessionHead::Unreadable(_)));
    fs::remove_file(session.path("HEAD")).unwrap();
    session.write("HEAD", ONE);
    assert_eq!(session.read().head_commit(), Some(id(ONE)));
}

#[test]
fn a_git_that_is_no_directory_of_its_own_is_refused() {
    let session = Session::new();
    let git = session.path("");
    let elsewhere = session.0.path().join("elsewhere");
    fs::rename(&git, &elsewhere).unwrap();
    let git = session.0.path().join("upper/.git");
    symlink(&elsewhere, &git).unwrap();
    SessionRepository::open(session.0.path()).unwrap_err();
    fs::remove_file(&git).unwrap();
    fs::write(&git, format!("gitdir: {}\n", elsewhere.display())).unwrap();
    let error = SessionRepository::open(session.0.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("not a directory of its own"), "{error}");
    // The control: moved back it is taken.
    fs::remove_file(&git).unwrap();
    fs::rename(&elsewhere, &git).unwrap();
    SessionRepository::open(session.0.path()).unwrap();
}

#[test]
fn a_reftable_is_refused() {
    let session = Session::new();
    session.write("reftable/tables.list", "");
    let repository = SessionRepository::open(session.0.path()).unwrap();
    let error = SessionRefs::read(&repository, Kind::Sha1).unwrap_err();
    assert!(matches!(error, RefsError::Reftable { .. }), "{error}");
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        "[0-9a-f]{40} refs/[a-z./@{~^ -]{0,30}".prop_map(String::into_bytes),
        "(\\^|# )[0-9a-f]{40}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_taken(lines in proptest::collection::vec(line(), 0..60)) {
        let text = lines.join(&b'\n');
        let packed = packed::parse(&text, Kind::Sha1);
        prop_assert!(packed.oddities.len() <= MAX_ODDITIES);
        prop_assert!(packed.tips.len() <= lines.iter().map(|line| line.lines().count()).sum());
        for name in packed.tips.keys() {
            let text = name.as_bstr();
            prop_assert!(text.starts_with(b"refs/"));
            let is_odd = |byte: &u8| *byte < 0x21 || *byte == 0x7f || b"~^:?*[\\".contains(byte);
            prop_assert!(!text.iter().any(is_odd), "{text}");
            for part in text.split_str("/") {
                let bad = part.is_empty() || part.starts_with(b".") || part.ends_with(b".lock");
                prop_assert!(!bad && !part.contains_str(".."), "{text}");
            }
        }
        // Written again, they read the same.
        let again: Vec<_> = packed.tips.iter().map(|(name, id)| format!("{id} {name}\n")).collect();
        prop_assert_eq!(packed::parse(again.concat().as_bytes(), Kind::Sha1).tips, packed.tips);
    }

    #[test]
    fn any_content_of_a_ref_is_taken(text in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Target::parse(&text, Kind::Sha1);
        let prefixed = [b"ref: refs/heads/", text.as_slice()].concat();
        if let Ok(Target::Symbolic(name)) = Target::parse(&prefixed, Kind::Sha1) {
            prop_assert!(!name.as_bstr().contains_str(".."));
        }
    }
}
