//! Downloads that are kept between sandboxes: by real package managers, from registries that are gone when the second
//! sandbox comes; and what one sandbox must not be able to do to another by way of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use wardian_tests::host::{Host, copy_for_all};
use wardian_tests::mode::Mode;
use wardian_tests::policy::Policy;
use wardian_tests::run::{Outcome, Run};
use wardian_tests::server::{Answer, Peer, Server, Service, Transport, full};

wardian_tests::both_modes!(
    npm_installs_without_its_registry,
    pip_installs_without_its_registry,
    cargo_downloads_without_its_registry,
    go_downloads_without_its_proxy,
    resume_remembers_what_is_kept,
    a_sandbox_cannot_reach_what_is_kept,
    the_policy_decides_about_what_is_kept,
    a_cache_that_cannot_be_used_is_told_and_done_without,
    gc_sweeps_what_a_crash_left,
);

const MAKE: &str = include_str!("caches/registry.py");
const PATIENCE: Duration = Duration::from_secs(120);

/// Plays every registry at once, until it is dropped.
fn registry(host: &Host) -> Server {
    let files = host.base().join("registry");
    if !files.exists() {
        host.make_directory(&files);
        let files = files.to_str().unwrap();
        host.outside(["/usr/bin/python3", "-c", MAKE, files])
            .success();
    }
    let handler = move |request: Request<Incoming>, _: Peer| -> Answer {
        let path = request.uri().path().trim_matches('/').to_owned();
        let place = files.join(&path);
        let found = [place.join("index"), place]
            .into_iter()
            .find_map(|path| fs::read(path).ok());
        let response = match found {
            None => Response::builder().status(404).body(full("")),
            Some(data) => Response::builder()
                .header(header::CACHE_CONTROL, "public, max-age=600")
                .header(
                    header::CONTENT_TYPE,
                    match path.as_str() {
                        "left" => "application/vnd.npm.install-v1+json",
                        "simple/left" => "text/html",
                        _ => "application/octet-stream",
                    },
                )
                .body(full(data)),
        };
        Box::pin(async move { response.unwrap() })
    };
    Server::start(Transport::TLS, Service::Http(Arc::new(handler)))
}

fn policy(registry: &Server) -> Policy {
    ["npm.test", "pip.test", "cargo.test", "go.test"]
        .iter()
        .fold(Policy::new(), |policy, host| {
            policy.pin(host, registry.address())
        })
}

/// What the cache did for each response, without repetitions.
fn uses(outcome: &Outcome<'_>) -> Vec<String> {
    let events = outcome.events();
    let mut uses: Vec<_> = events
        .of_kind("response")
        .iter()
        .map(|response| response["cache"].as_str().unwrap_or("-").to_owned())
        .collect();
    uses.sort();
    uses.dedup();
    uses
}

fn downloads(host: &Host) -> PathBuf {
    host.home().join(".cache/wardian/downloads")
}

fn with_cache<'a>(run: Run<'a>, kinds: &str) -> Outcome<'a> {
    run.option(&["--cache", kinds]).finish().success()
}

/// Runs `script` in two sandboxes. The second finds the registry gone.
#[track_caller]
fn twice(mode: Mode, kind: &str, prepare: impl FnOnce(&Host), script: &str, expected: &str) {
    let host = Host::new(mode);
    prepare(&host);
    let registry = registry(&host);
    let policy = policy(&registry);
    let run = || host.shell(script).policy(&policy).limit(PATIENCE);

    let first = with_cache(run(), kind);
    assert_eq!(first.text(), expected);
    assert_eq!(uses(&first), ["stored"], "{:?}", first.events());
    let requests = first.events().of_kind("request").len();
    drop(registry);

    let second = with_cache(run(), kind);
    assert_eq!(second.text(), expected);
    assert_eq!(uses(&second), ["hit"], "{:?}", second.events());
    assert_eq!(second.events().of_kind("request").len(), requests);
    let shown = host.wardian(&["events", &second.name]).success().text();
    assert!(shown.contains("from the cache"), "{shown}");

    // The control: without the cache there is nothing to have.
    run().finish().failed();

    let directory = fs::metadata(downloads(&host)).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let mut files = 0;
    for entry in fs::read_dir(downloads(&host)).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(files, requests, "each download once, and nothing half done");
}

const NPM: &str = "npm install --registry https://npm.test/ --no-audit --no-fund --no-update-notifier \
                   --loglevel=error left >&2 && node -p 'require(\"left\")'";

fn npm_installs_without_its_registry(mode: Mode) {
    twice(mode, "npm", |_| (), NPM, "left of npm\n");
}

fn pip_installs_without_its_registry(mode: Mode) {
    let script = "/usr/bin/python3 -m venv /tmp/v && /tmp/v/bin/pip install -q --disable-pip-version-check \
                  --index-url https://pip.test/simple/ left && /tmp/v/bin/python -c 'import left; print(left.name)'";
    twice(mode, "pip", |_| (), script, "left of pip\n");
}

fn cargo_downloads_without_its_registry(mode: Mode) {
    let cargo = std::env::var_os("CARGO").map(PathBuf::from);
    let cargo = cargo.expect("cargo sets CARGO for tests");
    let cargo = match rustix::process::geteuid().is_root() {
        true => copy_for_all(&cargo),
        false => cargo,
    };
    let prepare = |host: &Host| {
        let file = |path: &str, text: &str| host.write(&host.project().join(path), text);
        file(
            "Cargo.toml",
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[dependencies]\nleft = { version = \"1\", registry = \"test\" }\n",
        );
        file("src/lib.rs", "");
        file(
            ".cargo/config.toml",
            "[registries.test]\nindex = \"sparse+https://cargo.test/\"\n",
        );
    };
    let script = format!(
        "{} vendor -q >/dev/null && cat vendor/left/src/lib.rs",
        cargo.display()
    );
    twice(mode, "cargo", prepare, &script, "// left of cargo\n");
}

fn go_downloads_without_its_proxy(mode: Mode) {
    let script = "export GOPROXY=https://go.test GOSUMDB=off GOFLAGS=-modcacherw; \
                  go mod download go.test/left@v1.0.0 && cat $(go env GOMODCACHE)/go.test/left@v1.0.0/left.go";
    let prepare = |host: &Host| {
        host.write(&host.project().join("go.mod"), "module x\n");
    };
    twice(mode, "go", prepare, script, "// left of go\n");
}

fn resume_remembers_what_is_kept(mode: Mode) {
    let host = Host::new(mode);
    let registry = registry(&host);
    let run = host
        .shell(NPM)
        .policy(&policy(&registry))
        .option(&["--cache", "npm,pip"])
        .limit(PATIENCE);
    let first = run.finish().success();
    drop(registry);
    let plan = host.wardian(&["run", "--dry-run", "--cache", "pip,npm", "true"]);
    let plan = plan.success().text();
    assert!(plan.contains("of npm, pip are kept in"), "{plan}");

    let fresh = format!("rm -rf node_modules package-lock.json ~/.npm; {NPM}");
    let again = host.wardian(&["resume", &first.name, "--", "sh", "-c", &fresh]);
    assert_eq!(again.success().text(), "left of npm\n");
    assert_eq!(uses(&first), ["hit", "stored"]);
    let unknown = host.wardian(&["run", "--cache", "gem", "true"]).failed();
    assert!(unknown.errors().contains("no cache for `gem`"));
}

fn a_sandbox_cannot_reach_what_is_kept(mode: Mode) {
    let host = Host::new(mode);
    let registry = registry(&host);
    let policy = policy(&registry);
    // It replaces whatever of caches it can find.
    let evil = format!(
        "{NPM} && for cache in ~/.npm {downloads}; do mkdir -p $cache && \
         find $cache -type f -exec sh -c 'echo evil >\"$1\"' - {{}} \\; ; done; \
         ls -A {downloads} | wc -l",
        downloads = downloads(&host).display()
    );
    let run = |script: &str| {
        let run = host.shell(script).policy(&policy).limit(PATIENCE);
        run.option(&["--cache", "npm"]).finish()
    };
    let first = run(&evil).success();
    assert_eq!(first.text(), "left of npm\n0\n", "no entry is to be seen");
    assert_eq!(run(NPM).success().text(), "left of npm\n");
    let bind = format!("--bind={}", host.home().join(".cache").display());
    let bound = host.shell("true").option(&[&bind]).finish().failed();
    assert!(bound.errors().contains("which Wardian relies on"));

    // The control: an entry that is changed outside is noticed, too.
    for entry in fs::read_dir(downloads(&host)).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).replace("left", "evil");
        fs::write(&path, text).unwrap();
    }
    let repaired = run(NPM).success();
    assert_eq!(repaired.text(), "left of npm\n");
    assert_eq!(uses(&repaired), ["stored"]);
}

fn the_policy_decides_about_what_is_kept(mode: Mode) {
    let host = Host::new(mode);
    let registry = registry(&host);
    let get = "curl -sS -o /dev/null -w '%{http_code}\\n' https://npm.test/left/-/left-1.0.0.tgz";
    let run = |policy: &Policy| {
        let run = host.shell(get).policy(policy);
        run.option(&["--cache", "npm"]).finish()
    };
    let open = policy(&registry);
    assert_eq!(run(&open).success().text(), "200\n");
    let hit = run(&open).success();
    assert_eq!(
        (hit.text().as_str(), uses(&hit)),
        ("200\n", vec!["hit".to_owned()])
    );

    run(&Policy::new().allow("other.test")).failed();
    let narrow = Policy::new().pin_with("npm.test", registry.address(), "paths = [\"/right/**\"]");
    let narrow = run(&narrow).success();
    assert_eq!(narrow.text(), "403\n");
    assert_eq!(narrow.events().of_kind("response").len(), 0);
}

fn a_cache_that_cannot_be_used_is_told_and_done_without(mode: Mode) {
    let host = Host::new(mode);
    let registry = registry(&host);
    let directory = host.base().join("shared/wardian/downloads");
    host.make_directory(&directory);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let shared = host.base().join("shared");
    let run = host
        .shell(NPM)
        .policy(&policy(&registry))
        .option(&["--cache", "npm"])
        .host_env("XDG_CACHE_HOME", shared.to_str().unwrap())
        .limit(PATIENCE);
    let outcome = run.finish().success();
    assert_eq!(outcome.text(), "left of npm\n");
    let errors = outcome.errors();
    assert!(
        errors.contains("the cache of downloads is not possible here"),
        "{errors}"
    );
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

fn gc_sweeps_what_a_crash_left(mode: Mode) {
    let host = Host::new(mode);
    assert_eq!(host.wardian(&["gc"]).success().text(), "");
    let registry = registry(&host);
    let run = host.shell(NPM).policy(&policy(&registry));
    run.option(&["--cache", "npm"])
        .limit(PATIENCE)
        .finish()
        .success();
    let kept = fs::read_dir(downloads(&host)).unwrap().count();
    let half = downloads(&host).join("new-0123456789abcdef");
    host.write(&half, "half");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let file = fs::File::options().write(true).open(&half).unwrap();
    file.set_modified(long_ago).unwrap();
    let told = host.wardian(&["gc"]).success().text();
    assert!(told.contains("downloads: removed 1"), "{told}");
    assert_eq!(fs::read_dir(downloads(&host)).unwrap().count(), kept);
}
