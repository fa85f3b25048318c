//! What the end-to-end tests need beyond a Rust toolchain, installed once and kept.
//!
//! Everything lies under [`TOOLS`], where root and the test user can both read it and where a sandbox shows it. A
//! file `<part>.stamp` beside each part holds the versions that were installed; a part whose stamp is right is left
//! alone, so that a second run takes a moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::shell::{self, command};

/// World-readable, and in a directory that the image `host` shows inside.
const TOOLS: &str = "/opt/wardian-tests";

/// The ordinary user as whom the rootless tests run when the suite is started by root.
const USER: &str = "wardian-test";

/// A program that must exist, and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("git", "git"),
    ("git-lfs", "git-lfs"),
    ("openssl", "openssl"),
    ("gcc", "gcc"),
    ("g++", "g++"),
    ("ip", "iproute2"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("javac", "default-jdk-headless"),
    ("go", "golang-go"),
    ("ruby", "ruby"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("firefox-esr", "firefox-esr"),
    ("certutil", "libnss3-tools"),
    ("newuidmap", "uidmap"),
    ("dig", "bind9-dnsutils"),
    ("nghttp", "nghttp2-client"),
    ("gh", "gh"),
    ("setpriv", "util-linux"),
    ("script", "bsdutils"),
    ("nc", "netcat-openbsd"),
    ("ssh-agent", "openssh-client"),
    ("dbus-daemon", "dbus-daemon"),
    ("tmux", "tmux"),
    ("pgrep", "procps"),
];

/// Packages that bring no program of their own.
const PACKAGES: &[&str] = &["ca-certificates", "python3", "python3-venv"];

/// Agents and runtimes from npm, each in a prefix of its own.
const NPM: &[(&str, &str)] = &[
    ("claude", "@anthropic-ai/claude-code@2.1.197"),
    ("codex", "@openai/codex@0.169.0"),
    ("deno", "deno@2.9.6"),
    ("bun", "bun@1.4.5"),
];

/// A client for the tests, of Go's standard library alone.
const GO_CLIENT: &str = "tests/e2e/clients/get.go";

const PYTHON: &[&str] = &[
    "httpx[http2]==0.28.1",
    "requests==2.32.5",
    "websockets==15.0.1",
];

pub(crate) fn run() -> Result<()> {
    timed("Debian packages", debian_packages)?;
    if !shell::is_root() {
        if !Path::new(TOOLS).is_dir() {
            bail!("{TOOLS} is not there yet: run `sudo cargo xtask setup` once");
        }
        eprintln!("not root: {TOOLS} is used as it is");
        return Ok(());
    }
    fs::create_dir_all(TOOLS).context(TOOLS)?;
    timed("test user", test_user)?;
    open_fuse_to_users()?;
    for (name, package) in NPM {
        timed(name, || npm_prefix(name, package))?;
    }
    timed("Go client", go_client)?;
    timed("Python packages", python_packages)
}

/// `wardian run --root` of an ordinary user needs it. The mode is the one that udev's own rules give it; machines
/// without udev have the kernel's.
fn open_fuse_to_users() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    const DEVICE: &str = "/dev/fuse";
    let mode = fs::metadata(DEVICE)
        .context("/dev/fuse: this kernel has no FUSE")?
        .permissions()
        .mode();
    if mode & 0o666 != 0o666 {
        fs::set_permissions(DEVICE, fs::Permissions::from_mode(0o666)).context(DEVICE)?;
    }
    Ok(())
}

fn timed(what: &str, part: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    part().with_context(|| format!("installing: {what}"))?;
    eprintln!("{what}: ready after {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !installed_program(program))
        .map(|(_, package)| *package)
        .collect();
    missing.extend(
        PACKAGES
            .iter()
            .filter(|package| !installed_package(package)),
    );
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::is_root() {
        bail!(
            "these Debian packages are missing: {}; run `sudo cargo xtask setup` once",
            missing.join(" ")
        );
    }
    shell::run(apt(&["update", "-qq"]))?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    shell::run(apt(&arguments))
}

fn apt(arguments: &[&str]) -> std::process::Command {
    let mut apt = command("apt-get", arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// In a place that a sandbox shows as well: a program under some home directory does not count.
fn installed_program(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

fn installed_package(package: &str) -> bool {
    command("dpkg-query", &["-W", "-f", "${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.stdout == b"installed")
}

fn test_user() -> Result<()> {
    let known = |file: &str| {
        fs::read_to_string(file).is_ok_and(|text| {
            text.lines()
                .any(|line| line.starts_with(&format!("{USER}:")))
        })
    };
    if !known("/etc/passwd") {
        shell::run(command(
            "useradd",
            &["--create-home", "--shell", "/bin/bash", USER],
        ))?;
    }
    for (file, option) in [
        ("/etc/subuid", "--add-subuids"),
        ("/etc/subgid", "--add-subgids"),
    ] {
        if !known(file) {
            let from = first_free(&fs::read_to_string(file).unwrap_or_default());
            shell::run(command(
                "usermod",
                &[option, &format!("{from}-{}", from + 65535), USER],
            ))?;
        }
    }
    Ok(())
}

/// The first id after all ranges of a `subuid(5)` file.
fn first_free(ranges: &str) -> u64 {
    let ends = ranges.lines().filter_map(|line| {
        let mut fields = line
            .split(':')
            .skip(1)
            .map(|field| field.parse::<u64>().ok());
        Some(fields.next()?? + fields.next()??)
    });
    ends.max().unwrap_or(0).max(100_000)
}

fn npm_prefix(name: &str, package: &str) -> Result<()> {
    install(name, package, |prefix| {
        shell::run(command(
            "npm",
            &[
                "install",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
                "--prefix",
                prefix,
                package,
            ],
        ))
    })
}

/// Static: it has no C library that could resolve names or find roots for it.
fn go_client() -> Result<()> {
    let source = shell::root().join(GO_CLIENT);
    let text = fs::read_to_string(&source).context(GO_CLIENT)?;
    install("go", &text, |prefix| {
        let mut build = command("go", &["build", "-trimpath", "-o"]);
        build.arg(format!("{prefix}/bin/get")).arg(&source);
        let cache = format!("{prefix}/cache");
        for (name, value) in [
            ("CGO_ENABLED", "0"),
            ("GO111MODULE", "off"),
            ("GOPROXY", "off"),
            ("GOCACHE", &cache),
        ] {
            build.env(name, value);
        }
        shell::run(build)?;
        fs::remove_dir_all(&cache).context(cache)
    })
}

fn python_packages() -> Result<()> {
    install("python", &PYTHON.join(" "), |prefix| {
        // Debian's, which is there inside a sandbox as well.
        shell::run(command("/usr/bin/python3", &["-m", "venv", prefix]))?;
        let pip = format!("{prefix}/bin/pip");
        let mut arguments = vec!["install", "--quiet", "--disable-pip-version-check"];
        arguments.extend(PYTHON);
        shell::run(command(&pip, &arguments))
    })
}

/// Runs `with` on a fresh `TOOLS/<name>` unless it holds `version` already.
fn install(name: &str, version: &str, with: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let prefix = Path::new(TOOLS).join(name);
    let stamp = PathBuf::from(format!("{}.stamp", prefix.display()));
    if fs::read_to_string(&stamp).is_ok_and(|text| text == version) {
        return Ok(());
    }
    if prefix.exists() {
        fs::remove_dir_all(&prefix).with_context(|| prefix.display().to_string())?;
    }
    let text = prefix.to_str().context("the prefix is UTF-8")?;
    with(text)?;
    shell::run(command("chmod", &["-R", "a+rX", text]))?;
    fs::write(&stamp, version).with_context(|| stamp.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::first_free;

    #[test]
    fn subordinate_ids_follow_the_ones_that_are_taken() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("ann:100000:65536\nbob:165536:65536\n"), 231_072);
        assert_eq!(first_free("broken line\nann:5:10\n"), 100_000);
    }
}
