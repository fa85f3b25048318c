//! What a test run must not leave on the host: processes, mounts, network namespaces, sockets, files, control groups.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything of that kind, a line each.
#[derive(Debug)]
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub(crate) fn take() -> Self {
        let mut lines = BTreeSet::new();
        processes(&mut lines);
        for line in fs::read_to_string("/proc/self/mountinfo")
            .unwrap_or_default()
            .lines()
        {
            let fields: Vec<&str> = line.split(' ').collect();
            lines.insert(format!("mount: {}", fields.get(4).unwrap_or(&"")));
        }
        for line in fs::read_to_string("/proc/net/unix")
            .unwrap_or_default()
            .lines()
        {
            if let Some(path) = line
                .split_whitespace()
                .nth(7)
                .filter(|path| path.contains("wardian"))
            {
                lines.insert(format!("socket: {path}"));
            }
        }
        for directory in ["/run/wardian", "/run/netns"] {
            entries(Path::new(directory), |_| true, &mut lines);
        }
        for directory in ["/home", "/tmp", "/var/tmp", "/dev/shm"] {
            entries(
                Path::new(directory),
                |name| name.starts_with("wt.") || name.contains("wardian"),
                &mut lines,
            );
        }
        control_groups(Path::new("/sys/fs/cgroup"), 5, &mut lines);
        Self(lines)
    }

    /// What is there now and was not then, once everything had a moment to go.
    pub(crate) fn new_since(&self) -> Vec<String> {
        let start = Instant::now();
        loop {
            let left: Vec<String> = Self::take().0.difference(&self.0).cloned().collect();
            if left.is_empty() || start.elapsed() > PATIENCE {
                return left;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Programs of ours or of the test user's, and whoever lives in a network namespace that is not this one.
fn processes(lines: &mut BTreeSet<String>) {
    let own_network = fs::read_link("/proc/self/ns/net").ok();
    let test_user = test_user();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let status = String::from_utf8_lossy(&read("status")).into_owned();
        let uid = status.lines().find_map(|line| {
            line.strip_prefix("Uid:")?
                .split_whitespace()
                .next()?
                .parse::<u32>()
                .ok()
        });
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let ours = exe.file_name().is_some_and(|name| name == "wardian");
        let elsewhere = fs::read_link(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|network| Some(network) != own_network);
        if ours || elsewhere || (uid.is_some() && uid == test_user) {
            lines.insert(format!("process {pid}: {command}"));
        }
    }
}

fn test_user() -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd
        .lines()
        .find(|line| line.starts_with("wardian-test:"))?;
    line.split(':').nth(2)?.parse().ok()
}

fn entries(directory: &Path, wanted: impl Fn(&str) -> bool, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if wanted(&entry.file_name().to_string_lossy()) {
            lines.insert(format!("file: {}", entry.path().display()));
        }
    }
}

fn control_groups(directory: &Path, depth: u32, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if depth == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.path().to_string_lossy().contains("wardian") {
            lines.insert(format!("cgroup: {}", entry.path().display()));
        }
        control_groups(&entry.path(), depth - 1, lines);
    }
}
