//! What of the configuration comes along. Everything that could run is a canary, and none of it does.

use std::path::Path;

use wardian_git::Repository;
use wardian_git::identity::{Identity, Signing};

use crate::fixture::Fixture;

/// Settings that name a command, a helper, a file, a header or a key. `PROGRAM` becomes
/// one that leaves a trace.
const CANARIES: &[(&str, &str)] = &[
    ("core.fsmonitor", "PROGRAM"),
    ("core.hooksPath", "/canary-hooks"),
    ("core.sshCommand", "PROGRAM"),
    ("core.gitProxy", "PROGRAM"),
    ("core.editor", "PROGRAM"),
    ("core.pager", "PROGRAM"),
    ("core.askPass", "PROGRAM"),
    ("core.attributesFile", "/canary-attributes"),
    ("core.alternateRefsCommand", "PROGRAM"),
    ("credential.helper", "!PROGRAM"),
    ("credential.https://example.com.username", "canary-user"),
    ("filter.canary.clean", "PROGRAM"),
    ("filter.canary.smudge", "PROGRAM"),
    ("filter.canary.process", "PROGRAM"),
    ("filter.canary.required", "true"),
    ("diff.external", "PROGRAM"),
    ("diff.canary.textconv", "PROGRAM"),
    ("diff.canary.command", "PROGRAM"),
    ("difftool.canary.cmd", "PROGRAM"),
    ("merge.canary.driver", "PROGRAM"),
    ("mergetool.canary.cmd", "PROGRAM"),
    ("alias.st", "!PROGRAM"),
    ("http.extraHeader", "Authorization: canary-header"),
    ("http.proxy", "http://canary:canary@proxy"),
    ("http.cookieFile", "/canary-cookies"),
    ("http.sslKey", "/canary-key"),
    ("gpg.program", "PROGRAM"),
    ("gpg.ssh.program", "PROGRAM"),
    ("user.signingKey", "canary-signing-key"),
    ("sequence.editor", "PROGRAM"),
    ("interactive.diffFilter", "PROGRAM"),
    ("pager.log", "PROGRAM"),
    ("sendemail.smtpPass", "canary-password"),
    ("remote.origin.receivepack", "PROGRAM"),
    ("remote.origin.uploadpack", "PROGRAM"),
    ("remote.origin.vcs", "canary"),
    ("remote.origin.proxy", "http://canary"),
    ("remote.helper.url", "ext::PROGRAM"),
    ("remote.other.url", "canary://host/path"),
    (
        "remote.secret.url",
        "https://canary-user:canary-pass@example.com/a.git",
    ),
    (
        "remote.token.pushurl",
        "https://canary-token@example.com/a.git",
    ),
    (
        "branch.main.remote",
        "https://canary-user:canary-pass@example.com/a.git",
    ),
    (
        "url.https://canary-user:canary-pass@example.com/.insteadOf",
        "example:",
    ),
    ("submodule.canary.update", "!PROGRAM"),
    ("protocol.ext.allow", "always"),
    ("uploadpack.packObjectsHook", "PROGRAM"),
    ("trace2.eventTarget", "/canary-trace"),
    ("safe.directory", "/canary"),
    ("init.templateDir", "/canary-template"),
    ("commit.template", "/canary-template"),
    ("blame.ignoreRevsFile", "/canary-revs"),
    ("browser.canary.cmd", "PROGRAM"),
    ("imap.pass", "canary-password"),
    ("trailer.canary.command", "PROGRAM"),
    ("gc.recentObjectsHook", "PROGRAM"),
    ("hook.canary.command", "PROGRAM"),
    ("lfs.customtransfer.canary.path", "PROGRAM"),
    ("lfs.extension.canary.clean", "PROGRAM"),
];

fn plant(fixture: &Fixture) {
    let program = fixture.path("canary-program");
    fixture.shell(&format!(
        "printf '#!/bin/sh\\ntouch {0}/sang\\n' >canary-program && chmod +x canary-program
         git -C repo remote add origin https://example.com/first.git && mkdir -p repo/.git/hooks
         for hook in post-checkout pre-commit post-index-change reference-transaction fsmonitor-watchman; do
             cp canary-program repo/.git/hooks/$hook; done
         echo '* filter=canary diff=canary merge=canary' >repo/.git/info/attributes
         printf '[core]\\n\\tpager = canary-include\\n[alias]\\n\\tincluded = !canary\\n' >included",
        fixture.path("").display()
    ));
    for place in ["repo/.git/config", "home/.gitconfig"] {
        for (key, value) in CANARIES {
            let value = value.replace("PROGRAM", program.to_str().unwrap());
            fixture.shell(&format!(
                "git config --file {place} --add '{key}' '{value}'"
            ));
        }
        fixture.shell(&format!(
            "git config --file {place} --add include.path \"$PWD/included\""
        ));
    }
}

#[test]
fn nothing_that_could_run_comes_along() {
    let fixture = Fixture::with_repository("");
    plant(&fixture);
    let repository = fixture.repository("repo");
    let mut options = Fixture::options();
    options.changes = wardian_git::session::Changes::Bring;
    let session = fixture.session(&repository, &options);
    repository.submodules().unwrap();
    let identity = Identity::in_repository(&repository);
    assert!(!fixture.path("sang").exists());

    let config = session.git_file("config");
    let own = String::from_utf8(identity.gitconfig).unwrap();
    for text in [&config, &own] {
        assert!(!text.to_lowercase().contains("canary"), "{text}");
    }
    // The harmless part of what carried one.
    assert!(config.contains("https://example.com/a.git"), "{config}");
    // Nothing else in the session's .git, either: only the attributes, which name what is not there.
    let others = fixture.shell_in(
        &session.upper(),
        "grep -rl canary . | grep -v info/attributes || true",
    );
    assert_eq!(others, "");
    assert!(!session.upper().join(".git/hooks").exists());
    // Control: with the user's own configuration, git runs it.
    fixture.shell("cd repo && git status >/dev/null 2>&1 || true");
    assert!(fixture.path("sang").exists());
}

#[test]
fn each_key_that_comes_along_is_known() {
    let fixture = Fixture::with_repository("");
    plant(&fixture);
    let session = fixture.session(&fixture.repository("repo"), &Fixture::options());
    let names = fixture.shell_in(
        &session.upper(),
        "git config --file .git/config --list --name-only | sort -u",
    );
    let expected = [
        "branch.main.remote",
        "core.bare",
        "core.checkstat",
        "core.filemode",
        "core.logallrefupdates",
        "core.repositoryformatversion",
        "core.trustctime",
        "remote.origin.fetch",
        "remote.origin.url",
        "remote.secret.url",
        "remote.token.pushurl",
    ];
    assert_eq!(names.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn settings_go_where_they_hold() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "mkdir -p home/.config/git && echo '*.orig' >home/.config/git/ignore && echo '*.mine' >repo/.git/info/exclude
         git config --file home/.config/git/config user.name 'Ada \"the first\" Lovelace'
         git config --file home/.gitconfig user.email home@example.com
         git config --file home/.gitconfig pull.rebase true
         git config --file home/.gitconfig core.eol lf
         git config --file home/.gitconfig \"includeIf.gitdir:$PWD/repo/.path\" ~/work
         git config --file home/.gitconfig 'includeIf.gitdir:repo/.path' work
         git config --file home/.gitconfig 'includeIf.hasconfig:remote.*.url:https://*corp.example/**.path' corp
         git config --file home/.gitconfig 'includeIf.onbranch:ma**.path' branch
         git config --file home/.gitconfig 'includeIf.onbranch:other.path' never
         git config --file home/work user.email work@example.com && git config --file home/never init.defaultBranch never
         git config --file home/corp diff.algorithm histogram && git config --file home/branch merge.conflictStyle zdiff3
         git -C repo remote add origin git@host:a.git && git -C repo remote add corp https://me@corp.example/x.git
         git -C repo config branch.main.remote origin && git -C repo config branch.main.merge refs/heads/main
         git -C repo config core.autocrlf input
         for key in user.name user.email diff.algorithm merge.conflictStyle core.eol; do git -C repo config $key; done",
    );
    let repository = fixture.repository("repo");
    let identity = Identity::in_repository(&repository);
    assert_eq!(identity.name.as_deref(), Some("Ada \"the first\" Lovelace"));
    assert_eq!(identity.email.as_deref(), Some("work@example.com"));
    assert_eq!(identity.signing, Signing::NeverOn);

    // Inside: another home, and the session's repository; git reads the same there.
    let session = fixture.session(&repository, &Fixture::options());
    let keys = "user.name user.email pull.rebase core.eol core.autocrlf diff.algorithm merge.conflictstyle \
                branch.main.remote branch.main.merge remote.origin.url";
    let read = format!("for key in {keys}; do git config --get $key; done");
    let outside = fixture.shell_in(&fixture.path("repo"), &read);
    std::fs::create_dir(fixture.path("inside")).unwrap();
    std::fs::write(fixture.path("inside/.gitconfig"), &identity.gitconfig).unwrap();
    let inside = session.inside();
    assert_eq!(
        fixture.shell_in(
            &inside,
            &format!("HOME={}; {read}", fixture.path("inside").display())
        ),
        outside
    );
    assert!(
        outside.contains("zdiff3") && outside.contains("histogram") && !outside.contains("never")
    );
    // What holds for one repository is not said to others.
    let own = String::from_utf8(identity.gitconfig).unwrap();
    assert!(
        own.contains("home@example.com") && !own.contains("work@example.com"),
        "{own}"
    );
    assert_eq!(session.git_file("info/exclude"), "*.orig\n*.mine\n");
    assert_eq!(
        Identity::of_user(&fixture.places())
            .unwrap()
            .email
            .as_deref(),
        Some("home@example.com")
    );
}

#[test]
fn an_overruled_condition_does_not_count() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "printf '[includeIf \"onbranch:main\"]\\n\\tpath = first\\n[user]\\n\\temail = last@example.com\\n' >home/.gitconfig
         git config --file home/first user.email first@example.com",
    );
    let repository = fixture.repository("repo");
    let identity = Identity::in_repository(&repository);
    assert_eq!(identity.email.as_deref(), Some("last@example.com"));
    let session = fixture.session(&repository, &Fixture::options());
    assert!(!session.git_file("config").contains("example.com"));
}

#[test]
fn signing_is_turned_off() {
    let fixture = Fixture::with_repository("");
    fixture.shell(
        "git config --file home/.gitconfig commit.gpgSign true && git config --file home/.gitconfig gpg.format ssh
         git config --file home/.gitconfig user.signingKey ~/.ssh/none && git -C repo config tag.gpgSign true
         ! git -C repo commit -q --allow-empty -m signed 2>/dev/null",
    );
    let repository = fixture.repository("repo");
    let identity = Identity::in_repository(&repository);
    assert_eq!(
        identity.signing,
        Signing::TurnedOff(vec!["commit.gpgsign", "tag.gpgsign"])
    );
    let session = fixture.session(&repository, &Fixture::options());
    assert_eq!(session.created.signing, identity.signing);
    // Even with the user's own configuration in place.
    fixture.shell_in(
        &session.inside(),
        "git commit -q --allow-empty -m unsigned && git tag -a -m unsigned tag",
    );
}

#[test]
fn a_broken_configuration_is_named_and_not_quoted() {
    let fixture = Fixture::with_repository("");
    fixture.shell("echo 'machine example.com password secret' >netrc && git -C repo config include.path ../../netrc");
    let error =
        Repository::discover_with(Path::new(&fixture.path("repo")), fixture.places()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("netrc") && !text.contains("secret"), "{text}");
}
