//! What became of files is on record before anything of it is removed.

use serde_json::Value;
use wardian_tests::host::Host;
use wardian_tests::mode::Mode;

wardian_tests::both_modes!(
    of_an_overlay_a_clone_and_the_home,
    nothing_is_told_where_nothing_changed,
    as_many_as_a_record_holds,
);

fn brief(event: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value => value.to_string().trim_matches('"').to_owned(),
    };
    event["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            ["path", "change", "file", "before", "after"]
                .map(|key| text(&file[key]))
                .join(" ")
        })
        .collect()
}

fn of_an_overlay_a_clone_and_the_home(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("kept"), "kept");
    host.write(&host.project().join("old"), "12345");
    host.write(&host.project().join("gone/a"), "a");
    host.write(&host.project().join("replaced/a"), "a");
    let script = "echo new > new; echo 1 > old; rm -r gone; rm -r replaced; mkdir replaced; \
        echo x > replaced/b; ln -s /etc/passwd link; echo x > \"$(printf 'e\\033[2J')\"; \
        mkdir -p ~/.config; echo x > ~/.config/tool; chmod +x new";
    let outcome = host.shell(script).finish().success();
    let events = outcome.events();
    let changed = events.of_kind("files_changed");
    let overlay = changed
        .iter()
        .find(|event| event["of"] == "overlay")
        .unwrap();
    assert_eq!(
        brief(overlay),
        [
            "e\\\\x1b[2J added file - 2",
            "gone removed directory - -",
            "link added symlink - 11",
            "new added program - 4",
            "old changed file 5 2",
            "replaced removed directory - -",
            "replaced/b added file - 2",
        ]
    );
    let sha256 = &overlay["files"][3]["sha256"];
    assert_eq!(
        sha256,
        "7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c"
    );
    let home = changed.iter().find(|event| event["of"] == "home").unwrap();
    assert!(
        brief(home).contains(&".config/tool added file - 2".to_owned()),
        "{home}"
    );
    let shown = host.wardian(&["events", &outcome.name]).success().text();
    assert!(
        shown.contains("5 added") || shown.contains("4 added"),
        "{shown}"
    );
    host.wardian(&["verify", &outcome.name]).success();

    let script =
        "rm -r *; git init -q -b main . && mkdir src && echo hello >README && echo a >src/a &&
        echo out >.gitignore && git add . && git -c user.name=a -c user.email=a@b commit -qm base";
    host.outside(["sh", "-c", script]).success();
    let script = "git mv src/a src/b; git -c user.name=a -c user.email=a@b commit -qm x; \
        echo more >> README; mkdir out; echo x > out/x; mkfifo pipe";
    let outcome = host.shell(script).finish().success();
    let events = outcome.events();
    let changed = events.of_kind("files_changed");
    let clone = changed.iter().find(|event| event["of"] == "clone").unwrap();
    assert_eq!(
        brief(clone),
        [
            "README changed file 6 11",
            "src/a removed file 2 -",
            "src/b added file - 2",
            "pipe left_out other - -",
        ]
    );
    assert_eq!(clone["ignored"], 1, "{clone}");
}

fn nothing_is_told_where_nothing_changed(mode: Mode) {
    let host = Host::new(mode);
    host.write(&host.project().join("kept"), "kept");
    let outcome = host.shell("cat kept > /dev/null").finish().success();
    let events = outcome.events();
    let changed = events.of_kind("files_changed");
    assert!(changed.is_empty(), "{changed:?}");
}

fn as_many_as_a_record_holds(mode: Mode) {
    let host = Host::new(mode);
    let outcome = host
        .shell("for i in $(seq 1000); do echo > file-$i; done")
        .finish()
        .success();
    let events = outcome.events();
    let changed = events.of_kind("files_changed")[0];
    let listed = changed["files"].as_array().unwrap().len() as u64;
    assert_eq!(changed["added"], 1000);
    assert!(listed > 30, "{changed}");
    assert_eq!(changed["further"].as_u64(), Some(1000 - listed));
}
