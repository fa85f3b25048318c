//! As root on a host with cgroups: what is promised is enforced.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::*;

/// A command that waits before it begins, so that it can be put into a cgroup first.
struct Held(Child);

impl Held {
    fn new(script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn go(&mut self) {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    fn run_in(&mut self, cgroup: &Cgroup) {
        cgroup.add(self.pid()).unwrap();
        self.go();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn unique(what: &str) -> String {
    format!("test-{what}-{}", std::process::id())
}

fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes cgroups: run it as root"
    );
}

fn enforced(outcome: Option<Outcome>) {
    match outcome {
        Some(Outcome::Enforced { how }) => assert!(how.starts_with("cgroup v"), "{how}"),
        other => panic!("this host does not enforce: {other:?}"),
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn memory_is_limited() {
    require_root();
    let limits = CgroupLimits {
        memory: Some(64 << 20),
        ..CgroupLimits::default()
    };
    let created = create(&unique("memory"), &limits).unwrap();
    enforced(created.memory);
    assert_eq!(created.cpus, None);
    let cgroup = created.cgroup.unwrap();

    // 16 MiB fit, what does not end does not.
    let mut modest = Held::new("head -c 16000000 /dev/zero | tail -c 16000000 | wc -c >/dev/null");
    modest.run_in(&cgroup);
    assert!(modest.0.wait().unwrap().success());
    assert_eq!(cgroup.stats().oom_kills, Some(0));

    let mut greedy = Held::new("exec tail /dev/zero");
    greedy.run_in(&cgroup);
    let status = greedy.0.wait().unwrap();
    assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
    let stats = cgroup.stats();
    assert_eq!(stats.oom_kills, Some(1));
    let peak = stats.memory_peak.unwrap();
    assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
}

#[test]
fn processes_are_counted() {
    require_root();
    let limits = CgroupLimits {
        pids: Some(20),
        ..CgroupLimits::default()
    };
    let created = create(&unique("pids"), &limits).unwrap();
    enforced(created.pids);
    let cgroup = created.cgroup.unwrap();
    assert_eq!(cgroup.stats().pids_refused, Some(0));

    let mut bomb = Held::new("b() { b | b & }; while :; do b; sleep 0.01; done");
    bomb.run_in(&cgroup);
    wait_until("a fork is refused", || {
        cgroup.stats().pids_refused > Some(0)
    });
    let path = &cgroup.paths()[0];
    assert!(file::members(path).unwrap().len() <= 20);

    cgroup.kill_all().unwrap();
    for path in cgroup.paths() {
        assert_eq!(file::members(path).unwrap(), []);
    }
}

#[test]
fn processor_time_is_shared_out() {
    require_root();
    let limits = CgroupLimits {
        cpus: Some(MilliCpus(200)),
        ..CgroupLimits::default()
    };
    let created = create(&unique("cpus"), &limits).unwrap();
    enforced(created.cpus);
    let cgroup = created.cgroup.unwrap();

    let mut busy = Held::new("while :; do :; done");
    busy.run_in(&cgroup);
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(2));
    let share = processor_time(busy.pid()).as_secs_f64() / began.elapsed().as_secs_f64();
    // Other work on this machine can only make it less.
    assert!(share < 0.3, "{share} of a processor");
    assert!(share > 0.0);
}

/// User and system time, in hundredths of a second: fields 14 and 15 of proc_pid_stat(5).
fn processor_time(pid: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}

#[test]
fn without_limits_it_still_holds_all_processes() {
    require_root();
    let name = unique("plain");
    let created = create(&name, &CgroupLimits::default()).unwrap();
    let cgroup = created.cgroup.unwrap();
    let mut parent = Held::new("sleep 1000 & sleep 1000 & wait");
    parent.run_in(&cgroup);
    let path = cgroup.paths()[0].clone();
    wait_until("children", || file::members(&path).unwrap().len() == 3);
    drop(cgroup);
    assert!(!path.exists());
    assert_eq!(parent.0.wait().unwrap().to_string(), "signal: 9 (SIGKILL)");
}

#[test]
fn what_was_planned_covers_what_is_made() {
    require_root();
    let name = unique("plan");
    let planned = planned_paths(&name);
    let limits = CgroupLimits {
        memory: Some(1 << 30),
        cpus: Some(MilliCpus(1500)),
        pids: Some(100),
    };
    let created = create(&name, &limits).unwrap();
    for outcome in [created.memory, created.cpus, created.pids] {
        enforced(outcome);
    }
    let cgroup = created.cgroup.unwrap();
    for path in cgroup.paths() {
        assert!(planned.contains(path), "{path:?} of {planned:?}");
    }
    drop(cgroup);
    for path in planned {
        assert!(!path.exists(), "{path:?}");
    }
}

#[test]
fn a_crash_is_cleaned_up_after() {
    require_root();
    let limits = CgroupLimits {
        pids: Some(50),
        ..CgroupLimits::default()
    };
    let name = unique("stale");
    let cgroup = create(&name, &limits).unwrap().cgroup.unwrap();
    let paths = cgroup.paths().to_vec();
    let mut left = Held::new("sleep 1000");
    left.run_in(&cgroup);
    // Its owner is killed.
    std::mem::forget(cgroup);

    let in_use = create(&name, &limits).unwrap_err();
    assert_eq!(in_use.errno(), Some(libc::EEXIST), "{in_use}");
    assert!(paths[0].exists(), "somebody else's was removed");

    // Somebody inside made cgroups of their own.
    fs::create_dir_all(paths[0].join("inner/most")).unwrap();
    for path in &paths {
        remove_stale(path).unwrap();
        assert!(!path.exists());
        remove_stale(path).unwrap();
    }
    assert_eq!(left.0.wait().unwrap().to_string(), "signal: 9 (SIGKILL)");
}

#[test]
fn an_empty_leftover_is_no_obstacle() {
    require_root();
    let name = unique("leftover");
    std::mem::forget(create(&name, &CgroupLimits::default()).unwrap().cgroup);
    let again = create(&name, &CgroupLimits::default()).unwrap();
    let path = again.cgroup.unwrap().paths()[0].clone();
    assert!(!path.exists());
}

#[test]
fn nothing_but_our_cgroups_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let planted = directory.path().join("wardian/sandbox");
    fs::create_dir_all(&planted).unwrap();
    let error = remove_stale(&planted).unwrap_err();
    assert!(error.to_string().contains("not on a cgroup filesystem"));
    assert!(planted.exists());
    for path in [
        "/sys/fs/cgroup/system.slice",
        "/sys/fs/cgroup/wardian",
        "/sys/fs/cgroup/wardian/../system.slice",
        "/sys/fs/cgroup/wardian/..",
        "/sys/fs/cgroup/wardian/x/y",
        "/sys/fs/cgroup/wardian/x.scope",
        "sys/fs/cgroup/wardian/x",
        "/",
        "",
    ] {
        let error = remove_stale(Path::new(path)).unwrap_err();
        assert!(
            error.to_string().contains("not a cgroup of a sandbox"),
            "{error}"
        );
    }
}

#[test]
fn many_at_once_share_the_parent() {
    require_root();
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                for round in 0..20 {
                    let name = format!("{}-{thread}-{round}", unique("many"));
                    let limits = CgroupLimits {
                        pids: Some(10),
                        ..CgroupLimits::default()
                    };
                    enforced(create(&name, &limits).unwrap().pids);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Credentials belong to a thread, as far as the kernel is concerned.
fn as_ordinary_user<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    use rustix::process::{Gid, Uid};

    require_root();
    let (uid, gid) = (Uid::from_raw(65534), Gid::from_raw(65534));
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            run()
        });
        thread.join().unwrap()
    })
}

#[test]
fn an_ordinary_user_is_told_why_not() {
    let limits = CgroupLimits {
        memory: Some(1 << 30),
        cpus: Some(MilliCpus(1000)),
        pids: Some(100),
    };
    let (created, available, planned) = as_ordinary_user(|| {
        let name = unique("user");
        (
            create(&name, &limits).unwrap(),
            availability(),
            planned_paths(&name),
        )
    });
    assert!(created.cgroup.is_none());
    assert_eq!(planned, Vec::<PathBuf>::new());
    for (created, available) in [
        (created.memory, available.memory),
        (created.cpus, available.cpus),
        (created.pids, available.pids),
    ] {
        assert_eq!(created.as_ref(), Some(&available));
        let Outcome::NotEnforced { why, fix } = available else {
            panic!("this host delegates to nobody: {available:?}");
        };
        assert!(!why.is_empty());
        assert!(fix.unwrap().contains("root"), "{why}");
    }
}

/// The tree of version 2 for real, with a controller that version 1 does not hold here.
#[test]
fn a_delegated_tree_is_divided_for_real() {
    require_root();
    let Some(v2) = Layout::read().unwrap().v2 else {
        panic!("this test needs the hierarchy of version 2 mounted");
    };
    let offered = file::read(&v2.mount, "cgroup.controllers").unwrap();
    let controller = offered.split_whitespace().next().expect("a controller");
    let was_enabled = file::lists(&v2.mount, "cgroup.subtree_control", controller);
    site::enable_at(&v2.mount, controller).unwrap();

    let delegated = v2.mount.join(unique("delegated"));
    let service = delegated.join("service");
    fs::create_dir_all(&service).unwrap();
    site::enable_at(&delegated, controller).unwrap();
    let child = Held::new("exit 0");
    let pid = child.pid().as_raw_nonzero().get();
    file::write(&service, "cgroup.procs", &pid.to_string()).unwrap();

    // Somebody else is in there: it stays as it is.
    let unified = site::Unified::at(&service, &[]);
    let refused = unified.enable(controller).unwrap_err();
    assert_eq!(unified.check(controller), Err(refused.clone()));
    assert!(refused.why.contains("other processes"), "{}", refused.why);
    assert_eq!(file::members(&service).unwrap(), [pid]);

    // Whoever is us steps aside.
    let unified = site::Unified::at(&service, &[pid]);
    unified.check(controller).unwrap();
    unified.enable(controller).unwrap();
    assert!(file::lists(&service, "cgroup.subtree_control", controller));
    assert_eq!(
        file::members(&service.join("wardian.outside")).unwrap(),
        [pid]
    );
    // Again, from the place beside.
    unified.enable(controller).unwrap();

    removal::kill(&service).unwrap();
    removal::remove(&service).unwrap();
    if !was_enabled {
        // Another run of this test may still need it.
        let _ = file::write(
            &v2.mount,
            "cgroup.subtree_control",
            &format!("-{controller}"),
        );
    }
}
