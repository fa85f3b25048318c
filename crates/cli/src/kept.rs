//! What a sandbox that has ended holds, in a few words.

use wardian_git::confined::Git;
use wardian_git::review;
use wardian_sandbox::record::{KeptWorkspace, Work};

use crate::home;
use crate::review::{counted, find_git};

/// Of all workspaces, on one line: `~/api: commits, 3 files; ~/web: applied`.
pub(crate) fn in_words(kept: &[KeptWorkspace]) -> Option<String> {
    let all = kept.iter().map(|kept| place_and(kept, work(kept)));
    let all: Vec<_> = all.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// What there is in one workspace and nowhere else: `commits, 3 files`, or `applied`.
pub(crate) fn work(kept: &KeptWorkspace) -> String {
    match kept.applied {
        true => "applied".to_owned(),
        false => kept.work.to_string(),
    }
}

/// A line for each workspace, with the number of commits where git can tell it: `~/api: 2 commits, 3 files`.
pub(crate) fn counted_lines(kept: &[KeptWorkspace]) -> Vec<String> {
    let has_moved = |kept: &KeptWorkspace| matches!(kept.work, Work::Session { refs: 1.., .. });
    let git = match kept.iter().any(has_moved) {
        true => find_git().ok(),
        false => None,
    };
    let line = |kept: &KeptWorkspace| {
        let commits = git.as_ref().and_then(|git| commits(kept, git));
        let applied = if kept.applied { " (applied)" } else { "" };
        place_and(kept, with_commits(&kept.work, commits) + applied)
    };
    kept.iter().map(line).collect()
}

fn place_and(kept: &KeptWorkspace, what: String) -> String {
    format!("{}: {what}", home::short(&kept.path))
}

fn commits(kept: &KeptWorkspace, git: &Git) -> Option<u64> {
    review::Work::commits(kept.upper.parent()?, git).ok()
}

fn with_commits(work: &Work, commits: Option<u64>) -> String {
    let (
        Work::Session {
            refs: 1..,
            files,
            left_out,
        },
        Some(commits),
    ) = (work, commits)
    else {
        return work.to_string();
    };
    let first = match commits {
        // Moved to what was there before, or deleted.
        0 => "branches or tags".to_owned(),
        1 => "1 commit".to_owned(),
        _ => format!("{commits} commits"),
    };
    let rest = Work::Session {
        refs: 0,
        files: *files,
        left_out: *left_out,
    };
    match rest.to_string() {
        rest if rest.is_empty() => first,
        rest => format!("{first}, {rest}"),
    }
}

/// `2 files or directories that git ignores`.
pub(crate) fn dropped(count: usize) -> Option<String> {
    let what = "file or directory that git ignores";
    let many = "files or directories that git ignore";
    counted(count, if count == 1 { what } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_counted_where_there_are_some() {
        let work = |refs, files| Work::Session {
            refs,
            files,
            left_out: 0,
        };
        assert_eq!(with_commits(&work(1, 3), Some(1)), "1 commit, 3 files");
        assert_eq!(with_commits(&work(1, 0), Some(2)), "2 commits");
        assert_eq!(with_commits(&work(1, 0), Some(0)), "branches or tags");
        assert_eq!(with_commits(&work(1, 3), None), "commits, 3 files");
        assert_eq!(with_commits(&work(0, 3), Some(9)), "3 files");
        assert_eq!(with_commits(&Work::Changes, Some(9)), "changed files");
    }
}
