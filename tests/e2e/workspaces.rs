//! Session clones: the agent does anything to its repository, and the user's own does not notice until told to.

mod applied;
mod lfs;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wardian_tests::host::{Host, TOOLS};
use wardian_tests::mode::Mode;
use wardian_tests::model::{ModelServer, Options, Script};
use wardian_tests::process::{End, Input, Running};
use wardian_tests::run::Outcome;

wardian_tests::both_modes!(
    a_clone_is_a_clean_copy_of_head,
    case_55_objects_are_shared_read_only_and_never_linked,
    uncommitted_changes_come_along_if_asked,
    every_kind_of_repository,
    submodules_and_other_repositories,
    without_fuse_the_files_are_written_out,
    commits_and_changes_come_back,
    a_conflict_leaves_everything_as_it_was,
    a_clone_of_a_clone_without_work_is_not_kept,
    undo_takes_back_the_last_apply_alone,
    an_overlay_comes_back_as_well,
    any_history_comes_back_bit_by_bit,
    case_53_54_58_nothing_of_the_session_runs_or_is_followed_outside,
    case_34_42_links_out_of_the_workspace_are_not_followed,
    case_45_nothing_privileged_or_special_comes_back,
    names_that_mean_git_do_not_arrive,
    what_would_run_is_named,
    a_kill_while_applying_leaves_a_way_on_and_a_way_back,
    claude_commits_and_the_commit_arrives,
);

/// Runs `script` with git set up as the user's.
#[track_caller]
fn shell(host: &Host, script: &str) -> String {
    let settings = "export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=ada@example.org \
        GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=ada@example.org GIT_CONFIG_SYSTEM=/dev/null; set -eu; ";
    let finished = host.outside(["bash", "-c", &format!("{settings}{script}")]);
    finished.success().text()
}

/// For scripts inside, where nobody has told git who commits.
const ME: &str = "git config user.name Agent; git config user.email agent@example.org; ";

#[track_caller]
fn repository(host: &Host) {
    shell(
        host,
        "git init -q -b main .; mkdir src; echo one >a; printf 'fn main() {}\\n' >src/main.rs
         printf '#!/bin/sh\\necho run\\n' >run; chmod +x run; ln -s a link; printf '.env\\n/target/\\n' >.gitignore
         git add .; git commit -qm base; git tag v1; git branch other
         echo SECRET >.env; echo untracked >untracked; echo edited >>a",
    );
}

/// All that git knows and all that is in the work tree, to see whether anything changed.
fn fingerprint(host: &Host) -> String {
    shell(
        host,
        "git for-each-ref; git status --porcelain=v2 --branch; git fsck --strict 2>&1; cat .git/HEAD .git/config
         find . -path ./.git -prune -o -printf '%p %y %m %l\\n' | sort; sha256sum $(git ls-files) untracked 2>&1 || true",
    )
}

fn session(host: &Host, name: &str) -> PathBuf {
    host.state(name).join("layers/workspaces/0/upper")
}

#[track_caller]
fn text(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.text().lines().map(str::to_owned).collect()
}

fn a_clone_is_a_clean_copy_of_head(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let before = fingerprint(&host);
    let run = host.shell(
        "cd src && pwd && git rev-parse --abbrev-ref HEAD && git status --porcelain && cat ../a && ls ../.env ../untracked 2>&1 |
         grep -c 'No such' && ../run && readlink ../link && git log --format=%s && git tag && git branch --list other &&
         echo changed >../a && git rm -q --cached ../run && rm -rf ../.git/refs && echo gone",
    );
    let name = run.name().to_owned();
    let outcome = run.finish().success();
    let lines = text(&outcome);
    let project = host.project();
    assert_eq!(lines[0], project.join("src").to_str().unwrap());
    assert_eq!(lines[1], format!("wardian/{name}"));
    assert_eq!(
        lines[2..9],
        ["one", "2", "run", "a", "base", "v1", "  other"]
    );
    assert_eq!(fingerprint(&host), before);
}

fn case_55_objects_are_shared_read_only_and_never_linked(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let objects = host.project().join(".git/objects");
    let inodes: Vec<u64> = walk(&objects).iter().map(|path| inode(path)).collect();
    let script = "o=$(cat .git/objects/info/alternates); ls $o >/dev/null || exit 9
        for f in $(find $o -type f); do echo x >$f && echo written; rm -f $f && echo removed; chmod u+w $f && echo changed; done
        mkdir $o/xx && echo made; mv $o $o.old && echo moved; umount $o && echo unmounted; git gc -q; git cat-file -p HEAD:a";
    let run = host.shell(script).as_inner_root();
    let name = run.name().to_owned();
    let outcome = run.finish().success();
    assert_eq!(text(&outcome), ["one"], "{outcome:?}");
    let session = session(&host, &name).join(".git/objects");
    for path in walk(&session) {
        let links = fs::symlink_metadata(&path).unwrap();
        assert_eq!(links.nlink(), 1, "{}", path.display());
        assert!(!inodes.contains(&links.ino()), "{}", path.display());
    }
    // The control: what git itself links by default.
    shell(&host, "git clone -q . ../control");
    let linked = walk(&host.home().join("control/.git/objects"));
    assert!(linked.iter().any(|path| inodes.contains(&inode(path))));
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn uncommitted_changes_come_along_if_asked(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(
        &host,
        "git rm -q run; git add a; echo more >>src/main.rs; rm link",
    );
    let before = fingerprint(&host);
    let outcome = host
        .shell("git status --porcelain; cat .env; ls -A")
        .option(&["--with-changes", "--include", ".env"])
        .finish()
        .success();
    assert_eq!(
        text(&outcome),
        [
            "M  a",
            " D link",
            "D  run",
            " M src/main.rs",
            "?? untracked",
            "SECRET",
            ".env",
            ".git",
            ".gitignore",
            "a",
            "src",
            "untracked"
        ]
    );
    assert_eq!(fingerprint(&host), before);
    // By default an ignored file never comes along, not even with the changes.
    let outcome = host.shell("cat .env").option(&["--with-changes"]).finish();
    outcome.failed();
}

fn every_kind_of_repository(mode: Mode) {
    let kinds: [(&str, &str, &str); 7] = [
        ("sha256", "git init -q --object-format=sha256 -b main .; echo one >a; git add a; git commit -qm base", "a"),
        (
            "shallow",
            "git init -q -b main ../up; cd ../up; for i in 1 2 3; do echo $i >a; git add a; git commit -qm $i; done
             git clone -q --depth 1 file://$PWD ../project",
            "a",
        ),
        (
            "worktree",
            "git init -q -b main ../up; cd ../up; echo one >a; git add a; git commit -qm base; git worktree add -q --force ../project -b side",
            "a",
        ),
        (
            "sparse",
            "git init -q -b main .; mkdir in out; echo 1 >in/a; echo 2 >out/b; git add .; git commit -qm base; git sparse-checkout set in",
            "in",
        ),
        ("detached", "git init -q -b main .; echo one >a; git add a; git commit -qm base; git checkout -q --detach", "a"),
        (
            "packed",
            "git init -q -b main .; for i in 1 2 3; do echo $i >a; git add a; git commit -qm $i; git tag t$i; done; git gc -q; git pack-refs --all",
            "a",
        ),
        (
            "alternates",
            "git init -q -b main ../up; cd ../up; echo one >a; git add a; git commit -qm base; git clone -q --shared . ../project",
            "a",
        ),
    ];
    for (kind, prepare, listed) in kinds {
        let host = Host::new(mode);
        shell(&host, prepare);
        let before = shell(
            &host,
            "git for-each-ref; git status --porcelain=v2; git fsck 2>&1",
        );
        let run = host.shell(&format!(
            "{ME} git status --porcelain; ls; git fsck 2>&1 | grep -v dangling; echo new >new && git add --sparse new && git commit -qm inside && git log -1 --format=%s"
        ));
        let name = run.name().to_owned();
        let outcome = run.finish().success();
        assert_eq!(text(&outcome), [listed, "inside"], "{kind}: {outcome:?}");
        assert_eq!(
            shell(
                &host,
                "git for-each-ref; git status --porcelain=v2; git fsck 2>&1"
            ),
            before,
            "{kind}"
        );
        host.wardian(&["apply", &name]).success();
        let arrived = shell(
            &host,
            &format!(
                "git log -1 --format=%s wardian/{name}; git fsck 2>&1 | grep -v dangling || true"
            ),
        );
        assert_eq!(arrived, "inside\n", "{kind}");
    }
}

fn submodules_and_other_repositories(mode: Mode) {
    let host = Host::new(mode);
    shell(
        &host,
        "git init -q -b main ../sub; (cd ../sub; echo s >s; git add s; git commit -qm sub)
         git init -q -b main ../web; (cd ../web; echo w >w; git add w; git commit -qm web)
         git init -q -b main .; echo one >a; git add a; git -c protocol.file.allow=always submodule add -q $PWD/../sub sub; git commit -qm base",
    );
    let run = host
        .shell(&format!(
            "{ME} git status --porcelain; cat sub/s ../web/w; cd sub; {ME} echo more >>s; git commit -qam 'in sub'; cd ..; git status --porcelain
             cd ../web; {ME} echo more >>w; git commit -qam 'in web'; git rev-parse --abbrev-ref HEAD"
        ))
        .option(&["--repo", "../web"]);
    let name = run.name().to_owned();
    let outcome = run.finish().success();
    assert_eq!(
        text(&outcome),
        ["s", "w", " M sub", &format!("wardian/{name}")],
        "{outcome:?}"
    );
    host.wardian(&["apply", &name]).success();
    let arrived = shell(
        &host,
        &format!(
            "for r in sub ../web; do git -C $r log -1 --format=%s wardian/{name}; git -C $r status --porcelain; done"
        ),
    );
    assert_eq!(arrived, "in sub\nin web\n");
}

fn without_fuse_the_files_are_written_out(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    // A device that is not there, in a namespace of mounts that nobody else sees.
    let outcome = host
        .shell("git status --porcelain; cat a; ./run; echo new >new")
        .around(&[
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount --bind /dev/null /dev/fuse && exec \"$@\"",
            "sh",
        ])
        .finish()
        .success();
    assert_eq!(text(&outcome), ["one", "run"]);
    assert!(outcome.errors().contains("had to be copied"), "{outcome:?}");
}

fn commits_and_changes_come_back(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(&host, "git stash -q --include-untracked");
    let run = host.shell(&format!(
        "{ME} echo new >new; git add new; git commit -qm 'add new'; git mv src/main.rs src/lib.rs; git commit -qm 'move it'
         echo more >>run; rm link; mkdir target; echo x >target/x"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    let diff = host.wardian(&["diff", &name]).success();
    assert!(
        diff.errors().contains("2 commits, 2 files not committed"),
        "{diff:?}"
    );
    assert!(diff.errors().contains("move it"), "{diff:?}");
    // What is printed to a pipe is a patch that git takes.
    shell(&host, "git worktree add -q --detach ../check main");
    fs::write(host.home().join("check.patch"), &diff.stdout).unwrap();
    shell(
        &host,
        "cd ../check; git apply ../check.patch; test -e src/lib.rs; test ! -e src/main.rs; grep -q more run",
    );
    let before = fingerprint_clean(&host);
    let applied = host.wardian(&["apply", &name]).success();
    assert!(
        applied
            .errors()
            .contains(&format!("git merge wardian/{name}")),
        "{applied:?}"
    );
    assert_eq!(
        shell(
            &host,
            &format!(
                "git log --format=%s main..wardian/{name}; git status --porcelain; git fsck --strict 2>&1"
            )
        ),
        "move it\nadd new\n D link\n M run\n"
    );
    host.wardian(&["apply", "--undo", &name]).success();
    assert_eq!(fingerprint_clean(&host), before);
    // Again, and merged.
    host.wardian(&["apply", &name]).success();
    shell(
        &host,
        &format!(
            "git stash -q; git merge -q --ff-only wardian/{name}; git stash pop -q; test \"$(./run)\" = run || true"
        ),
    );
    assert!(host.project().join("new").exists() && !host.project().join("link").exists());
}

fn fingerprint_clean(host: &Host) -> String {
    shell(
        host,
        "git for-each-ref; git status --porcelain=v2 --branch; git fsck --strict 2>&1 | grep -v dangling || true",
    )
}

fn a_conflict_leaves_everything_as_it_was(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let run = host.shell(&format!(
        "{ME} echo new >new; git add new; git commit -qm new; echo other >>a; echo more >>src/main.rs; echo x >untracked"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    let before = fingerprint(&host);
    let refused = host.wardian(&["apply", &name]).exited(1);
    let errors = refused.errors();
    assert!(
        errors.contains("a: both changed the same lines"),
        "{errors}"
    );
    assert!(
        errors.contains("untracked: both have a new file"),
        "{errors}"
    );
    assert_eq!(fingerprint(&host), before);
    // The commits alone do not conflict.
    host.wardian(&["apply", "--commits", &name]).success();
    assert_eq!(
        shell(&host, &format!("git log -1 --format=%s wardian/{name}")),
        "new\n"
    );
}

/// The last apply is taken back, and no other with it; what cannot be told is not guessed.
fn undo_takes_back_the_last_apply_alone(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(&host, "rm untracked .env; git checkout -q a");
    let run = host.shell(&format!(
        "{ME} echo new >new; git add new; git commit -qm new; echo more >>a"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    host.wardian(&["apply", "--changes", &name]).success();
    host.wardian(&["apply", "--commits", &name]).success();
    host.wardian(&["apply", "--undo", &name]).success();
    let state = "git branch --list 'wardian/*'; git status --porcelain";
    assert_eq!(shell(&host, state), " M a\n");
    host.wardian(&["apply", "--changes", &name]).success();
    shell(&host, "git checkout -q a");
    host.wardian(&["apply", "--changes", &name]).success();
    let base = host.state(&name).join("layers/workspaces/0/base.json");
    fs::write(&base, "{").unwrap();
    host.wardian(&["apply", "--undo", &name]).failed();
    assert_eq!(shell(&host, state), " M a\n");
}

fn an_overlay_comes_back_as_well(mode: Mode) {
    let host = Host::new(mode);
    shell(&host, "mkdir -p d; echo a >a; echo b >d/b; echo c >c");
    let run = host.shell("echo more >>a; rm -r d; mkdir d; echo new >d/new; chmod +x c; ln -s a l");
    let name = run.name().to_owned();
    run.finish().success();
    let list = "find . -printf '%P %y %m %l\\n' | sort; cat a";
    let before = shell(&host, list);
    assert!(
        host.wardian(&["diff", &name])
            .success()
            .text()
            .contains("+more")
    );
    host.wardian(&["apply", &name]).success();
    assert_eq!(
        shell(
            &host,
            "find . -type f -o -type l | sort; cat a d/new; test -x c; readlink l"
        ),
        "./a\n./c\n./d/new\n./l\na\nmore\nnew\na\n"
    );
    host.wardian(&["apply", "--undo", &name]).success();
    assert_eq!(shell(&host, list), before);
}

fn a_clone_of_a_clone_without_work_is_not_kept(mode: Mode) {
    let host = Host::new(mode);
    shell(
        &host,
        "git init -q -b main ../up; cd ../up; echo one >a; git add a; git commit -qm base; git clone -q . ../project",
    );
    // Git has a symbolic ref there, and a fetch moves refs that are not the session's own.
    let outcome = host
        .shell("git symbolic-ref refs/remotes/origin/HEAD && git update-ref refs/remotes/origin/other HEAD && git status --short")
        .finish()
        .success();
    assert_eq!(outcome.text(), "refs/remotes/origin/main\n");
    assert!(!outcome.errors().contains("kept"), "{outcome:?}");
}

/// Pseudo-random numbers, the same for the same seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const NAMES: [&str; 12] = [
    "a",
    "src/main.rs",
    "run",
    "link",
    "new",
    "deep/er/file",
    "src/x y",
    "ü",
    "bin",
    "src",
    "deep",
    "mode",
];

fn random_history(random: &mut Random) -> String {
    let mut script = String::from(ME);
    for number in 0..20 + random.below(20) {
        let (one, two) = (random.pick(&NAMES), random.pick(&NAMES));
        let step = match random.below(12) {
            0 | 1 => format!(
                "mkdir -p \"$(dirname '{one}')\"; seq {number} {} >'{one}'",
                number + 40
            ),
            2 => format!("head -c {} /dev/urandom >'{one}'", random.below(20_000)),
            3 => format!("echo {number} >>'{one}'"),
            4 => format!("rm -rf '{one}'"),
            5 => format!("mv -T '{one}' '{two}'"),
            6 => format!("cp -r '{one}' '{two}'"),
            7 => format!("ln -s '{one}' '{two}'"),
            8 => format!("chmod a+x '{one}'"),
            9 => format!("chmod a-x '{one}'; chmod u+rwX '{one}'"),
            10 => format!("git add -A; git commit -qm 'commit {number}'"),
            _ => format!("git mv -f '{one}' '{two}'"),
        };
        script += &format!("{{ {step}; }} >/dev/null 2>&1; ");
    }
    // What is there at the end, for comparison: the commit's tree, and all files with their modes.
    script + "git rev-parse HEAD^{tree}; find . -path ./.git -prune -o \\( -type f -o -type l \\) -print0 | sort -z |
        while IFS= read -r -d '' f; do if [ -L \"$f\" ]; then echo \"$f -> $(readlink \"$f\")\"; else
        x=-; [ -x \"$f\" ] && x=x; echo \"$f $x $(sha256sum <\"$f\")\"; fi; done"
}

fn any_history_comes_back_bit_by_bit(mode: Mode) {
    let seed = std::process::id();
    for round in 0..8 {
        let mut random = Random(u64::from(seed) << 8 | round | 1);
        let host = Host::new(mode);
        repository(&host);
        shell(&host, "rm untracked .env; git checkout -q a");
        let script = random_history(&mut random);
        let run = host.run(["bash", "-c", &script]);
        let name = run.name().to_owned();
        let outcome = run.finish().success();
        let lines = text(&outcome);
        let (tree, files) = lines.split_first().unwrap();
        host.wardian(&["apply", "--commits", &name]).success();
        shell(
            &host,
            &format!(
                "git rev-parse -q --verify wardian/{name} >/dev/null && git merge -q --ff-only wardian/{name} || true"
            ),
        );
        assert_eq!(
            shell(&host, "git rev-parse HEAD^{tree}").trim(),
            tree,
            "seed {seed}, round {round}: {script}"
        );
        host.wardian(&["apply", "--changes", &name]).success();
        let (_, list) = script.split_once("git rev-parse HEAD^{tree}; ").unwrap();
        let now: Vec<_> = shell(&host, list).lines().map(str::to_owned).collect();
        assert_eq!(now, files, "seed {seed}, round {round}: {script}");
        shell(&host, "git fsck --strict");
    }
}

/// Each line plants something that a git command on the host would execute or follow.
const TRAPS: &str = r#"
c="touch CANARY"
printf '#!/bin/sh\n%s\n' "$c" >trap.sh; chmod +x trap.sh; t=$PWD/trap.sh
git config core.fsmonitor "$t"; git config core.hooksPath "$PWD/hooks"; git config diff.external "$t"
git config core.pager "$t"; git config core.editor "$t"; git config core.sshCommand "$t"; git config core.gitProxy "$t"
git config credential.helper "!$t"; git config gpg.program "$t"; git config log.showSignature true
git config filter.trap.clean "$t"; git config filter.trap.smudge "$t"; git config filter.trap.process "$t"
git config diff.trap.textconv "$t"; git config diff.trap.command "$t"; git config merge.trap.driver "$t"
git config uploadpack.packObjectsHook "$t"; git config protocol.ext.allow always
git config remote.origin.url "ext::$t"; git config remote.origin.uploadpack "$t"
git config alias.status "!$t"; git config include.path "$PWD/included"; printf '[core]\n\tfsmonitor = %s\n' "$t" >included
mkdir -p hooks .git/hooks
for h in pre-commit post-checkout post-merge reference-transaction pre-auto-gc post-index-change fsmonitor-watchman pre-receive update post-update; do
    cp trap.sh hooks/$h; cp trap.sh .git/hooks/$h; done
printf '* filter=trap diff=trap merge=trap\n' >.gitattributes; mkdir -p .git/info; cp .gitattributes .git/info/attributes
echo changed >>a
git -c core.fsmonitor=false -c core.hooksPath=/dev/null -c filter.trap.process= -c filter.trap.clean=cat -c filter.trap.smudge=cat -c alias.status= add -A 2>/dev/null
"#;

fn case_53_54_58_nothing_of_the_session_runs_or_is_followed_outside(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(&host, "rm untracked .env; git checkout -q a");
    let canary = host.home().join("canary");
    let secret = host.home().join("secret");
    shell(
        &host,
        "git init -q ../secret; cd ../secret; echo private >p; git add p; git commit -qm private",
    );
    let traps = TRAPS.replace("CANARY", canary.to_str().unwrap());
    // The control: the same traps fire where git is told nothing.
    shell(
        &host,
        &format!(
            "cp -r . ../control; cd ../control; {traps} true; git status >/dev/null 2>&1 || true; git diff >/dev/null 2>&1 || true"
        ),
    );
    assert!(canary.exists(), "the traps do not work");
    fs::remove_file(&canary).unwrap();
    let secret_tip = shell(&host, "git -C ../secret rev-parse HEAD");
    let script = format!(
        "{ME} {traps} git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gpg.program=true commit -qm trap --no-verify
         echo {objects} >>.git/objects/info/alternates; ln -s {objects} .git/objects/linked; ln -s {objects}/pack .git/objects/pack/linked
         echo {git} >.git/commondir; echo {git} >.git/gitdir; mkdir -p .git/modules .git/worktrees/x; echo {git} >.git/worktrees/x/gitdir
         echo {tip} >.git/refs/heads/stolen; ln -s {git}/refs/heads .git/refs/heads/linked; echo changed >>run; echo done",
        objects = secret.join(".git/objects").display(),
        git = secret.join(".git").display(),
        tip = secret_tip.trim(),
    );
    let run = host.run(["bash", "-c", &script]);
    let name = run.name().to_owned();
    let outcome = run.finish().success();
    assert!(outcome.text().contains("done"), "{outcome:?}");
    for verb in [
        &["diff", name.as_str()][..],
        &["diff", "--stat", &name],
        &["apply", &name],
        &["apply", "--undo", &name],
        &["ls"],
        &["rm", "--force", &name],
    ] {
        let finished = host.wardian(verb);
        assert!(!canary.exists(), "{verb:?} ran something: {finished:?}");
        let shown = format!("{}{}", finished.text(), finished.errors());
        assert!(
            !shown.contains("private"),
            "{verb:?} read elsewhere: {shown}"
        );
    }
    // Neither did the user's own repository learn anything to run, or objects from elsewhere.
    let own = shell(
        &host,
        "git config --local --list; ls .git/hooks | grep -v sample || true; cat .git/objects/info/alternates 2>/dev/null || true",
    );
    assert!(!own.contains("trap"), "{own}");
    host.outside(["git", "cat-file", "-e", secret_tip.trim()])
        .failed();
}

fn case_34_42_links_out_of_the_workspace_are_not_followed(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(
        &host,
        "rm untracked .env; git checkout -q a; mkdir ../victim; echo untouched >../victim/file",
    );
    let victim = host.home().join("victim");
    let script = format!(
        "ln -s {victim} out; rm -r src; ln -s {victim} src; ln -sf {victim}/file a; rm run; mkfifo fifo; ln -s ../../.. up",
        victim = victim.display()
    );
    let run = host.shell(&script);
    let name = run.name().to_owned();
    run.finish().success();
    let diff = host.wardian(&["diff", &name]).success();
    assert!(diff.errors().contains("out: a link to"), "{diff:?}");
    assert!(!diff.text().contains("untouched"), "{diff:?}");
    host.wardian(&["apply", &name]).success();
    assert!(
        fs::symlink_metadata(host.project().join("src"))
            .unwrap()
            .is_symlink()
    );
    // Another session writes where the user's tree now has a link: its base is the directory.
    shell(&host, "git checkout -q -f .; git clean -qfd");
    let run = host.shell("echo more >>src/main.rs; echo new >src/new");
    let name = run.name().to_owned();
    run.finish().success();
    shell(&host, "rm -r src; ln -s ../victim src");
    host.wardian(&["apply", &name]).exited(1);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 1);
    assert_eq!(
        fs::read_to_string(victim.join("file")).unwrap(),
        "untouched\n"
    );
}

fn case_45_nothing_privileged_or_special_comes_back(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let run = host
        .shell(
            "cp /bin/true suid; chmod 6755 suid; mkfifo fifo; python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind(\"sock\")'
             mkdir nested; git init -q nested; echo x >nested/file; mknod dev c 1 3; true",
        )
        .as_inner_root();
    let name = run.name().to_owned();
    run.finish().success();
    let diff = host.wardian(&["diff", "--stat", &name]).success();
    for left in [
        "fifo: a device file",
        "sock: a device file",
        "nested: a repository of its own",
    ] {
        assert!(diff.errors().contains(left), "{left}: {diff:?}");
    }
    host.wardian(&["apply", &name]).success();
    let project = host.project();
    let mode_bits = fs::metadata(project.join("suid"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode_bits & 0o7000, 0, "{mode_bits:o}");
    for absent in ["fifo", "sock", "nested", "dev"] {
        assert!(!project.join(absent).exists(), "{absent}");
    }
}

fn names_that_mean_git_do_not_arrive(mode: Mode) {
    let names = [
        ".git",
        ".GIT",
        "git~1",
        ".g\\u200cit",
        ".git ",
        "..",
        ".git::$INDEX_ALLOCATION",
    ];
    for name in names {
        let host = Host::new(mode);
        repository(&host);
        shell(&host, "rm untracked .env; git checkout -q a");
        let before = fingerprint_clean(&host);
        let run = host.run([
            "bash",
            "-c",
            &format!(
                "{ME} b=$(echo evil | git hash-object -w --stdin); s=$(printf '100644 blob %s\\tconfig\\n' $b | git mktree)
                 t=$(printf '040000 tree %s\\t{name}\\0' $s | git mktree -z); c=$(git commit-tree -p HEAD -m evil $t)
                 git update-ref refs/heads/wardian/$(basename $(git symbolic-ref HEAD)) $c; git log -1 --format=%s"
            ),
        ]);
        let sandbox = run.name().to_owned();
        let outcome = run.finish().success();
        assert_eq!(outcome.text(), "evil\n", "{name}: {outcome:?}");
        host.wardian(&["apply", "--commits", &sandbox]).failed();
        assert_eq!(fingerprint_clean(&host), before, "{name}");
        assert_eq!(
            shell(&host, "find .git/objects -name 'wardian*' -o -name 'tmp*'"),
            "",
            "{name}"
        );
    }
}

fn what_would_run_is_named(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let run = host.shell(&format!(
        "{ME} mkdir -p .github/workflows .vscode .claude; echo x >.envrc; echo x >.github/workflows/ci.yml; echo '{{}}' >.vscode/tasks.json
         git add .; git commit -qm traps; echo x >package.json; printf '\\033[31mred' >'esc\\033[0m'; echo x >.claude/settings.json"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    let errors = host.wardian(&["diff", "--stat", &name]).success().errors();
    for named in [
        ".envrc: when a shell enters",
        ".github/workflows/ci.yml: in CI",
        ".vscode/tasks.json: when an editor",
        ".claude/settings.json: when an agent",
        "package.json: with builds",
    ] {
        assert!(errors.contains(named), "{named}: {errors}");
    }
    assert!(!errors.contains('\x1b'), "{errors:?}");
    // On other branches, in commits that the work tree has left, and in what `--all` brings.
    let run = host.shell(&format!(
        "{ME} echo x >.envrc; git add .; git commit -qm envrc; rm .envrc
         git checkout -qb side; echo x >Makefile; ln -s /etc/passwd away; git add .; git commit -qm side
         git tag plain HEAD:a; git checkout -q --detach other; echo x >build.rs; git add .; git commit -qm lost; git checkout -q side"
    ));
    let name = run.name().to_owned();
    run.finish().success();
    let mut diff = host.wardian(&["diff", "--stat", &name]).success().errors();
    for named in [
        format!(".envrc in wardian/{name}: when a shell"),
        "Makefile: with builds".to_owned(),
        "away: a link to /etc/passwd".to_owned(),
        format!("build.rs in wardian-{name}/lost-"),
        format!("wardian-{name}/plain"),
    ] {
        assert!(diff.contains(&named), "{named}: {diff}");
    }
    diff = host
        .wardian(&["apply", "--commits", &name])
        .success()
        .errors();
    assert!(
        diff.contains(".envrc in") && !diff.contains("build.rs in"),
        "{diff}"
    );
}

fn a_kill_while_applying_leaves_a_way_on_and_a_way_back(mode: Mode) {
    const MOMENTS: u32 = 24;
    let host = Host::new(mode);
    shell(
        &host,
        "git init -q -b main .; mkdir d; for i in $(seq 200); do echo $i >d/$i; done; git add .; git commit -qm base",
    );
    let run = host.run([
        "bash",
        "-c",
        &format!(
            "{ME} for i in $(seq 100); do echo more >>d/$i; done; git commit -qam more; for i in $(seq 101 200); do echo more >>d/$i; done
             for i in $(seq 50); do echo new >d/new$i; done"
        ),
    ]);
    let name = run.name().to_owned();
    run.finish().success();
    let state = "git for-each-ref; git status --porcelain | sort; cat d/* | sha256sum";
    let before = shell(&host, state);
    let whole = {
        let begun = std::time::Instant::now();
        host.wardian(&["apply", &name]).success();
        begun.elapsed()
    };
    let after = shell(&host, state);
    host.wardian(&["apply", "--undo", &name]).success();
    assert_eq!(shell(&host, state), before);
    for moment in 0..MOMENTS {
        let applying = Running::start(host.wardian_command(&["apply", &name]), Input::Nothing);
        std::thread::sleep(whole * moment / MOMENTS);
        applying.signal(rustix::process::Signal::KILL);
        applying.wait(Duration::from_secs(20));
        shell(&host, "git fsck --strict");
        let interrupted = shell(&host, state);
        if moment % 2 == 0 {
            host.wardian(&["apply", "--undo", &name]).success();
            assert_eq!(shell(&host, state), before, "moment {moment}");
        } else {
            // On: again, taking back what was begun if it asks for that.
            if host.wardian(&["apply", &name]).end != End::Exited(0) {
                host.wardian(&["apply", "--undo", &name]).success();
                host.wardian(&["apply", &name]).success();
            }
            assert_eq!(
                shell(&host, state),
                after,
                "moment {moment}, from {interrupted}"
            );
            host.wardian(&["apply", "--undo", &name]).success();
        }
        let left = shell(
            &host,
            "find .git -name '*.lock' -o -name 'wardian*' -type d; find . -name '.wardian*'",
        );
        let left: Vec<_> = left
            .lines()
            .filter(|line| !line.ends_with("/refs/heads/wardian"))
            .collect();
        assert!(left.is_empty(), "moment {moment}: {left:?}");
    }
}

fn claude_commits_and_the_commit_arrives(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    shell(&host, "rm untracked .env; git checkout -q a");
    let vendor = ModelServer::start(Options {
        script: Script::new(
            &[
                "git config user.name Claude && git config user.email c@example.org && echo fixed >> a && git commit -qam 'fix a' && echo loose > loose.txt",
            ],
            "Done.",
        ),
        require_key: Some("sk-real-key".to_owned()),
        websocket: false,
    });
    let claude = format!("{TOOLS}/claude/node_modules/.bin/claude");
    let policy = crate::agents::claude_policy(&vendor);
    let run = host
        .run([
            claude.as_str(),
            "-p",
            "fix a",
            "--dangerously-skip-permissions",
        ])
        .policy(&policy)
        .host_env("REAL_KEY", "sk-real-key")
        .limit(Duration::from_secs(90));
    let name = run.name().to_owned();
    run.finish().success();
    host.wardian(&["apply", &name]).success();
    assert_eq!(
        shell(
            &host,
            &format!(
                "git log --format='%an %s' main..wardian/{name}; git show wardian/{name}:a; git status --porcelain"
            )
        ),
        "Claude fix a\none\nfixed\n?? loose.txt\n"
    );
    shell(&host, &format!("git merge -q --ff-only wardian/{name}"));
    let files: BTreeMap<_, _> = [("a", "one\nfixed\n"), ("loose.txt", "loose\n")].into();
    for (file, content) in files {
        assert_eq!(
            fs::read_to_string(host.project().join(file)).unwrap(),
            content
        );
    }
}
