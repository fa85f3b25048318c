//! Whose files are inside.

use wardian_linux::userns::{IdMaps, IdRange};

/// The superuser's id.
const ROOT: u32 = 0;

/// Who owns a file inside that belongs to `uid` and `gid` on the host: the same, where these ids exist. What
/// belongs to an id that does not is root's. In a sandbox without root, it keeps an id that does not exist,
/// so that nobody can change it; but a group that the user shares with others is the user's own, so that
/// their files can be copied up.
pub(super) fn inside(maps: &IdMaps, uid: u32, gid: u32) -> (u32, u32) {
    let owner = existing(&maps.uids, uid).unwrap_or(uid);
    let group = existing(&maps.gids, gid).unwrap_or_else(|| {
        let own = maps.gids.first().map(|range| range.inside);
        own.filter(|_| exists(&maps.uids, owner)).unwrap_or(gid)
    });
    (owner, group)
}

fn existing(ranges: &[IdRange], id: u32) -> Option<u32> {
    [id, ROOT].into_iter().find(|id| exists(ranges, *id))
}

fn exists(ranges: &[IdRange], id: u32) -> bool {
    IdRange::outside_of(ranges, id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(lines: &[(u32, u32, u32)]) -> IdMaps {
        let range = |&(inside, outside, length): &(u32, u32, u32)| IdRange {
            inside,
            outside,
            length,
        };
        let ranges: Vec<_> = lines.iter().map(range).collect();
        IdMaps {
            uids: ranges.clone(),
            gids: ranges,
        }
    }

    #[test]
    fn roots_unless_they_exist() {
        let subordinate = maps(&[(0, 1000, 1), (1, 100_000, 500)]);
        let shown = [0, 1, 500, 501, 65_534].map(|id| inside(&subordinate, id, id).0);
        assert_eq!(shown, [0, 1, 500, 0, 0]);
        assert_eq!(inside(&maps(&[(0, 1000, 1)]), 42, 43), (0, 0));
    }

    #[test]
    fn nobodys_where_there_is_no_root() {
        let one = maps(&[(1000, 1000, 1)]);
        assert_eq!(inside(&one, 0, 0), (0, 0));
        assert!(!exists(&one.uids, 0) && !exists(&one.gids, 0));
        assert_eq!(inside(&one, 1000, 1000), (1000, 1000));
        // A group of several users.
        assert_eq!(inside(&one, 1000, 2000), (1000, 1000));
        assert_eq!(inside(&one, 1, 1000), (1, 1000));
    }
}
