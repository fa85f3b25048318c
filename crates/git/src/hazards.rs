//! What the user's own tools would execute, once a session's files are in their tree.
//!
//! Code runs when somebody runs it, and that is for the user to judge. These are the files which run, or
//! steer what runs, without being asked for by name: at `cd`, at `git commit`, when an editor opens the
//! directory, with a build, in CI, with the next agent.

use gix::bstr::{BStr, ByteSlice};

/// When a file takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    Git,
    Shell,
    Editor,
    Agent,
    Build,
    Container,
    Ci,
}

impl Trigger {
    /// For people: "when ...".
    pub fn when(self) -> &'static str {
        match self {
            Self::Git => "with git commands",
            Self::Shell => "when a shell enters the directory",
            Self::Editor => "when an editor opens the directory",
            Self::Agent => "when an agent works here",
            Self::Build => "with builds, tests and package managers",
            Self::Container => "when containers are built or started",
            Self::Ci => "in CI, perhaps with its secrets",
        }
    }
}

/// How a file is recognised. Case does not matter: the tree may land on a file system where it does not.
enum Is {
    /// A file of this name, in any directory.
    Named(&'static str),
    /// Anything below a directory of this name, in any directory.
    Below(&'static str),
    /// Anything below this path from the top.
    At(&'static str),
    Suffixed(&'static str),
}

use Is::{At, Below, Named, Suffixed};
use Trigger::{Agent, Build, Ci, Container, Editor, Git, Shell};

/// The first that fits counts.
const TABLE: &[(Is, Trigger)] = &[
    (Named(".gitattributes"), Git),
    (Named(".gitmodules"), Git),
    (Named(".lfsconfig"), Git),
    (Below(".githooks"), Git),
    (Below(".git-hooks"), Git),
    (Below(".husky"), Git),
    (Named(".pre-commit-config.yaml"), Git),
    (Named(".pre-commit-hooks.yaml"), Git),
    (Named("lefthook.yml"), Git),
    (Named(".lefthook.yml"), Git),
    (Named(".overcommit.yml"), Git),
    (Named(".envrc"), Shell),
    (Named(".env"), Shell),
    (Named(".autoenv.zsh"), Shell),
    (Named("mise.toml"), Shell),
    (Named(".mise.toml"), Shell),
    (Named(".tool-versions"), Shell),
    (Named("devbox.json"), Shell),
    (Named("devenv.nix"), Shell),
    (Named("flake.nix"), Shell),
    (Named("shell.nix"), Shell),
    (Below(".vscode"), Editor),
    (Suffixed(".code-workspace"), Editor),
    (Below(".idea"), Editor),
    (Below(".zed"), Editor),
    (Below(".fleet"), Editor),
    (Named(".nvim.lua"), Editor),
    (Named(".nvimrc"), Editor),
    (Named(".exrc"), Editor),
    (Named(".vimrc"), Editor),
    (Named(".dir-locals.el"), Editor),
    (Suffixed(".sublime-project"), Editor),
    (Below(".claude"), Agent),
    (Below(".codex"), Agent),
    (Below(".gemini"), Agent),
    (Below(".opencode"), Agent),
    (Below(".cursor"), Agent),
    (Below(".windsurf"), Agent),
    (Below(".continue"), Agent),
    (Below(".roo"), Agent),
    (Below(".goose"), Agent),
    (Below(".agents"), Agent),
    (Named("claude.md"), Agent),
    (Named("claude.local.md"), Agent),
    (Named("agents.md"), Agent),
    (Named("gemini.md"), Agent),
    (Named(".mcp.json"), Agent),
    (Named("opencode.json"), Agent),
    (Named(".cursorrules"), Agent),
    (Named(".windsurfrules"), Agent),
    (Named(".goosehints"), Agent),
    (Named(".aider.conf.yml"), Agent),
    (Named("copilot-instructions.md"), Agent),
    (Named("wardian.toml"), Agent),
    (At(".github/instructions"), Agent),
    (At(".github/workflows"), Ci),
    (At(".github/actions"), Ci),
    (At(".gitea/workflows"), Ci),
    (At(".forgejo/workflows"), Ci),
    (At(".circleci"), Ci),
    (At(".buildkite"), Ci),
    (At(".woodpecker"), Ci),
    (At(".teamcity"), Ci),
    (At(".ci"), Ci),
    (Named(".gitlab-ci.yml"), Ci),
    (Named(".travis.yml"), Ci),
    (Named(".drone.yml"), Ci),
    (Named(".woodpecker.yml"), Ci),
    (Named(".cirrus.yml"), Ci),
    (Named("appveyor.yml"), Ci),
    (Named("azure-pipelines.yml"), Ci),
    (Named("bitbucket-pipelines.yml"), Ci),
    (Named("jenkinsfile"), Ci),
    (Below(".devcontainer"), Container),
    (Named(".devcontainer.json"), Container),
    (Named("dockerfile"), Container),
    (Named("containerfile"), Container),
    (Named("docker-compose.yml"), Container),
    (Named("docker-compose.yaml"), Container),
    (Named("compose.yml"), Container),
    (Named("compose.yaml"), Container),
    (Named("vagrantfile"), Container),
    (Named("package.json"), Build),
    (Named(".npmrc"), Build),
    (Named(".yarnrc"), Build),
    (Named(".yarnrc.yml"), Build),
    (Below(".yarn"), Build),
    (Named(".pnpmfile.cjs"), Build),
    (Named("build.rs"), Build),
    (Named("cargo.toml"), Build),
    (Below(".cargo"), Build),
    (Named("rust-toolchain"), Build),
    (Named("rust-toolchain.toml"), Build),
    (Named("setup.py"), Build),
    (Named("setup.cfg"), Build),
    (Named("pyproject.toml"), Build),
    (Named("conftest.py"), Build),
    (Named("sitecustomize.py"), Build),
    (Named("usercustomize.py"), Build),
    (Suffixed(".pth"), Build),
    (Named("tox.ini"), Build),
    (Named("noxfile.py"), Build),
    (Named("makefile"), Build),
    (Named("gnumakefile"), Build),
    (Suffixed(".mk"), Build),
    (Named("justfile"), Build),
    (Named("taskfile.yml"), Build),
    (Named("cmakelists.txt"), Build),
    (Suffixed(".cmake"), Build),
    (Named("configure"), Build),
    (Named("meson.build"), Build),
    (Named("sconstruct"), Build),
    (Suffixed(".gradle"), Build),
    (Suffixed(".gradle.kts"), Build),
    (Named("gradlew"), Build),
    (Named("gradle-wrapper.jar"), Build),
    (Named("gradle-wrapper.properties"), Build),
    (Named("pom.xml"), Build),
    (Named("mvnw"), Build),
    (Below(".mvn"), Build),
    (Named("rakefile"), Build),
    (Named("gemfile"), Build),
    (Suffixed(".gemspec"), Build),
    (Named("composer.json"), Build),
    (Named(".bazelrc"), Build),
    (Named("build.bazel"), Build),
    (Named("module.bazel"), Build),
    (Named("build.zig"), Build),
    (Named("mix.exs"), Build),
    (Suffixed(".csproj"), Build),
    (Named("directory.build.props"), Build),
    (Named("directory.build.targets"), Build),
];

/// When a change to `path` (relative to the top of the work tree) would take effect, if it would at all.
pub fn trigger(path: &BStr) -> Option<Trigger> {
    let path = path.to_ascii_lowercase();
    let components: Vec<&[u8]> = path.split_str("/").collect();
    let (name, directories) = components.split_last()?;
    let fits = |is: &Is| match is {
        Named(wanted) => *name == wanted.as_bytes(),
        Below(wanted) => directories.contains(&wanted.as_bytes()),
        At(wanted) => path
            .strip_prefix(wanted.as_bytes())
            .is_some_and(|rest| rest.starts_with(b"/")),
        Suffixed(wanted) => name.ends_with(wanted.as_bytes()),
    };
    TABLE
        .iter()
        .find(|(is, _)| fits(is))
        .map(|(_, trigger)| *trigger)
}

/// Whether a symlink at `path` with this target leads out of the tree, judged by its text alone.
pub fn leads_out(path: &BStr, target: &BStr) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.split_str("/").count() as i64 - 1;
    for component in target.split_str("/") {
        match component {
            b"" | b"." => {}
            b".." => depth -= 1,
            // A component may be a link itself; what it leads to is judged at its own path.
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_trigger(path: &str, expected: Option<Trigger>) {
        assert_eq!(trigger(path.as_bytes().as_bstr()), expected, "{path}");
    }

    #[test]
    fn what_runs_by_itself_is_known_wherever_it_lies() {
        assert_trigger(".envrc", Some(Shell));
        assert_trigger("deep/er/.envrc", Some(Shell));
        assert_trigger(".vscode/tasks.json", Some(Editor));
        assert_trigger("web/.VSCode/tasks.json", Some(Editor));
        assert_trigger(".github/workflows/ci.yml", Some(Ci));
        assert_trigger("crates/x/build.rs", Some(Build));
        assert_trigger("CLAUDE.md", Some(Agent));
        assert_trigger(".claude/settings.json", Some(Agent));
        assert_trigger(".husky/pre-commit", Some(Git));
        assert_trigger("Dockerfile", Some(Container));
    }

    #[test]
    fn other_files_are_not() {
        for path in [
            "src/main.rs",
            "README.md",
            "docs/.github.md",
            "vscode/tasks.json",
            "a.envrc",
        ] {
            assert_trigger(path, None);
        }
    }

    #[test]
    fn links_that_lead_out() {
        let out = |path: &str, target: &str| {
            leads_out(path.as_bytes().as_bstr(), target.as_bytes().as_bstr())
        };
        assert!(out("a", "/etc/passwd"));
        assert!(out("a", ".."));
        assert!(out("d/a", "../../x"));
        assert!(out("d/a", "x/../../../y"));
        assert!(!out("d/a", "../x"));
        assert!(!out("d/a", "./e//f"));
    }
}
