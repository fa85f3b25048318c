use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::*;
use crate::mount::DetachedMount;
use crate::testing::{in_child, unshare};
use crate::userns::{IdMaps, IdRange, MapWriter, write_maps};

/// A mount namespace of one's own, in which somebody else was before.
fn prepared(body: impl FnOnce(&Path)) {
    in_child(|| {
        unshare(libc::CLONE_NEWNS);
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let decoy = directory.path().join("decoy");
        fs::write(&decoy, "").unwrap();
        body(&decoy);
    });
}

/// Runs until its input ends, in a user namespace of its own.
struct Other(Child);

impl Other {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = [0; 6];
        let output = child.stdout.as_mut().unwrap();
        output.read_exact(&mut told).unwrap();
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn path(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.0.id())
    }

    fn map(&self) -> SyscallResult<()> {
        let own = vec![IdRange::one(0, 0)];
        let maps = IdMaps {
            uids: own.clone(),
            gids: own,
        };
        write_maps(self.pid(), &maps, MapWriter::Privileged)
    }

    fn has_no_map(&self) -> bool {
        fs::read_to_string(self.path("uid_map")).unwrap().is_empty()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Closes its input first.
        let _ = self.0.wait();
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: SyscallResult<T>, why: &str) {
    let error = result.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

const MOUNTED_OVER: &str = "mounted over it";

#[test]
fn writes_where_nothing_is_in_the_way() {
    prepared(|_| {
        write(myself().unwrap(), "oom_score_adj", b"321").unwrap();
        let value = read(myself().unwrap(), "oom_score_adj").unwrap();
        assert_eq!(value, "321\n");
        let other = Other::new();
        other.map().unwrap();
        let map = fs::read_to_string(other.path("uid_map")).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", "1"]);
        let namespace = user_namespace(other.pid()).unwrap();
        let seen = fs::metadata(other.path("ns/user")).unwrap();
        assert_eq!(
            identity(namespace).unwrap().1,
            std::os::unix::fs::MetadataExt::ino(&seen)
        );
        let settings = network_settings().unwrap();
        read(settings, "ipv4/ip_unprivileged_port_start").unwrap();
    });
}

#[test]
fn a_file_over_the_one_to_be_written() {
    prepared(|decoy| {
        let other = Other::new();
        let map = other.path("uid_map");
        mount_bind(decoy, &map).unwrap();
        // The control: who just writes it, writes the other.
        fs::write(&map, "naive").unwrap();
        assert_eq!(fs::read(decoy).unwrap(), b"naive");

        refused(other.map(), MOUNTED_OVER);
        mount_bind(decoy, "/proc/self/oom_score_adj").unwrap();
        refused(
            write(myself().unwrap(), "oom_score_adj", b"1"),
            MOUNTED_OVER,
        );
        let port = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        mount_bind(decoy, port).unwrap();
        let settings = network_settings().unwrap();
        refused(
            write(settings, "ipv4/ip_unprivileged_port_start", b"0"),
            MOUNTED_OVER,
        );
        assert_eq!(fs::read(decoy).unwrap(), b"naive");
    });
}

#[test]
fn another_part_of_procfs() {
    // As in CVE-2025-52881: to look at the kind of the file system is not enough.
    prepared(|_| {
        let (meant, other) = (Other::new(), Other::new());
        mount_bind(other.path(""), meant.path("")).unwrap();
        let kind = rustix::fs::statfs(meant.path("uid_map")).unwrap();
        assert_eq!(kind.f_type, PROC_SUPER_MAGIC);
        let naive = fs::write(meant.path("oom_score_adj"), "77");
        naive.unwrap();
        let hit = fs::read_to_string(other.path("oom_score_adj")).unwrap();
        assert_eq!(hit, "77\n");

        refused(meant.map(), MOUNTED_OVER);
        assert!(other.has_no_map());
        mount_bind("/proc/sys/kernel", "/proc/sys/net").unwrap();
        refused(network_settings(), MOUNTED_OVER);
        mount_bind(other.path(""), "/proc").unwrap();
        refused(myself(), "not a procfs");
    });
}

#[test]
fn something_else_for_proc() {
    prepared(|decoy| {
        let planted = decoy.with_file_name("proc");
        fs::create_dir_all(planted.join("self")).unwrap();
        fs::write(planted.join("self/oom_score_adj"), "").unwrap();
        mount_bind(&planted, "/proc").unwrap();
        fs::write("/proc/self/oom_score_adj", "naive").unwrap();
        refused(myself(), "not a procfs");
        refused(process(rustix::process::getpid()), "not a procfs");
    });
}

#[test]
fn the_procfs_of_another_pid_namespace() {
    prepared(|_| {
        unshare(libc::CLONE_NEWPID);
        // The child is number 1 of a new one, and /proc/1 is still the machine's.
        in_child(|| {
            let first = Pid::from_raw(1).unwrap();
            assert_eq!(rustix::process::getpid(), first);
            assert_ne!(fs::read_link("/proc/self").unwrap(), Path::new("1"));
            refused(process(first), "another pid namespace");
            myself().unwrap();
            // The control: one of its own.
            unshare(libc::CLONE_NEWNS);
            let own = DetachedMount::new("proc", &[], crate::mount::Restrictions::NONE).unwrap();
            own.attach_at(Path::new("/proc")).unwrap();
            process(first).unwrap();
        });
    });
}

#[test]
fn another_user_namespace() {
    prepared(|_| {
        let (meant, other) = (Other::new(), Other::new());
        mount_bind(other.path("ns"), meant.path("ns")).unwrap();
        let naive = fs::File::open(meant.path("ns/user")).unwrap();
        let wrong = user_namespace(other.pid()).unwrap();
        assert_eq!(identity(naive).unwrap(), identity(wrong).unwrap());
        refused(user_namespace(meant.pid()), MOUNTED_OVER);
    });
}

#[test]
fn other_files_for_open_ones() {
    prepared(|decoy| {
        let file = tempfile::tempfile().unwrap();
        let path = path_of(&file).unwrap();
        fs::write(&path, "reaches it").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);

        let planted = decoy.with_file_name("fd");
        fs::create_dir(&planted).unwrap();
        fs::write(planted.join(file.as_raw_fd().to_string()), "").unwrap();
        mount_bind(&planted, "/proc/self/fd").unwrap();
        // The control.
        fs::write(&path, "naive").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
        refused(path_of(&file), "leads to another file");

        // Layers are given to the kernel by such paths.
        let directory = fs::File::open(decoy.parent().unwrap()).unwrap();
        fs::create_dir(planted.join(directory.as_raw_fd().to_string())).unwrap();
        let layer = directory.as_fd();
        refused(
            DetachedMount::overlay(&[layer], layer, layer),
            "leads to another file",
        );
    });
}
