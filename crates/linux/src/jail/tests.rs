use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::testing::{become_ordinary, in_child};

/// As whom a jail is made.
const USERS: [fn(); 2] = [|| (), become_ordinary];

fn system() -> Vec<Entry> {
    ["/usr", "/bin", "/lib", "/lib64"]
        .into_iter()
        .filter_map(|path| {
            let target = PathBuf::from(path);
            let content = match fs::read_link(path) {
                Ok(to) => Content::Symlink(to),
                Err(_) if Path::new(path).is_dir() => Content::Bind {
                    source: Source::Path(target.clone()),
                    access: Access::Execute,
                },
                Err(_) => return None,
            };
            Some(Entry { target, content })
        })
        .collect()
}

fn jail(more: Vec<Entry>) -> Jail {
    let null = bind(
        "/dev/null",
        Source::Path("/dev/null".into()),
        Access::Device,
    );
    Jail {
        entries: system().into_iter().chain([null]).chain(more).collect(),
        limits: Limits {
            memory: 256 << 20,
            file_size: 1 << 20,
            cpu_seconds: 20,
            open_files: 64,
            processes: 16,
        },
    }
}

fn shell(script: &str) -> Program {
    Program {
        path: "/bin/sh".into(),
        arguments: ["sh", "-c", script]
            .map(|text| CString::new(text).unwrap())
            .into(),
        environment: vec![c"PATH=/usr/bin:/bin".into()],
        directory: "/".into(),
    }
}

/// Runs `script`, and returns how it ended and all that it said.
fn said(jail: &Jail, script: &str) -> (Exit, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let streams = [
        File::open("/dev/null").unwrap().into(),
        writer.try_clone().unwrap().into(),
        writer.into(),
    ];
    let mut jailed = jail.spawn(&shell(script), streams).unwrap();
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    (jailed.wait().unwrap(), said)
}

fn bind(target: &str, source: Source, access: Access) -> Entry {
    Entry {
        target: target.into(),
        content: Content::Bind { source, access },
    }
}

/// A directory that everybody can enter.
fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn shows_what_was_given_and_nothing_else() {
    let directory = open_directory();
    fs::write(directory.path().join("file"), "content").unwrap();
    let source = Source::Path(directory.path().to_owned());
    let more = vec![
        bind("/given", source, Access::Read),
        Entry {
            target: "/made/file".into(),
            content: Content::File(b"written".to_vec()),
        },
        Entry {
            target: "/scratch".into(),
            content: Content::Memory { bytes: 1 << 20 },
        },
    ];
    for user in USERS {
        in_child(|| {
            user();
            let (exit, said) = said(
                &jail(more.clone()),
                "cat /given/file /made/file; echo; echo /*; echo $$; touch /scratch/x && echo scratch
                 touch /x /given/x /made/x 2>/dev/null || echo read-only; exit 7",
            );
            assert_eq!(exit, Exit::Code(7), "{said}");
            let lines: Vec<_> = said.lines().collect();
            assert_eq!(lines[0], "contentwritten");
            assert_eq!(lines[1], "/bin /dev /given /lib /lib64 /made /scratch /usr");
            assert_eq!(lines[2..], ["1", "scratch", "read-only"]);
        });
    }
}

const REACH: &str =
    "for f in /proc /etc /home /root /sys /dev/zero; do test -e $f && echo sees $f; done
    mount -t tmpfs none /usr 2>/dev/null && echo mounts
    unshare -r true 2>/dev/null && echo unshares
    ip -o link 2>/dev/null | grep -v ' lo: '
    (true <&3) 2>/dev/null && echo descriptor
    echo done";

#[test]
fn has_no_power_over_the_host() {
    for user in USERS {
        in_child(|| {
            user();
            // A descriptor of the caller's must not be there either.
            let _held = File::open("/etc/passwd").unwrap();
            let (exit, said) = said(&jail(Vec::new()), REACH);
            assert_eq!((exit, said.as_str()), (Exit::Code(0), "done\n"));
        });
    }
    // The control, as a user who cannot mount anything on the host.
    in_child(|| {
        become_ordinary();
        let outside = std::process::Command::new("sh")
            .args(["-c", REACH])
            .output();
        let said = String::from_utf8(outside.unwrap().stdout).unwrap();
        for sign in ["sees /etc\n", "sees /proc\n", "unshares\n"] {
            assert!(said.contains(sign), "{said}");
        }
    });
}

#[test]
fn limits_hold() {
    let scratch = Entry {
        target: "/scratch".into(),
        content: Content::Memory { bytes: 8 << 20 },
    };
    for user in USERS {
        in_child(|| {
            user();
            let jail = jail(vec![scratch.clone()]);
            let write = |count| {
                let script =
                    format!("head -c {count} /usr/bin/perl >/scratch/f 2>/dev/null && echo all");
                said(&jail, &script).1
            };
            assert_eq!(write(1 << 19), "all\n");
            assert_eq!(write(3 << 20), "");
            let hungry =
                "perl -e '$x = \"x\" x (512<<20); print length $x' 2>/dev/null || echo refused";
            assert_eq!(said(&jail, hungry).1, "refused\n");
            // The control.
            let modest = "perl -e '$x = \"x\" x (16<<20); print length $x'";
            assert_eq!(said(&jail, modest).1, (16 << 20).to_string());
        });
    }
}

#[test]
fn links_in_an_untrusted_tree_fail_the_start() {
    let directory = open_directory();
    fs::create_dir(directory.path().join("real")).unwrap();
    fs::create_dir(directory.path().join("outside")).unwrap();
    symlink("outside", directory.path().join("link")).unwrap();
    symlink("/etc", directory.path().join("etc")).unwrap();
    let start = |path: &str| {
        let source = Source::Beneath {
            root: directory.path().to_owned(),
            path: path.into(),
        };
        let null = || File::open("/dev/null").unwrap().into();
        let streams = [null(), null(), null()];
        jail(vec![bind("/given", source, Access::Read)])
            .spawn(&shell("true"), streams)
            .map(drop)
    };
    for user in USERS {
        in_child(|| {
            user();
            start("real").unwrap();
            for path in [
                "link",
                "etc",
                "../outside",
                "real/../outside/../../..",
                "missing",
            ] {
                let error = start(path).unwrap_err().to_string();
                assert!(error.contains("openat2("), "{path}: {error}");
            }
        });
    }
}

#[test]
fn a_cover_hides_a_directory() {
    let directory = open_directory();
    fs::create_dir(directory.path().join("info")).unwrap();
    fs::write(directory.path().join("info/alternates"), "/somewhere").unwrap();
    let source = Source::Path(directory.path().to_owned());
    let cover = |target: &str| Entry {
        target: target.into(),
        content: Content::Cover,
    };
    let more = vec![
        bind("/given", source, Access::Read),
        cover("/given/info"),
        cover("/given/nothing"),
    ];
    in_child(|| {
        become_ordinary();
        let (exit, said) = said(&jail(more), "ls -A /given /given/info");
        assert_eq!(exit, Exit::Code(0), "{said}");
        assert_eq!(said, "/given:\ninfo\n\n/given/info:\n");
    });
}

#[test]
fn ends_with_all_that_it_started() {
    let (reader, writer) = std::io::pipe().unwrap();
    let streams = [
        File::open("/dev/null").unwrap().into(),
        writer.try_clone().unwrap().into(),
        writer.into(),
    ];
    let script = "(trap '' TERM HUP; sleep 1000) & (setsid sleep 1000) & sleep 1000";
    let jailed = jail(Vec::new()).spawn(&shell(script), streams).unwrap();
    drop(jailed);
    // Nobody is left to hold it open.
    assert_eq!(std::io::read_to_string(reader).unwrap(), "");
}

#[test]
fn runs_beside_other_threads() {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sink = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                sink = vec![sink.len() as u8; 1000];
                let _ = std::io::sink().write_all(&sink);
            }
        });
        for _ in 0..20 {
            let (exit, said) = said(&jail(Vec::new()), "echo here");
            assert_eq!((exit, said.as_str()), (Exit::Code(0), "here\n"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn says_what_failed() {
    let null = || File::open("/dev/null").unwrap().into();
    let mut program = shell("true");
    program.path = "/nowhere".into();
    let error = jail(Vec::new())
        .spawn(&program, [null(), null(), null()])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "execve(\"/nowhere\"): no such file or directory (ENOENT)"
    );
}
