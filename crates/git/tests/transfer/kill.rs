//! Killed at any moment, and beside `git gc`.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gix::ObjectId;
use wardian_git::confined::{Git, SessionRepository};
use wardian_git::transfer::{Wanted, bring};

use crate::fixture::{Fixture, again, as_each_user, full_name, signature};

const ARGUMENTS: &str = "WARDIAN_TESTS_BRING";
const ROUNDS: u32 = 40;

/// The process that is killed: not a test of its own.
#[test]
fn brings_what_it_is_told() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let (workspace, base, tip, name) =
        serde_json::from_str::<(PathBuf, _, String, String)>(&arguments).unwrap();
    let wanted = [Wanted {
        tip: ObjectId::from_hex(tip.as_bytes()).unwrap(),
        name: full_name(&name),
        expected: None,
    }];
    let session = SessionRepository::open(&workspace).unwrap();
    let git = Git::find("/usr/local/bin:/usr/bin".as_ref()).unwrap();
    bring(&git, &base, &session, &wanted, &signature(), "m").unwrap();
}

fn start(fixture: &Fixture, tip: ObjectId, name: &str) -> Child {
    let arguments = (fixture.workspace(), &fixture.base, tip.to_string(), name);
    again("kill::brings_what_it_is_told")
        .env(ARGUMENTS, serde_json::to_string(&arguments).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Anything in 0..1, other each time.
fn random() -> f64 {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[test]
fn killed_at_any_moment() {
    as_each_user("kill::killed_at_any_moment", || {
        let fixture = Fixture::new();
        let started = Instant::now();
        let first = fixture.session.commit("file", "0");
        let started_bringing = Instant::now();
        assert!(
            start(&fixture, first, "refs/heads/r/0")
                .wait()
                .unwrap()
                .success()
        );
        let whole = started_bringing.elapsed();
        let (mut before, mut after) = (0, 0);
        for round in 1..=ROUNDS {
            let tip = fixture
                .session
                .commit("file", round.to_string().repeat(50_000));
            let name = format!("refs/heads/r/{round}");
            let refs = fixture.user.refs();
            let mut child = start(&fixture, tip, &name);
            std::thread::sleep(whole.mul_f64(random() * 1.1));
            child.kill().unwrap();
            child.wait().unwrap();
            fixture.user.fsck();
            let now = fixture.user.refs();
            if now == refs {
                before += 1;
            } else {
                assert_eq!(fixture.user.id(&name), tip);
                after += 1;
            }
            fixture.bring(tip, &name).unwrap();
            assert_eq!(fixture.user.id(&name), tip);
            fixture.assert_no_leftovers();
        }
        fixture.user.fsck();
        println!(
            "{before} before, {after} after, {whole:?} each, {:?}",
            started.elapsed()
        );
        assert!(before > 0);
    });
}

/// Every step that leaves something, as if its process had been killed right after it.
#[test]
fn leftovers_of_each_kind_are_removed() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("file", "content");
    let git = fixture.user.path(".git");
    let desk = git.join("wardian-transfer-0123");
    fs::create_dir(&desk).unwrap();
    fs::create_dir_all(git.join("objects/wardian-quarantine-0123/pack")).unwrap();
    fs::write(
        git.join("objects/wardian-quarantine-0123/pack/tmp_pack_x"),
        "x",
    )
    .unwrap();
    fs::create_dir_all(git.join("objects/wardian-quarantine-4567/pack")).unwrap();
    fs::write(
        git.join("objects/pack/pack-12.keep"),
        "wardian-transfer-0123\n",
    )
    .unwrap();
    // Ours, and one of somebody who asked for the same at the same time.
    fs::create_dir_all(git.join("refs/heads/x")).unwrap();
    for (number, name) in [("0", "ours"), ("1", "theirs")] {
        fs::write(
            desk.join(format!("lock-{number}.name")),
            format!("refs/heads/x/{name}.lock"),
        )
        .unwrap();
        fs::write(desk.join(format!("lock-{number}")), format!("{tip}\n")).unwrap();
    }
    fs::hard_link(desk.join("lock-0"), git.join("refs/heads/x/ours.lock")).unwrap();
    let theirs = git.join("refs/heads/x/theirs.lock");
    fs::write(&theirs, format!("{tip}\n")).unwrap();
    let user_keep = git.join("objects/pack/pack-34.keep");
    fs::write(&user_keep, "mine").unwrap();
    fixture.bring(tip, "refs/heads/x/ours").unwrap();
    assert!(theirs.exists() && user_keep.exists());
    fs::remove_file(theirs).unwrap();
    fs::remove_file(user_keep).unwrap();
    fixture.assert_no_leftovers();
}

/// One that is still at work is left alone.
#[test]
fn a_transfer_that_runs_is_left_alone() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("file", "content");
    let desk = fixture.user.path(".git/wardian-transfer-0123");
    let quarantine = fixture.user.path(".git/objects/wardian-quarantine-0123");
    fs::create_dir(&desk).unwrap();
    fs::create_dir(&quarantine).unwrap();
    let held = fs::File::open(&desk).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fixture.bring(tip, "refs/heads/a").unwrap();
    assert!(desk.exists() && quarantine.exists());
    drop(held);
    fixture.bring(tip, "refs/heads/b").unwrap();
    fixture.assert_no_leftovers();
}

struct StopOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn beside_the_users_own_gc() {
    let fixture = Fixture::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let stop_at_end = StopOnDrop(&stop);
    std::thread::scope(|scope| {
        let _stop = stop_at_end;
        let gc = scope.spawn(|| {
            let mut runs = 0;
            while !stop.load(relaxed) {
                // Prunes whatever nothing leads to, however young.
                fixture.user.try_git(&["gc", "--quiet", "--prune=now"]);
                runs += 1;
            }
            runs
        });
        let started = Instant::now();
        let mut brought = Vec::new();
        while started.elapsed() < Duration::from_secs(6) {
            let number = brought.len();
            let tip = fixture
                .session
                .commit("file", number.to_string().repeat(10_000));
            let name = format!("refs/heads/r/{number}");
            fixture.bring(tip, &name).unwrap();
            brought.push((name, tip));
        }
        stop.store(true, relaxed);
        let runs = gc.join().unwrap();
        println!("{} brought, {runs} runs of gc", brought.len());
        assert!(runs > 1 && brought.len() > 5);
        for (name, tip) in brought {
            assert_eq!(fixture.user.id(&name), tip);
        }
    });
    fixture.user.fsck();
}

#[test]
fn several_at_once() {
    let fixture = Fixture::new();
    let tips: Vec<_> = (0..4)
        .map(|number| {
            fixture
                .session
                .commit("file", number.to_string().repeat(1000))
        })
        .collect();
    std::thread::scope(|scope| {
        for (number, tip) in tips.iter().enumerate() {
            let fixture = &fixture;
            scope.spawn(move || {
                fixture
                    .bring(*tip, &format!("refs/heads/r/{number}"))
                    .unwrap()
            });
        }
    });
    for (number, tip) in tips.iter().enumerate() {
        assert_eq!(fixture.user.id(&format!("r/{number}")), *tip);
    }
    fixture.user.fsck();
    fixture.assert_no_leftovers();
}

/// Processes of a killed transfer end with it.
#[test]
fn no_process_outlives_its_transfer() {
    let fixture = Fixture::new();
    let tip = fixture.session.commit("file", "1".repeat(3_000_000));
    for _ in 0..5 {
        let mut child = start(&fixture, tip, "refs/heads/a");
        std::thread::sleep(Duration::from_millis((random() * 120.0) as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mark = fixture.root().to_str().unwrap().to_owned();
    let holders = || {
        let output = Command::new("sh")
            .args([
                "-c",
                "grep -l -s \"$0\" /proc/[0-9]*/mountinfo || true",
                &mark,
            ])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holders().is_empty() {
        assert!(Instant::now() < deadline, "{}", holders());
        std::thread::sleep(Duration::from_millis(20));
    }
}
