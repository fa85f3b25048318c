//! What runs, is mounted or lies about on this host because of one test.
//!
//! A test's directory has a name of its own, and all that belongs to the test mentions it: processes in their
//! environment, arguments, directory or open files; mounts and sockets in their paths. So tests may run beside each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long processes may take to be gone after the command that started them.
const PATIENCE: Duration = Duration::from_secs(4);

/// A line for each thing that is left.
pub fn of(base: &Path) -> Vec<String> {
    let start = Instant::now();
    loop {
        let left = now(base);
        if left.is_empty() || start.elapsed() > PATIENCE {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn now(base: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes(base).into_iter().map(describe).collect();
    left.extend(
        lines_with("/proc/self/mountinfo", base)
            .into_iter()
            .map(|line| format!("mount: {line}")),
    );
    left.extend(
        lines_with("/proc/net/unix", base)
            .into_iter()
            .map(|line| format!("socket: {line}")),
    );
    for name in sandboxes(base) {
        left.extend(
            cgroups(&name)
                .into_iter()
                .map(|path| format!("cgroup: {}", path.display())),
        );
        left.extend(
            run_entries(&name)
                .into_iter()
                .map(|path| format!("file: {}", path.display())),
        );
    }
    left
}

/// Ends and unmounts what is left. Each process is named by its id.
pub fn clear(base: &Path) {
    for _ in 0..3 {
        for pid in processes(base) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mounts = lines_with("/proc/self/mountinfo", base);
    for mount in mounts
        .iter()
        .rev()
        .filter_map(|line| line.split(' ').nth(4))
    {
        let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Processes, other than our own, that mention `base`.
pub fn processes(base: &Path) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != own && belongs(pid, base))
        .collect()
}

fn belongs(pid: u32, base: &Path) -> bool {
    let needle = base.as_os_str().as_encoded_bytes();
    let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
    contains(&file("environ"), needle)
        || contains(&file("cmdline"), needle)
        || link("cwd").starts_with(base)
        || holds_file_below(pid, base)
}

/// A supervisor has neither the environment nor the directory of its caller, but it holds its journal.
fn holds_file_below(pid: u32, base: &Path) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors
        .into_iter()
        .flatten()
        .flatten()
        .any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|target| target.starts_with(base))
        })
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn describe(pid: u32) -> String {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status
        .lines()
        .find(|line| line.starts_with("State:"))
        .unwrap_or("State: gone");
    format!("process {pid}: {command} ({state})")
}

fn lines_with(file: &str, base: &Path) -> Vec<String> {
    let base = base.to_str().unwrap();
    let text = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| line.contains(base))
        .map(str::to_owned)
        .collect()
}

/// Names of the sandboxes that were ever made in a test's home.
fn sandboxes(base: &Path) -> Vec<String> {
    let entries = fs::read_dir(base.join("home/.local/share/wardian/sandboxes"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn cgroups(name: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, depth: u32, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(entry.path());
            } else if depth > 0 {
                walk(&entry.path(), depth - 1, name, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), 5, name, &mut found);
    found
}

fn run_entries(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/run/wardian").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(name))
        .collect()
}
