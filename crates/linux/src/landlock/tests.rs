use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use super::*;
use crate::testing::{become_ordinary, in_child, unshare};

/// As whom a restriction is tried.
const USERS: [fn(); 2] = [|| (), become_ordinary];

/// The tests are about a kernel that has it all.
fn enforced(outcome: SyscallResult<Enforcement>) {
    match outcome.unwrap() {
        Enforcement::Enforced { abi, reach } => {
            assert!(abi >= SCOPES);
            assert_eq!(reach == Reach::AllThreads, abi >= 8);
        }
        Enforcement::NotEnforced { why } => panic!("this kernel cannot run the tests: {why}"),
    }
}

/// Runs until its input ends, so that it needs no signal.
struct Bystander(Child);

impl Bystander {
    fn new() -> Self {
        Self(Command::new("cat").stdin(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self) -> Result<(), Errno> {
        rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM)
    }

    /// Needs the right to trace it.
    fn look_into(&self) -> io::Result<fs::Metadata> {
        fs::metadata(format!("/proc/{}/cwd/.", self.0.id()))
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // Closes its input first.
        let _ = self.0.wait();
    }
}

fn abstract_name(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("wardian-{name}-{}", std::process::id())).unwrap()
}

#[test]
fn knows_the_version() {
    assert!(abi().is_some_and(|abi| abi >= SCOPES), "{:?}", abi());
}

#[test]
fn a_program_reaches_its_own_processes_only() {
    for become_user in USERS {
        in_child(move || {
            become_user();
            let others = Bystander::new();
            others.look_into().unwrap();
            let theirs = abstract_name("outside");
            let _listener = UnixListener::bind_addr(&theirs).unwrap();
            UnixStream::connect_addr(&theirs).unwrap();

            enforced(restrict_program());

            let refused = UnixStream::connect_addr(&theirs).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(others.signal(), Err(Errno::PERM));
            let refused = others.look_into().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);

            let mut own = Bystander::new();
            own.look_into().unwrap();
            own.signal().unwrap();
            assert_eq!(own.0.wait().unwrap().signal(), Some(libc::SIGTERM));
            let name = abstract_name("inside");
            let _listener = UnixListener::bind_addr(&name).unwrap();
            UnixStream::connect_addr(&name).unwrap();
        });
    }
}

#[test]
fn a_program_can_still_nest_and_mount_and_move_files() {
    for become_user in USERS {
        in_child(move || {
            become_user();
            enforced(restrict_program());
            enforced(restrict_program());
            let directory = tempfile::tempdir().unwrap();
            for part in ["mounted", "lower/a", "upper", "work", "merged"] {
                fs::create_dir_all(directory.path().join(part)).unwrap();
            }
            fs::write(directory.path().join("lower/a/file"), "text").unwrap();
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID);
            std::env::set_current_dir(directory.path()).unwrap();
            let status = Command::new("sh")
                .args([
                    "-ec",
                    "mount -t tmpfs none mounted
                     cd mounted; mkdir a b lower upper work merged; echo text >a/file
                     mv a/file b/file; ln b/file a/linked
                     mkdir lower/x; echo text >lower/x/file
                     mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged
                     mkdir merged/y; mv merged/x/file merged/y/file",
                ])
                .status()
                .unwrap();
            assert!(status.success());
        });
    }
}

#[test]
fn a_supervisor_sees_only_what_is_listed() {
    for become_user in USERS {
        in_child(move || {
            become_user();
            let directory = tempfile::tempdir().unwrap();
            let at = |path: &str| directory.path().join(path);
            for part in ["state/a", "state/b", "config", "secret"] {
                fs::create_dir_all(at(part)).unwrap();
                fs::write(at(part).join("file"), "text").unwrap();
            }
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let outside = Bystander::new();

            enforced(restrict_supervisor(
                &[&at("config"), &at("missing"), Path::new("/proc")],
                &[&at("state"), &at("secret/file"), Path::new("/dev/null")],
            ));

            let denied = |result: io::Result<()>| {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            };
            assert_eq!(fs::read(at("config/file")).unwrap(), b"text");
            denied(fs::write(at("config/file"), "other"));
            denied(fs::File::create(at("config/new")).map(drop));
            denied(fs::read_dir(at("secret")).map(drop));
            denied(fs::read("/etc/hosts").map(drop));
            denied(fs::remove_file(at("secret/file")));
            fs::write(at("secret/file"), "other").unwrap();
            fs::write("/dev/null", "nothing").unwrap();

            fs::rename(at("state/a/file"), at("state/b/moved")).unwrap();
            fs::create_dir(at("state/c")).unwrap();
            fs::remove_dir_all(at("state/b")).unwrap();
            std::os::unix::net::UnixListener::bind(at("state/socket")).unwrap();

            denied(Command::new("/bin/true").status().map(drop));
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(outside.look_into().is_err());
            fs::read_to_string(format!("/proc/{}/status", outside.0.id())).unwrap();
            outside.signal().unwrap();
            std::thread::spawn(|| assert!(fs::read("/etc/hosts").is_err()))
                .join()
                .unwrap();
        });
    }
}

#[test]
fn a_path_that_cannot_be_opened_is_named() {
    in_child(|| {
        let long = format!("/{}", "x".repeat(300));
        let error = restrict_supervisor(&[Path::new(&long)], &[]).unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENAMETOOLONG));
        assert!(error.call().starts_with("open(\"/xxx"), "{error}");
        // And nothing was restricted.
        fs::read("/etc/hosts").unwrap();
    });
}
