//! Volumes: directories with a name that outlive sandboxes. And `--bind` in both of its spellings.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

wardian_tests::both_modes!(
    a_volume_outlives_sandboxes_and_is_shared,
    a_volume_goes_where_it_is_asked_to_and_comes_back_at_resume,
    a_volume_is_removed_when_nobody_uses_it,
    a_volume_makes_nothing_privileged,
    a_volume_is_in_nobodys_way,
    bind_takes_a_directory_after_a_space,
);

fn data(host: &Host, name: &str) -> PathBuf {
    host.home()
        .join(".local/share/wardian/volumes")
        .join(name)
        .join("data")
}

fn a_volume_outlives_sandboxes_and_is_shared(mode: Mode) {
    let host = Host::new(mode);
    let plan = host
        .wardian(&["run", "--dry-run", "--volume", "models", "true"])
        .success();
    assert!(plan.text().contains("/volumes/models"), "{plan:?}");
    assert!(!data(&host, "models").exists(), "a dry run makes nothing");

    host.shell("echo one >/volumes/models/a")
        .option(&["--volume", "models"])
        .finish()
        .success();
    let second = host.shell(
        "cat /volumes/models/a && echo two >/volumes/models/b && stat -c %U /volumes/models/b",
    );
    let text = second
        .option(&["--volume", "models"])
        .as_inner_root()
        .text();
    assert_eq!(text, "one\nroot\n");
    let status = fs::metadata(data(&host, "models").join("b")).unwrap();
    assert_eq!(status.uid(), host.uid());
    let private = fs::metadata(data(&host, "models").parent().unwrap()).unwrap();
    assert_eq!(private.permissions().mode() & 0o777, 0o700);
    // The control: another sandbox has nothing of it.
    assert_eq!(
        host.shell("ls -d /volumes 2>/dev/null || echo nothing")
            .text(),
        "nothing\n"
    );
}

fn a_volume_goes_where_it_is_asked_to_and_comes_back_at_resume(mode: Mode) {
    let host = Host::new(mode);
    let options = [
        "--volume",
        "one:/srv/deep/one",
        "--volume",
        "two:~/.two",
        "--volume",
        "one:ro",
    ];
    let run = host
        .shell("echo x >/srv/deep/one/x; echo y >~/.two/y; cat /volumes/one/x; echo z >/volumes/one/z || echo refused")
        .option(&options);
    let name = run.name().to_owned();
    assert_eq!(run.text(), "x\nrefused\n");
    let again = host.wardian(&[
        "resume",
        &name,
        "--",
        "sh",
        "-c",
        "cat /srv/deep/one/x ~/.two/y",
    ]);
    assert_eq!(again.success().text(), "x\ny\n");
}

fn a_volume_is_removed_when_nobody_uses_it(mode: Mode) {
    let host = Host::new(mode);
    let started = host
        .shell("mkdir -p /volumes/v/d/e; chmod 0 /volumes/v/d; echo x >/volumes/v/x; sleep 30")
        .option(&["--volume", "v"])
        .start();
    for _ in 0..500 {
        if data(&host, "v").join("x").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let list = host.wardian(&["volume", "ls"]).success();
    assert!(list.text().contains("in use"), "{list:?}");
    let told = host.wardian(&["volume", "rm", "--force", "v"]).exited(2);
    assert!(
        told.errors().contains("a sandbox uses the volume v"),
        "{told:?}"
    );
    started.running.signal(rustix::process::Signal::TERM);
    started.finish();

    let list = host.wardian(&["volume", "ls", "--json"]).success();
    let list: serde_json::Value = serde_json::from_str(&list.text()).unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["in_use"]),
        (&"v".into(), &false.into())
    );
    let told = host.wardian(&["volume", "rm", "v"]).exited(2);
    assert!(
        told.errors().contains("was not removed"),
        "nobody was there to say yes: {told:?}"
    );
    assert!(data(&host, "v").join("x").exists());
    host.wardian(&["volume", "rm", "--force", "v"]).success();
    let all = host.home().join(".local/share/wardian/volumes");
    assert_eq!(fs::read_dir(all).unwrap().count(), 0);
    host.wardian(&["volume", "rm", "v"]).exited(2);
}

fn a_volume_makes_nothing_privileged(mode: Mode) {
    let host = Host::new(mode);
    let script = "cp /usr/bin/id $D/id; chmod 6755 $D/id 2>/dev/null && echo set-id; mknod $D/null c 1 3 2>/dev/null && echo device
        grep \" $D \" /proc/self/mountinfo | cut -d' ' -f6; true";
    let volume = script.replace("$D", "/volumes/v");
    let text = host
        .shell(&volume)
        .option(&["--volume", "v"])
        .as_inner_root()
        .text();
    assert!(text.contains("nosuid") && text.contains("nodev"), "{text}");
    assert!(
        !text.contains("set-id") && !text.contains("device"),
        "{text}"
    );
    let mode_bits = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode_bits(data(&host, "v").join("id")) & 0o7000, 0);
    // Nobody else gets there anyway.
    let way = host.home().join(".local/share/wardian/volumes");
    assert_eq!(mode_bits(way) & 0o077, 0);
    // The control: in a layer, which never becomes a file of the user's, the bits can be set.
    let text = host
        .shell(&script.replace("$D", "."))
        .as_inner_root()
        .text();
    assert!(text.contains("set-id"), "{text}");
}

fn a_volume_is_in_nobodys_way(mode: Mode) {
    let host = Host::new(mode);
    let project = host.project();
    let within = format!("v:{}/deps", project.display());
    for asked in [
        "../v",
        "v:/etc/v",
        "v:/",
        "v:rel",
        "v:/run/wardian",
        "v:~",
        &within,
    ] {
        let told = host
            .shell("true")
            .option(&["--volume", asked])
            .finish()
            .exited(2);
        assert!(told.errors().contains("error:"), "{told:?}");
    }
    assert!(!host.home().join(".local/share/wardian/volumes").exists());
}

fn bind_takes_a_directory_after_a_space(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.home().join("lib/file"), "lib");
    host.write_program(
        &host.project().join("make"),
        "#!/bin/sh\necho made >made; echo x >../lib/x 2>/dev/null || echo read-only",
    );
    let wardian = |words: &[&str]| {
        let all = [&["run"], words].concat();
        host.wardian(&all).success().text()
    };
    assert_eq!(
        wardian(&["--bind", "../lib:ro", "--", "./make"]),
        "read-only\n"
    );
    assert!(
        !host.project().join("made").exists(),
        "the current directory is a copy"
    );
    assert_eq!(wardian(&["--bind", "../lib", "cat", "../lib/file"]), "lib");
    assert_eq!(
        wardian(&["--bind", "--bind", "../lib:ro", "--", "./make"]),
        "read-only\n"
    );
    assert!(host.project().join("made").exists());
    fs::remove_file(host.project().join("made")).unwrap();
    // A program is no directory, and a command without a slash is one whatever there is.
    wardian(&["--bind", "./make"]);
    assert!(host.project().join("made").exists());
    host.make_directory(&host.project().join("true"));
    wardian(&["--bind", "true"]);
}
