//! A session's commits arrive in the user's repository: with real git on both sides.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "transfer/fixture.rs"]
mod fixture;
#[path = "transfer/hostile.rs"]
mod hostile;
#[path = "transfer/kill.rs"]
mod kill;
#[path = "transfer/kinds.rs"]
mod kinds;
#[path = "transfer/places.rs"]
mod places;

use fixture::{Fixture, as_each_user, full_name, signature};
use wardian_git::transfer::{Undone, undo};

const BRANCH: &str = "refs/heads/wardian/a";

#[test]
fn commits_arrive_as_a_branch() {
    as_each_user("commits_arrive_as_a_branch", || {
        for format in ["sha1", "sha256"] {
            let fixture = Fixture::of_format(format);
            let before = fixture.user.refs();
            fixture.session.commit("README", "second\n");
            let tip = fixture
                .session
                .commit("bin", [0_u8, 255, 1, 2].repeat(1000));
            let brought = fixture.bring(tip, BRANCH).unwrap();
            assert!(brought.sent_objects);
            assert_eq!(brought.moved.len(), 1);
            assert_eq!(fixture.user.id(BRANCH), tip);
            assert_eq!(
                fixture.user.git(&["log", "--format=%s", "-2", BRANCH]),
                "Change bin\nChange README"
            );
            let others = fixture
                .user
                .refs()
                .replace(&format!("{tip} commit\t{BRANCH}"), "");
            assert_eq!(others.trim(), before);
            let log = fixture
                .user
                .git(&["reflog", "--format=%gs %gn", "wardian/a"]);
            assert_eq!(log, "wardian: apply a Ada");
            fixture.user.fsck();
            fixture.assert_no_leftovers();
            // The session is not needed any more.
            std::fs::remove_dir_all(fixture.workspace()).unwrap();
            fixture.user.git(&["gc", "--quiet", "--prune=now"]);
            fixture.user.fsck();
            assert_eq!(fixture.user.git(&["show", "wardian/a:README"]), "second");
        }
    });
}

#[test]
fn what_arrived_is_not_sent_again() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("README", "second\n");
    fixture.bring(tip, BRANCH).unwrap();
    let packs = || fixture.user.git(&["count-objects", "-v"]);
    let before = packs();
    let again = fixture.bring(tip, BRANCH).unwrap();
    assert_eq!((again.sent_objects, again.moved.len()), (false, 0));
    let other = fixture.bring(tip, "refs/tags/also").unwrap();
    assert_eq!((other.sent_objects, other.moved.len()), (false, 1));
    assert_eq!(packs(), before);
    // Only what is new travels.
    let next = fixture.session.commit("README", "third\n");
    fixture.bring_over(next, BRANCH, Some(tip)).unwrap();
    let after = packs();
    let count = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("in-pack:"));
        line.and_then(|line| line[9..].parse::<u32>().ok()).unwrap()
    };
    assert!(count(&after) - count(&before) <= 3, "{before}\n{after}");
}

#[test]
fn several_refs_arrive_together_or_not_at_all() {
    let fixture = Fixture::new();
    let one = fixture.session.commit("one", "1");
    let two = fixture.session.commit("two", "2");
    fixture.user.git(&["branch", "taken"]);
    let before = fixture.user.refs();
    let wanted = |names: [&str; 2]| {
        [(one, names[0]), (two, names[1])].map(|(tip, name)| wardian_git::transfer::Wanted {
            tip,
            name: full_name(name),
            expected: None,
        })
    };
    let bring = |wanted: &[_]| {
        let session = fixture.open();
        let base = &fixture.base;
        wardian_git::transfer::bring(&fixture.git, base, &session, wanted, &signature(), "m")
    };
    bring(&wanted(["refs/heads/one", "refs/heads/taken"])).unwrap_err();
    assert_eq!(fixture.user.refs(), before);
    fixture.assert_no_leftovers();
    bring(&wanted(["refs/heads/one", "refs/tags/two"])).unwrap();
    assert_eq!((fixture.user.id("one"), fixture.user.id("two")), (one, two));
}

#[test]
fn undo_puts_refs_back() {
    as_each_user("undo_puts_refs_back", || {
        let fixture = Fixture::new();
        let before = fixture.user.refs();
        let tip = fixture.session.commit("README", "second\n");
        let brought = fixture.bring(tip, BRANCH).unwrap();
        let undo = |brought| undo(&fixture.base, brought, &signature(), "wardian: undo").unwrap();
        let put_back = |outcome: &[Undone]| matches!(outcome, [Undone::PutBack { .. }]);
        assert!(put_back(&undo(&brought)));
        assert_eq!(fixture.user.refs(), before);
        assert!(!fixture.user.path(".git/logs/refs/heads/wardian").exists());
        // Twice is once.
        assert!(put_back(&undo(&brought)));

        // Packed in between, as `git gc` does.
        let brought = fixture.bring(tip, BRANCH).unwrap();
        assert!(!brought.sent_objects || brought.moved.len() == 1);
        fixture.user.git(&["tag", "-m", "a tag", "v1"]);
        fixture.user.git(&["pack-refs", "--all"]);
        let tag = fixture.user.id("v1^{}");
        assert!(put_back(&undo(&brought)));
        assert_eq!(
            fixture
                .user
                .try_git(&["rev-parse", "--verify", "-q", BRANCH])
                .1,
            ""
        );
        assert_eq!(fixture.user.id("v1^{}"), tag);

        // A branch that was there goes back to where it was.
        fixture.user.git(&["branch", "old", "main~1"]);
        let old = fixture.user.id("old");
        let brought = fixture
            .bring_over(tip, "refs/heads/old", Some(old))
            .unwrap();
        assert_eq!(fixture.user.id("old"), tip);
        assert!(put_back(&undo(&brought)));
        assert_eq!(fixture.user.id("old"), old);

        // One that the user went on with stays.
        let brought = fixture
            .bring_over(tip, "refs/heads/old", Some(old))
            .unwrap();
        fixture.user.git(&["update-ref", "refs/heads/old", "main"]);
        assert!(matches!(&undo(&brought)[..], [Undone::Left { .. }]));
        assert_eq!(fixture.user.id("old"), fixture.user.id("main"));
        fixture.user.fsck();
        fixture.assert_no_leftovers();
    });
}
