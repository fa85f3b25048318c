//! Every way in which git executes what a repository tells it to. Each fires when git is run in the session as
//! anybody would; none when Wardian reads the session, with all of them in place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gix::ObjectId;
use wardian_git::confined::{Binary, Change, Content, Mode};
use wardian_git::refs::{SessionRefs, read_base};
use wardian_git::review::LooseEnds;
use wardian_git::transfer::undo;

use crate::fixture::{Fixture, Repo, Run, as_each_user, git, signature};
use crate::view;

struct Canary {
    name: &'static str,
    /// Of the session's `.git/config`. `{evil}` is the canary; `{root}`, `{missing}` as they say.
    config: &'static str,
    /// Files below `.git`; those with the content `{evil}` are the canary itself.
    files: &'static [(&'static str, &'static str)],
    /// What a person or a tool would run, in a shell.
    trigger: &'static str,
}

const fn canary(name: &'static str, config: &'static str, trigger: &'static str) -> Canary {
    Canary {
        name,
        config,
        files: &[],
        trigger,
    }
}

const ATTRIBUTES: (&str, &str) = ("info/attributes", "* diff=x filter=x merge=x\n");
const DIFF: &str = "git diff HEAD~1 HEAD";

/// Not among them: `uploadpack.packObjectsHook`, which git takes from the user's configuration only.
const CANARIES: &[Canary] = &[
    canary("fsmonitor", "[core]\nfsmonitor = {evil}", "git status"),
    canary(
        "pager",
        "[core]\npager = {evil}",
        "script -qec 'git log' /dev/null",
    ),
    canary(
        "editor",
        "[core]\neditor = {evil}",
        "git commit --amend --allow-empty",
    ),
    canary(
        "sequence-editor",
        "[sequence]\neditor = {evil}",
        "git rebase -i HEAD~1",
    ),
    canary(
        "ssh",
        "[core]\nsshCommand = {evil}",
        "git fetch ssh://localhost/x",
    ),
    canary(
        "proxy",
        "[core]\ngitProxy = {evil}",
        "git fetch git://localhost/x",
    ),
    canary(
        "askpass",
        "[core]\naskPass = {evil}",
        "echo url=https://x.invalid | git credential fill",
    ),
    canary(
        "credential",
        "[credential]\nhelper = {evil}",
        "echo url=https://x.invalid | git credential fill",
    ),
    canary(
        "alternate-refs",
        "[core]\nalternateRefsCommand = {evil}",
        "git rev-list --alternate-refs",
    ),
    canary("alias", "[alias]\nst = !{evil}", "git st"),
    canary("external-diff", "[diff]\nexternal = {evil}", DIFF),
    canary(
        "difftool",
        "[diff]\ntool = x\n[difftool \"x\"]\ncmd = {evil}",
        "git difftool -y HEAD~1 HEAD",
    ),
    canary(
        "diff-filter",
        "[color]\nui = always\n[interactive]\ndiffFilter = {evil}",
        "echo 1 >>README; echo q | git add -p",
    ),
    canary(
        "gpg",
        "[gpg]\nprogram = {evil}\n[commit]\ngpgSign = true",
        "git commit --allow-empty -m x",
    ),
    canary(
        "trailer",
        "[trailer \"x\"]\nkey = X\ncommand = {evil}",
        "echo | git interpret-trailers --trailer x=1",
    ),
    canary(
        "archive",
        "[tar \"evil\"]\ncommand = {evil}",
        "git archive --format=evil HEAD",
    ),
    canary(
        "recent-objects",
        "[gc]\nrecentObjectsHook = {evil}",
        "echo x | git hash-object -w --stdin
         find .git/objects -type f -exec touch -d '2 days ago' {} +
         git prune --expire=1.hour.ago",
    ),
    canary(
        "ext-transport",
        "[protocol \"ext\"]\nallow = always\n[remote \"x\"]\nurl = ext::{evil}",
        "git fetch x",
    ),
    canary(
        "promisor",
        "[protocol \"ext\"]\nallow = always\n[extensions]\npartialClone = p\n\
         [remote \"p\"]\npromisor = true\nurl = ext::{evil}",
        "git cat-file -p {missing}",
    ),
    canary(
        "upload-pack",
        "[remote \"u\"]\nurl = {root}/user\nuploadpack = {evil}",
        "git fetch u",
    ),
    canary(
        "receive-pack",
        "[remote \"r\"]\nurl = {root}/user\nreceivepack = {evil}",
        "git push r HEAD:x",
    ),
    canary(
        "submodule",
        "[submodule \"s\"]\nactive = true\nurl = {root}/user\nupdate = !{evil}",
        "printf '[submodule \"s\"]\\npath = s\\nurl = ./x\\n' >.gitmodules
         git update-index --add --cacheinfo 160000,$(git rev-parse main~1),s
         git clone -q {root}/user s; git submodule update s",
    ),
    canary("include", "[include]\npath = {root}/evil.config", DIFF),
    canary(
        "include-if",
        "[includeIf \"onbranch:**\"]\npath = {root}/evil.config",
        DIFF,
    ),
    Canary {
        files: &[("config.worktree", "[diff]\nexternal = {evil}")],
        ..canary(
            "worktree-config",
            "[extensions]\nworktreeConfig = true",
            DIFF,
        )
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary("diff-driver", "[diff \"x\"]\ncommand = {evil}", DIFF)
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary("textconv", "[diff \"x\"]\ntextconv = {evil}", DIFF)
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary(
            "clean",
            "[filter \"x\"]\nclean = {evil}",
            "echo 1 >>README; git diff",
        )
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary(
            "smudge",
            "[filter \"x\"]\nsmudge = {evil}",
            "git checkout HEAD~1 -- README",
        )
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary(
            "process",
            "[filter \"x\"]\nprocess = {evil}",
            "git checkout HEAD~1 -- README",
        )
    },
    Canary {
        files: &[ATTRIBUTES],
        ..canary(
            "merge-driver",
            "[merge \"x\"]\ndriver = {evil}",
            "git merge side",
        )
    },
    Canary {
        files: &[("hooks/reference-transaction", "{evil}")],
        ..canary("hook", "", "git update-ref refs/heads/x HEAD")
    },
    Canary {
        files: &[("elsewhere/post-checkout", "{evil}")],
        ..canary(
            "hooks-path",
            "[core]\nhooksPath = .git/elsewhere",
            "git checkout -q --detach",
        )
    },
    Canary {
        files: &[("commondir", "../.git-common\n")],
        ..canary(
            "commondir",
            "",
            "cp -r .git ../common; mv ../common .git-common; rm .git-common/commondir
             printf '[diff]\\nexternal = {evil}\\n' >>.git-common/config; git diff HEAD~1 HEAD",
        )
    },
];

struct Cage<'a> {
    root: &'a Path,
    missing: String,
}

impl Cage<'_> {
    fn fired(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join("fired")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn filled(&self, name: &str, text: &str) -> String {
        let evil = self.root.join(format!("evil-{name}"));
        text.replace("{evil}", evil.to_str().unwrap())
            .replace("{root}", self.root.to_str().unwrap())
            .replace("{missing}", &self.missing)
    }

    fn script(&self, name: &str, path: &Path) {
        let fired = self.root.join("fired").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            path,
            format!("#!/bin/sh\ntouch {}\nexit 1\n", fired.display()),
        )
        .unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn place(&self, canary: &Canary, repo: &Repo) {
        self.script(
            canary.name,
            &self.root.join(format!("evil-{}", canary.name)),
        );
        let config = repo.path(".git/config");
        let text = fs::read_to_string(&config).unwrap();
        let more = self.filled(canary.name, canary.config);
        fs::write(&config, format!("{text}\n{more}\n")).unwrap();
        for (path, content) in canary.files {
            let path = repo.path(".git").join(path);
            match *content {
                "{evil}" => self.script(canary.name, &path),
                content => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, self.filled(canary.name, content)).unwrap();
                }
            }
        }
    }
}

#[test]
fn nothing_of_a_session_is_executed() {
    as_each_user("canaries::nothing_of_a_session_is_executed", || {
        let fixture = Fixture::new();
        let session = &fixture.session;
        session.git(&["config", "core.repositoryFormatVersion", "1"]);
        session.git(&["checkout", "-q", "-b", "side"]);
        session.commit("README", "side\n");
        session.git(&["checkout", "-q", "wardian/a"]);
        let tip = session.commit("README", "second\n");
        let tree = session.id("HEAD^{tree}");
        session.write("README", "stashed\n");
        session.git(&["stash", "-q"]);
        fs::create_dir(fixture.root().join("fired")).unwrap();
        let cage = Cage {
            root: fixture.root(),
            missing: "1".repeat(40),
        };
        cage.script("include", &fixture.root().join("evil-included"));
        let evil = fixture.root().join("evil-included");
        let included = format!("[diff]\nexternal = {}\n", evil.display());
        fs::write(fixture.root().join("evil.config"), included).unwrap();

        // The control, one by one.
        for canary in CANARIES {
            let copy = Repo(fixture.root().join(format!("copy-{}", canary.name)));
            std::process::Command::new("cp")
                .args(["-a".as_ref(), session.0.as_os_str(), copy.0.as_os_str()])
                .succeed();
            cage.place(canary, &copy);
            let trigger = cage.filled(canary.name, canary.trigger);
            let mut shell = std::process::Command::new("sh");
            let environment = git(&copy.0);
            let variables = environment
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?)));
            let output = shell
                .args(["-c", &trigger])
                .current_dir(&copy.0)
                .env_clear()
                .envs(variables)
                .env("TERM", "xterm")
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            let fired = cage.fired();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!fired.is_empty(), "{} does not fire: {said}", canary.name);
            fired.iter().for_each(|path| fs::remove_file(path).unwrap());
        }

        // All of them together, and everything that we do with a session.
        CANARIES
            .iter()
            .for_each(|canary| cage.place(canary, session));
        exercise(&fixture, tip, tree);
        assert_eq!(cage.fired(), Vec::<PathBuf>::new());
        fixture.user.fsck();
        fixture.assert_no_leftovers();
    });
}

fn exercise(fixture: &Fixture, tip: ObjectId, tree: ObjectId) {
    let base = fixture.user.id("HEAD");
    let scratch = fixture.root().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let view = view(fixture).writing_to(&scratch);
    let git = fixture.git.on(&view);
    let refs = SessionRefs::read(&fixture.open(), view.format()).unwrap();
    assert_eq!(refs.head_commit(), Some(tip));
    let at_start = read_base(&fixture.workspace(), view.format()).unwrap();
    let moved = refs.changes_since(&at_start);
    let loose = LooseEnds::find(&fixture.open(), &moved, &[base], &git).unwrap();
    assert_eq!(loose.stashes.len(), 1);
    assert_eq!(git.log(&[tip], &[base], 9).unwrap().len(), 1);
    assert_eq!(git.stat(Some(base), tip).unwrap().len(), 1);
    let mut patch = Vec::new();
    git.patch(Some(base), tip, Binary::Whole, &mut patch)
        .unwrap();
    assert!(String::from_utf8(patch).unwrap().contains("+second\n"));
    let change = Change::Put {
        path: "README".into(),
        mode: Mode::File,
        content: Content::Bytes {
            length: 4,
            reader: &b"new\n"[..],
        },
    };
    let tree = git.tree_with(Some(tree), [Ok(change)]).unwrap();
    assert_eq!(git.stat(Some(tip), tree).unwrap().len(), 1);
    let brought = fixture.bring(tip, "refs/heads/wardian/a").unwrap();
    assert_eq!(fixture.user.id("wardian/a"), tip);
    undo(&fixture.base, &brought, &signature(), "undo").unwrap();
}
