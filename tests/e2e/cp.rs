//! Single files out of a sandbox and into it, on ways that the program inside has laid traps on.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;
use wardian_tests::process::{Finished, Input, Running};

wardian_tests::both_modes!(
    files_come_out_as_they_were_inside,
    an_overlay_and_the_home_are_reached,
    repositories_within_are_part_of_what_is_seen,
    files_go_in_where_they_are_asked_to,
    links_are_not_followed_on_the_way_out,
    links_are_not_followed_on_the_way_in,
    nothing_privileged_or_special_comes_out,
    existing_files_are_replaced_whole,
    what_makes_no_sense_is_refused,
    what_went_in_is_kept_as_work,
    a_kill_while_copying_leaves_nothing_half_made,
);

#[track_caller]
fn repository(host: &Host) {
    let script = "git init -q -b main . && mkdir -p src/deep old && echo one >a && echo two >b && echo fn >src/main.rs
        echo x >src/deep/x; echo y >old/y; echo z >old/z; printf '#!/bin/sh\\n' >run; chmod +x run; ln -s a link; git add .
        git -c user.name=Ada -c user.email=ada@example.org commit -qm base";
    host.outside(["sh", "-c", script]).success();
}

/// Runs `script` in a sandbox that stays, and gives its name.
#[track_caller]
fn session(host: &Host, script: &str) -> String {
    let run = host.shell(script);
    let name = run.name().to_owned();
    run.finish().success();
    name
}

fn cp(host: &Host, from: &str, to: &str) -> Finished {
    host.wardian(&["cp", from, to])
}

fn upper(host: &Host, name: &str) -> PathBuf {
    host.state(name).join("layers/workspaces/0/upper")
}

fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match fs::symlink_metadata(&path).unwrap().is_dir() {
            true => files.extend(
                files_below(&path)
                    .iter()
                    .map(|below| format!("{name}/{below}")),
            ),
            false => files.push(name),
        }
    }
    files.sort();
    files
}

#[track_caller]
fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn files_come_out_as_they_were_inside(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let name = session(
        &host,
        "echo changed >a; rm b; echo new >src/new; rm src/deep/x; rm -r old; mkdir old; echo again >old/z; mkdir -p out/empty
         ln -s ../src/main.rs out/away; ln -s z old/near",
    );
    let got = host.home().join("got");
    host.make_directory(&got);
    let got = got.to_str().unwrap();
    for path in ["a", "src/main.rs", "run"] {
        cp(&host, &format!("{name}:{path}"), got).success();
    }
    assert_eq!(read(format!("{got}/a")), "changed\n");
    assert_eq!(read(format!("{got}/main.rs")), "fn\n");
    let status = fs::metadata(format!("{got}/run")).unwrap();
    assert_eq!((status.mode() & 0o777, status.uid()), (0o755, host.uid()));
    for gone in ["b", "src/deep/x", "old/y", "never", "a/below"] {
        let told = cp(&host, &format!("{name}:{gone}"), got).exited(2);
        assert!(told.errors().contains("no such file"), "{gone}: {told:?}");
    }

    let inside = host.project();
    cp(
        &host,
        &format!("{name}:{}", inside.join("src").display()),
        got,
    )
    .success();
    cp(&host, &format!("{name}:old"), &format!("{got}/renamed")).success();
    cp(&host, &format!("{name}:src/."), &format!("{got}/content")).success();
    assert_eq!(
        files_below(Path::new(&format!("{got}/src"))),
        ["main.rs", "new"]
    );
    assert!(Path::new(&format!("{got}/src/deep")).is_dir());
    assert_eq!(
        files_below(Path::new(&format!("{got}/renamed"))),
        ["near", "z"]
    );
    assert_eq!(
        fs::read_link(format!("{got}/renamed/near")).unwrap(),
        Path::new("z")
    );
    assert_eq!(
        files_below(Path::new(&format!("{got}/content"))),
        ["main.rs", "new"]
    );

    let all = cp(&host, &format!("{name}:"), &format!("{got}/all")).exited(1);
    let wanted = [
        "a",
        "link",
        "old/near",
        "old/z",
        "out/away",
        "run",
        "src/main.rs",
        "src/new",
    ];
    assert_eq!(files_below(Path::new(&format!("{got}/all"))), wanted);
    assert!(Path::new(&format!("{got}/all/out/empty")).is_dir());
    assert!(
        all.errors()
            .contains(".git: its name means something special"),
        "{all:?}"
    );
    cp(&host, &format!("{name}:.git/config"), got).exited(2);
}

fn an_overlay_and_the_home_are_reached(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("kept/lower"), "lower");
    host.write(&host.project().join("kept/gone"), "gone");
    let name = session(
        &host,
        "echo upper >kept/upper; rm kept/gone; mkdir -p ~/notes; echo note >~/notes/one",
    );
    cp(&host, &format!("{name}:kept"), "got").success();
    assert_eq!(files_below(&host.project().join("got")), ["lower", "upper"]);
    cp(&host, &format!("{name}:~/notes"), ".").success();
    assert_eq!(read(host.project().join("notes/one")), "note\n");
    let told = cp(&host, &format!("{name}:/etc/passwd"), ".").exited(2);
    assert!(told.errors().contains("nothing else is kept"), "{told:?}");
    cp(&host, &format!("{name}:../secret"), ".").exited(2);
}

fn repositories_within_are_part_of_what_is_seen(mode: Mode) {
    let host = Host::new(mode);
    let script = "export GIT_AUTHOR_NAME=Ada GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=Ada GIT_COMMITTER_EMAIL=a@example.org
        git init -q -b main ../sub; cd ../sub; echo s >s; echo t >t; git add .; git commit -qm sub
        cd ../project; git init -q -b main .; echo one >a; git add a
        git -c protocol.file.allow=always submodule add -q $PWD/../sub sub; git commit -qm base";
    host.outside(["sh", "-ec", script]).success();
    let name = session(&host, "echo more >>sub/s; rm sub/t; echo new >sub/new");
    cp(&host, &format!("{name}:sub/s"), "../s").success();
    assert_eq!(read(host.home().join("s")), "s\nmore\n");
    let told = cp(&host, &format!("{name}:"), "../got").exited(1);
    let got = host.home().join("got");
    let wanted = [".gitmodules", "a", "sub/new", "sub/s"];
    assert_eq!(files_below(&got), wanted, "{told:?}");
    assert!(told.errors().contains("sub/.git: its name"), "{told:?}");

    cp(&host, "../s", &format!("{name}:sub/in")).success();
    let told = cp(&host, "../got/.", &format!("{name}:")).exited(1);
    assert!(told.errors().contains("a workspace of its own"), "{told:?}");
    let again = host.wardian(&["resume", &name, "--", "sh", "-c", "cat sub/in; cat a"]);
    assert_eq!(again.success().text(), "s\nmore\none\n");
}

fn files_go_in_where_they_are_asked_to(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let name = session(&host, "rm -r old; rm b; mkdir own; echo own >own/file");
    let notes = host.home().join("notes.md");
    host.write(&notes, "notes");
    host.write(&host.home().join("tree/one/two"), "two");
    let notes = notes.to_str().unwrap();
    for to in [
        "",
        "docs/new/",
        "src/deep",
        "old/again",
        "own/file",
        "b",
        "~/.config/x/",
    ] {
        cp(&host, notes, &format!("{name}:{to}")).success();
    }
    let tree = host.home().join("tree");
    cp(&host, tree.to_str().unwrap(), &format!("{name}:src")).success();
    cp(
        &host,
        &format!("{}/.", tree.display()),
        &format!("{name}:src"),
    )
    .success();
    let script = "cat notes.md docs/new/notes.md src/deep/notes.md src/deep/x old/again own/file b ~/.config/x/notes.md src/tree/one/two
        src/one/two | tr '\\n' ' '; ls old; for f in docs docs/new src/deep old/again ~/.config; do stat -c '%U %a' $f; done; echo more >>docs/new/notes.md";
    let script = script.replace('\n', " ");
    let again = host
        .wardian(&["resume", &name, "--", "sh", "-ec", &script])
        .success();
    let me = if mode == Mode::Root {
        "root"
    } else {
        "wardian-test"
    };
    let wanted = format!(
        "notesnotesnotesx notesnotesnotesnotestwotwoagain\n{me} 755\n{me} 755\n{me} 755\n{me} 644\n{me} 755\n"
    );
    let text = again.text();
    assert_eq!(
        text.replace(" again", "again"),
        wanted.replace(" again", "again"),
        "{again:?}"
    );
    // The user's own files are as they were.
    assert_eq!(read(host.project().join("b")), "two\n");
    assert!(!host.project().join("docs").exists());
}

fn links_are_not_followed_on_the_way_out(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let secret = host.home().join("private/secret");
    host.write(&secret, "SECRET");
    let away = host.home().join("private");
    let script = format!(
        "ln -s {away}/secret file; ln -s {away} directory; ln -s ../private up; rm -r src; ln -s {away} src
         mkdir tree; ln -s {away}/secret tree/absolute; ln -s ../../private/secret tree/up; mkdir tree/sub; ln -s .. tree/sub/top
         ln -s sub/top/../../private/secret tree/devious; ln -s sub tree/fine; echo x >tree/sub/x",
        away = away.display()
    );
    let name = session(&host, &script);
    // The control: cp(1) goes where the program wants.
    let layer = upper(&host, &name);
    let led = |from: PathBuf| {
        host.outside([
            "cp",
            "-rL",
            from.to_str().unwrap(),
            host.home().join("led").to_str().unwrap(),
        ])
        .success();
        fs::read_to_string(host.home().join("led")).unwrap()
    };
    assert_eq!(led(layer.join("file")), "SECRET");
    assert_eq!(led(layer.join("directory/secret")), "SECRET");

    for path in [
        "file",
        "directory",
        "directory/secret",
        "up/secret",
        "src/secret",
        "src/main.rs",
    ] {
        let told = cp(&host, &format!("{name}:{path}"), "got").failed();
        assert!(told.errors().contains("symlink"), "{path}: {told:?}");
        assert!(!host.project().join("got").exists(), "{path}");
    }
    let told = cp(&host, &format!("{name}:tree"), "got").exited(1);
    for left in ["tree/absolute", "tree/up", "tree/devious"] {
        assert!(
            told.errors().contains(&format!("{left}: a symlink to ")),
            "{left}: {told:?}"
        );
    }
    assert_eq!(
        files_below(&host.project().join("got")),
        ["fine", "sub/top", "sub/x"]
    );

    // A destination that a link, which came from inside, leads away from.
    symlink(&away, host.project().join("planted")).unwrap();
    symlink(away.join("new"), host.project().join("new")).unwrap();
    for to in ["planted", "planted/", "planted/x", "new"] {
        let told = cp(&host, &format!("{name}:a"), to).exited(2);
        assert!(told.errors().contains("symlink"), "{to}: {told:?}");
    }
    fs::create_dir(host.project().join("merged")).unwrap();
    host.give(&host.project().join("merged"));
    symlink(&away, host.project().join("merged/sub")).unwrap();
    cp(&host, &format!("{name}:tree/."), "merged").exited(1);
    assert_eq!(files_below(&away), ["secret"]);
}

fn links_are_not_followed_on_the_way_in(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let away = host.home().join("private");
    host.write(&away.join("secret"), "SECRET");
    let script = format!(
        "ln -s {away} directory; ln -s {away}/new file; rm -r src; ln -s {away} src",
        away = away.display()
    );
    let name = session(&host, &script);
    let notes = host.home().join("notes");
    host.write(&notes, "notes");
    let notes = notes.to_str().unwrap();
    for to in [
        "directory",
        "directory/",
        "directory/new",
        "file",
        "src/new",
        "src/a/b/",
    ] {
        cp(&host, notes, &format!("{name}:{to}")).failed();
    }
    assert_eq!(files_below(&away), ["secret"]);
    assert!(!upper(&host, &name).join("notes").exists());
    // The control: cp(1) writes where the program wants.
    let control = upper(&host, &name).join("directory");
    host.outside(["cp", notes, control.to_str().unwrap()])
        .success();
    assert_eq!(files_below(&away), ["notes", "secret"]);

    // Nor is what lies on this machine reached by a link that came from inside.
    symlink(away.join("secret"), host.project().join("planted")).unwrap();
    symlink(&away, host.project().join("way")).unwrap();
    for from in ["planted", "way", "way/secret"] {
        let told = cp(&host, from, &format!("{name}:"));
        assert!(told.errors().contains("symlink"), "{from}: {told:?}");
    }
    assert!(!upper(&host, &name).join("secret").exists());
}

fn nothing_privileged_or_special_comes_out(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let script = "mkdir t t/.GIT; cp /bin/true t/suid; chmod 6755 t/suid; mkdir t/shared; chmod 3777 t/shared; mkfifo t/fifo; echo x >t/.GIT/config
        python3 -c 'import socket; s=socket.socket(socket.AF_UNIX); s.bind(\"t/sock\")'; mkfifo \"$(printf 't/\\033[31mred\\nx')\"";
    let run = host.shell(script).as_inner_root();
    let name = run.name().to_owned();
    run.finish().success();
    // The control: it is all there.
    let suid = fs::metadata(upper(&host, &name).join("t/suid")).unwrap();
    assert_eq!(suid.mode() & 0o7777, 0o6755);
    let told = cp(&host, &format!("{name}:t"), ".").exited(1);
    let errors = told.errors();
    for left in [
        "t/fifo: a device file",
        "t/sock: a device file",
        "t/.GIT: its name",
        "t/\\x1b[31mred\\x0ax",
    ] {
        assert!(errors.contains(left), "{left}: {told:?}");
    }
    assert!(!errors.contains('\x1b'), "{told:?}");
    let got = host.project().join("t");
    assert_eq!(files_below(&got), ["suid"]);
    for (path, wanted) in [("suid", 0o755), ("shared", 0o755)] {
        let status = fs::metadata(got.join(path)).unwrap();
        assert_eq!(
            (status.permissions().mode() & 0o7777, status.uid()),
            (wanted, host.uid()),
            "{path}"
        );
    }
    // The kernel lets nobody but root of the machine do it to the layer.
    if mode == Mode::Root {
        let node = upper(&host, &name).join("t/node");
        host.outside(["mknod", node.to_str().unwrap(), "c", "1", "3"])
            .success();
        cp(&host, &format!("{name}:t/node"), ".").exited(1);
        assert!(!host.project().join("node").exists());
    }
}

fn existing_files_are_replaced_whole(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let name = session(&host, "echo inside >a; mkdir d; echo d >d/a; mkdir d/b");
    let project = host.project();
    let linked = host.home().join("linked");
    fs::hard_link(project.join("a"), &linked).unwrap();
    cp(&host, &format!("{name}:a"), ".").success();
    assert_eq!(read(project.join("a")), "inside\n");
    assert_eq!(read(&linked), "one\n");

    // A directory is never replaced by a file, nor a file by a directory; the rest comes.
    let got = project.join("got");
    host.make_directory(&got.join("a/stays"));
    host.write(&got.join("b"), "stays");
    let told = cp(&host, &format!("{name}:d/."), "got").exited(1);
    assert!(
        told.errors().contains("is a directory") && told.errors().contains("is a file"),
        "{told:?}"
    );
    assert!(got.join("a/stays").is_dir());
    assert_eq!(read(got.join("b")), "stays");
    assert!(
        !files_below(&project)
            .iter()
            .any(|path| path.contains(".wardian-new"))
    );
}

fn what_makes_no_sense_is_refused(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let run = host.shell("sleep 30").option(&["--time", "20s"]);
    let name = run.name().to_owned();
    let started = run.start();
    started.wait_for_supervisor();
    let told = cp(&host, &format!("{name}:a"), "got").exited(2);
    assert!(told.errors().contains("is running"), "{told:?}");
    started.running.signal(rustix::process::Signal::TERM);
    started.finish();
    cp(&host, &format!("{name}:a"), "got").success();
    for (from, to, wanted) in [
        ("a", "b", "neither path is in a sandbox"),
        ("none:a", "b", "no sandbox named"),
        ("a", "none:b", "no sandbox named"),
        ("one:a", "two:b", "both paths are in sandboxes"),
    ] {
        let told = cp(&host, from, to).exited(2);
        assert!(told.errors().contains(wanted), "{told:?}");
    }
    cp(&host, &format!("{name}:a"), "no/such/directory").exited(2);
    cp(&host, &format!("{name}:a"), "nowhere/").exited(2);

    let bound = host.run(["true"]).option(&["--bind"]);
    let name = bound.name().to_owned();
    bound.finish().success();
    let told = cp(&host, &format!("{name}:a"), "got2").exited(2);
    assert!(told.errors().contains("your own directory"), "{told:?}");
}

/// What is brought into a sandbox is work of it like any other.
fn what_went_in_is_kept_as_work(mode: Mode) {
    let host = Host::new(mode);
    repository(&host);
    let name = session(&host, "true");
    let work = || {
        let listed = host.wardian(&["ls", "--json"]).success().text();
        let all: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let one = all.into_iter().find(|it| it["name"] == *name).unwrap();
        one["work"].clone()
    };
    assert_eq!(work(), serde_json::json!([]));
    host.write(&host.home().join("notes"), "mine\n");
    cp(&host, "../notes", &format!("{name}:notes")).success();
    assert_eq!(work()[0]["work"]["files"], 1);
    let refused = host.wardian(&["rm", &name]).failed();
    assert!(refused.errors().contains("1 file"), "{refused:?}");
    host.wardian(&["apply", &name]).success();
    assert_eq!(work()[0]["applied"], true);
    host.write(&host.home().join("notes"), "other\n");
    cp(&host, "../notes", &format!("{name}:notes")).success();
    assert_eq!(work()[0]["applied"], false);
}

fn a_kill_while_copying_leaves_nothing_half_made(mode: Mode) {
    const MOMENTS: u32 = 12;
    let host = Host::new(mode);
    repository(&host);
    let name = session(
        &host,
        "mkdir many; head -c 20M /dev/zero >many/large; seq 300 | split -l 1 - many/",
    );
    let got = host.home().join("got");
    cp(&host, &format!("{name}:many"), got.to_str().unwrap()).success();
    let inside = format!("{name}:copy");
    // New files on the way out, and files that replace others on the way in.
    for (from, to) in [
        (format!("{name}:many"), "../new"),
        ("../got".to_owned(), &*inside),
    ] {
        let begun = std::time::Instant::now();
        cp(&host, &from, to).success();
        let whole = begun.elapsed();
        for moment in 0..MOMENTS {
            host.outside(["rm", "-rf", "../new"]).success();
            let copying = Running::start(host.wardian_command(&["cp", &from, to]), Input::Nothing);
            std::thread::sleep(whole * moment / MOMENTS);
            copying.signal(rustix::process::Signal::KILL);
            copying.wait(Duration::from_secs(20));
            let places = [host.home().join("new"), upper(&host, &name)];
            for place in places.iter().filter(|place| place.exists()) {
                let left = files_below(place);
                let left: Vec<_> = left
                    .iter()
                    .filter(|it| it.contains(".wardian-new"))
                    .collect();
                assert!(left.is_empty(), "moment {moment}: {left:?}");
            }
            let large = host.home().join("new/large");
            assert!(!large.exists() || large.metadata().unwrap().len() == 20 << 20);
        }
        cp(&host, &from, to).success();
    }
    assert!(!host.state(&name).join("layers/copying").exists());
    let control = host.wardian(&["diff", "--stat", &name]).success();
    assert!(control.text().contains("copy/large"), "{control:?}");
}
