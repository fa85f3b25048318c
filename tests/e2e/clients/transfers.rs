//! Version control and package managers move files through the door.

use std::path::PathBuf;
use std::time::Duration;

use wardian_tests::git;
use wardian_tests::host::{Host, copy_for_all};
use wardian_tests::mode::Mode;
use wardian_tests::policy::Policy;
use wardian_tests::process::{Input, Running};

use crate::support::lines;

wardian_tests::both_modes!(
    git_clones_fetches_and_pushes,
    npm_installs_from_the_real_registry,
    pip_installs_from_the_real_registry,
    cargo_downloads_from_the_real_registry,
);

fn git_clones_fetches_and_pushes(mode: Mode) {
    let host = Host::new(mode);
    let repositories = host.base().join("git/repositories");
    host.make_directory(&repositories);
    let prepare = "set -e; git init -q --bare repositories/acme.git; git init -q seed; cd seed; git config user.email a@b; git config user.name n
        head -c 3000000 /dev/urandom >big; echo one >file; git add .; git commit -qm one; git push -q ../repositories/acme.git HEAD:main
        git -C ../repositories/acme.git symbolic-ref HEAD refs/heads/main";
    let mut command = host.command(["sh", "-c", prepare]);
    command.current_dir(host.base().join("git"));
    Running::start(command, Input::Nothing)
        .wait(Duration::from_secs(30))
        .success();
    let server = git::serve(&repositories);
    let policy = Policy::new().pin("git.test", server.address());
    let script = "set -e; git clone -q https://git.test/acme.git; cd acme; cat file; git config user.email a@b; git config user.name n
        head -c 2000000 /dev/urandom >more; git add .; git commit -qm two; git push -q origin HEAD:refs/heads/two; git fetch -q origin two && git rev-parse FETCH_HEAD";
    let outcome = host
        .shell(script)
        .policy(&policy)
        .limit(Duration::from_secs(60))
        .finish()
        .success();
    let told = lines(&outcome);
    let outside = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(repositories.join("acme.git"))
        .args(["rev-parse", "refs/heads/two"])
        .output()
        .unwrap();
    assert_eq!(
        told,
        ["one", String::from_utf8(outside.stdout).unwrap().trim()]
    );
}

/// Whatever registry this machine uses: the point is that the package managers' own hosts work.
fn any_https() -> Policy {
    Policy::new().rule("host = \"*\"\nports = [443]")
}

fn npm_installs_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let script = "npm install --no-audit --no-fund --loglevel=error is-number@7.0.0 >&2 && node -p 'require(\"is-number\")(5)'";
    let outcome = host
        .shell(script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_eq!(outcome.text(), "true\n");
    assert!(!host.project().join("node_modules").exists());
    assert!(outcome.events().of_kind("request").len() >= 2);
}

fn pip_installs_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let script = "/usr/bin/python3 -m venv /tmp/v && /tmp/v/bin/pip install -q --disable-pip-version-check six==1.16.0 && /tmp/v/bin/python -c 'import six; print(six.__version__)'";
    let outcome = host
        .shell(script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_eq!(outcome.text(), "1.16.0\n");
    assert!(outcome.events().of_kind("request").len() >= 2);
}

fn cargo_downloads_from_the_real_registry(mode: Mode) {
    let host = Host::new(mode);
    let cargo = std::env::var_os("CARGO")
        .map(PathBuf::from)
        .expect("cargo sets CARGO for tests");
    let cargo = if rustix::process::geteuid().is_root() {
        copy_for_all(&cargo)
    } else {
        cargo
    };
    host.write(
        &host.project().join("Cargo.toml"),
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[dependencies]\nitoa = \"=1.0.15\"\n",
    );
    host.write(&host.project().join("src/lib.rs"), "");
    let script = format!(
        "{} vendor -q >/dev/null && cat vendor/itoa/Cargo.toml | grep -c 'name = \"itoa\"'",
        cargo.display()
    );
    let outcome = host
        .shell(&script)
        .policy(&any_https())
        .limit(Duration::from_secs(120))
        .finish()
        .success();
    assert_ne!(outcome.text(), "0\n");
    assert!(outcome.events().of_kind("request").len() >= 2);
}
