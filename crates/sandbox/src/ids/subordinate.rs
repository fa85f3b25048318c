//! The ids that a user has besides their own: ranges of subuid(5) and subgid(5), which the set-uid helpers of
//! the host put into a map.

use std::fmt;
use std::fs;
use std::path::Path;

use wardian_linux::userns::IdRange;

use crate::spec::User;

const HELPERS: [&str; 2] = ["newuidmap", "newgidmap"];
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// Where distributions begin to hand out ranges.
const FIRST: u64 = 100_000;
/// As many as distributions hand out.
const LENGTH: u64 = 0x1_0000;

/// Why a user's superuser has no id inside but root's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingIds {
    user: String,
    /// Programs that are not installed.
    pub helpers: Vec<&'static str>,
    /// Files that have no range for the user.
    pub files: Vec<&'static str>,
    /// From here on, neither file has given anything to anybody.
    first_free: u64,
}

impl MissingIds {
    /// `None` if nothing is missing.
    pub fn of(user: &User) -> Option<Self> {
        let lacks = |file: &&str| range_in(Path::new(file), user).is_none();
        let missing = Self {
            user: user.name.clone(),
            helpers: HELPERS
                .into_iter()
                .filter(|name| !is_installed(name))
                .collect(),
            files: FILES.into_iter().filter(lacks).collect(),
            first_free: FILES
                .map(|file| first_free(&fs::read_to_string(file).unwrap_or_default()))
                .into_iter()
                .fold(FIRST, u64::max),
        };
        let something = !missing.helpers.is_empty() || !missing.files.is_empty();
        something.then_some(missing)
    }

    /// The line that the files need.
    pub fn line(&self) -> String {
        format!("{}:{}:{LENGTH}", self.user, self.first_free)
    }
}

/// What is missing, as a clause.
impl fmt::Display for MissingIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clauses = Vec::new();
        if !self.files.is_empty() {
            let files = self.files.join(" and ");
            clauses.push(format!("{} has no subordinate ids in {files}", self.user));
        }
        if !self.helpers.is_empty() {
            clauses.push(format!("there is no {}", self.helpers.join(" and ")));
        }
        f.write_str(&clauses.join(", and "))
    }
}

/// The user's uids and gids, as ids from 1 on, if they can be mapped.
pub(super) fn ranges(user: &User) -> Option<(IdRange, IdRange)> {
    let [uids, gids] = FILES.map(|file| range_in(Path::new(file), user));
    uids.zip(gids)
        .filter(|_| HELPERS.iter().all(|name| is_installed(name)))
}

/// The first of the user's ranges in a file.
fn range_in(file: &Path, user: &User) -> Option<IdRange> {
    let text = fs::read_to_string(file).ok()?;
    parse(&text, user)
}

fn parse(text: &str, user: &User) -> Option<IdRange> {
    let uid = user.uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let outside = fields.next()?.parse().ok()?;
        let length = fields.next()?.parse().ok()?;
        (owner == user.name || owner == uid).then_some(IdRange {
            inside: 1,
            outside,
            length,
        })
    })
}

/// The first id after all ranges of a file.
fn first_free(text: &str) -> u64 {
    let ends = text.lines().filter_map(|line| {
        let mut numbers = line.trim().split(':').skip(1).map(str::parse::<u64>);
        numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
    });
    ends.max().unwrap_or(0)
}

fn is_installed(helper: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(helper).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> User {
        User {
            uid: 1000,
            gid: 1000,
            name: "ada".into(),
            home: "/home/ada".into(),
        }
    }

    #[test]
    fn ranges_by_name_or_uid() {
        let text = "bob:100000:65536\n1000:231072:65536\nada:300000:65536\n";
        let range = parse(text, &ada()).unwrap();
        assert_eq!(
            (range.inside, range.outside, range.length),
            (1, 231_072, 65_536)
        );
        assert!(parse("ada:x:1\n\n:\n", &ada()).is_none());
    }

    #[test]
    fn what_is_missing_is_told_with_a_line_that_takes_nothing_from_others() {
        assert_eq!(
            first_free("bob:100000:65536\nbroken\neve:300000:10\nx:y:z\n"),
            300_010
        );
        assert_eq!(first_free(""), 0);
        let missing = MissingIds {
            user: "ada".to_owned(),
            helpers: vec!["newgidmap"],
            files: FILES.to_vec(),
            first_free: 300_010,
        };
        assert_eq!(missing.line(), "ada:300010:65536");
        assert_eq!(
            missing.to_string(),
            "ada has no subordinate ids in /etc/subuid and /etc/subgid, and there is no newgidmap"
        );
    }
}
