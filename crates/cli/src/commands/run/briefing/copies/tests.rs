use super::*;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use wardian_supervisor::protocol::PolicySources;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap()
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, to: &str, path: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn gather(&self, preset: &str) -> (BTreeMap<String, String>, Vec<(String, String)>) {
        let sources = PolicySources {
            presets: vec![preset.to_owned()],
            ..PolicySources::default()
        };
        let policy = sources.build().unwrap();
        let copies = Copies::gather(&policy, &self.path()).unwrap();
        let home = self.path();
        let below = |path: &Path| path.strip_prefix(&home).unwrap().display().to_string();
        let files = copies.parcel.files().unwrap().map(|file| {
            let (label, content) = file.unwrap();
            (
                below(&label.path),
                String::from_utf8_lossy(&content).into_owned(),
            )
        });
        let left_out = copies.left_out.iter();
        let left_out = left_out.map(|it| (below(&it.path), it.why.clone()));
        (files.collect(), left_out.collect())
    }
}

#[test]
fn what_a_preset_names_and_nothing_else() {
    let home = Home::new();
    for path in [
        ".claude/CLAUDE.md",
        ".claude/skills/x/SKILL.md",
        ".claude/skills/x/scripts/run.sh",
        ".claude/commands/deploy.md",
        ".claude/history.jsonl",
        ".claude/projects/secret.jsonl",
        ".claude.json",
        ".codex/AGENTS.md",
    ] {
        home.write(path, path);
    }
    home.write(
        ".claude/settings.json",
        "{\"model\": \"opus\", \"env\": {\"K\": \"v\"}}",
    );
    let run = home.path().join(".claude/skills/x/scripts/run.sh");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o6577)).unwrap();
    let (files, left_out) = home.gather("claude");
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            ".claude/CLAUDE.md",
            ".claude/commands/deploy.md",
            ".claude/settings.json",
            ".claude/skills/x/SKILL.md",
            ".claude/skills/x/scripts/run.sh",
        ]
    );
    assert!(!files[".claude/settings.json"].contains("env"));
    assert_eq!(left_out, []);
    assert_eq!(home.gather("github").0.len(), 0);

    let policy = PolicySources {
        presets: vec!["claude".to_owned()],
        ..PolicySources::default()
    };
    let copies = Copies::gather(&policy.build().unwrap(), &home.path()).unwrap();
    let mode = |end: &str| {
        let mut files = copies.parcel.files().unwrap().map(Result::unwrap);
        files
            .find(|(label, _)| label.path.ends_with(end))
            .unwrap()
            .0
            .mode
    };
    // Neither set-user-ID nor writable for others.
    assert_eq!(mode("run.sh"), 0o755);
    let skills = copies.copied.iter().find(|it| it.path.ends_with("skills"));
    assert_eq!(skills.unwrap().files, 2);
    assert_eq!(copies.note(), None);
}

#[test]
fn secrets_and_what_is_elsewhere_stay_outside() {
    let home = Home::new();
    let skill = ".claude/skills/x";
    home.write(".ssh/id_ed25519", "KEY");
    home.write(".claude/.credentials.json", "KEY");
    home.write(&format!("{skill}/SKILL.md"), "fine");
    for secret in [
        ".credentials.json",
        ".env",
        "auth.json",
        "oauth.json",
        "tls.pem",
    ] {
        home.write(&format!("{skill}/{secret}"), "KEY");
    }
    home.write(&format!("{skill}/.git/config"), "KEY");
    home.link("../../../.ssh/id_ed25519", &format!("{skill}/relative.md"));
    home.link(
        "../../.credentials.json",
        &format!("{skill}/credentials.md"),
    );
    home.link("auth.json", &format!("{skill}/renamed.md"));
    home.link("renamed.md", &format!("{skill}/twice.md"));
    let absolute = home.path().join(".ssh/id_ed25519");
    home.link(absolute.to_str().unwrap(), &format!("{skill}/absolute.md"));
    home.link("../../../.ssh", &format!("{skill}/directory"));
    home.link("..", &format!("{skill}/loop"));
    home.link("nowhere", &format!("{skill}/dangling"));
    home.link("SKILL.md", &format!("{skill}/same.md"));
    home.link("/proc/self/environ", &format!("{skill}/environ.md"));
    // Control: an ordinary copy takes the key along.
    let read = fs::read_to_string(home.path().join(skill).join("relative.md"));
    assert_eq!(read.unwrap(), "KEY");

    let (files, left_out) = home.gather("claude");
    let expected = [
        (format!("{skill}/SKILL.md"), "fine".to_owned()),
        (format!("{skill}/same.md"), "fine".to_owned()),
    ];
    assert_eq!(files, BTreeMap::from(expected));
    let names: Vec<_> = left_out
        .iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            ".credentials.json",
            ".env",
            "absolute.md",
            "auth.json",
            "credentials.md",
            "directory",
            "environ.md",
            "loop",
            "oauth.json",
            "relative.md",
            "renamed.md",
            "tls.pem",
            "twice.md",
        ]
    );
}

#[test]
fn a_link_at_the_named_place_is_the_users_choice() {
    let home = Home::new();
    home.write("dotfiles/claude/skills/x/SKILL.md", "fine");
    home.write("dotfiles/secret.md", "fine");
    home.write(".ssh/config.md", "KEY");
    home.link("../dotfiles/claude/skills", ".claude/skills");
    home.link("../dotfiles/secret.md", ".claude/CLAUDE.md");
    home.link("../.ssh", ".claude/commands");
    home.link("..", ".claude/agents");
    home.link("../.ssh/config.md", ".codex/AGENTS.md");
    let (files, left_out) = home.gather("claude");
    let files: Vec<_> = files.into_keys().collect();
    assert_eq!(files, [".claude/CLAUDE.md", ".claude/skills/x/SKILL.md"]);
    let left_out: Vec<_> = left_out.into_iter().map(|(path, _)| path).collect();
    assert_eq!(left_out, [".claude/agents", ".claude/commands"]);
    assert_eq!(home.gather("codex").0.len(), 0);
}

#[test]
fn what_is_too_much_is_left_out() {
    let home = Home::new();
    home.write(".claude/skills/big.md", vec![b'x'; MAX_FILE + 1]);
    for number in 0..9 {
        let path = format!(".claude/skills/full/{number}");
        home.write(&path, vec![b'x'; MAX_FILE]);
    }
    for number in 0..MAX_FILES {
        home.write(&format!(".claude/skills/many/{number}"), "");
    }
    home.write(".claude/skills/zzz.md", "");
    let deep = "d/".repeat(MAX_DEPTH + 1);
    home.write(&format!(".claude/agents/{deep}file"), "");
    rustix::fs::mknodat(
        CWD,
        home.path().join(".claude/skills/fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let (files, left_out) = home.gather("claude");
    assert_eq!(files.len(), MAX_FILES);
    let left_out: BTreeMap<_, _> = left_out.into_iter().collect();
    assert_eq!(left_out[".claude/skills/big.md"], "it is larger than 1 MiB");
    assert_eq!(left_out[".claude/skills/fifo"], "it is no file");
    assert!(left_out[".claude/skills/full/8"].contains("8 MiB"));
    assert!(left_out.values().any(|why| why.contains("2000 files")));
    assert!(left_out.values().any(|why| why.contains("too deep")));
}

#[test]
fn settings_that_cannot_be_read_are_named() {
    let home = Home::new();
    home.write(".claude/settings.json", "{ nonsense");
    let (files, left_out) = home.gather("claude");
    assert!(files.is_empty());
    assert!(left_out[0].1.contains("cannot be read"), "{left_out:?}");
}
