//! Which host ids stand behind the sandbox's ids.
//!
//! | who starts it | account | inside | on the host |
//! |---|---|---|---|
//! | root | any | 0 to 65535 | an unused range of high ids; files on disk keep their ids through id-mapped mounts |
//! | a user | user | the user's uid | the same uid |
//! | a user | superuser | 0 | the user's uid |
//! | | | 1 and up | the user's subordinate ids, where the host has them |

mod subordinate;

use std::fs;

use serde::{Deserialize, Serialize};
use wardian_linux::userns::{IdMaps, IdRange, MapWriter};

use crate::name::SandboxName;
use crate::spec::{Account, User};

pub use subordinate::MissingIds;

/// How the kernel sees whoever runs Wardian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Root of the initial user namespace: can id-map mounts and make cgroups.
    Root,
    /// Anybody else, and root of a container.
    Rootless,
}

impl Privilege {
    /// Root counts as such only where all ids of the host are its own.
    pub fn of_this_process() -> Self {
        let maps_every_id = fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        if rustix::process::geteuid().is_root() && maps_every_id {
            Privilege::Root
        } else {
            Privilege::Rootless
        }
    }
}

/// Whose the host's system directories are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemOwners {
    /// What the kernel makes of their owners on the host.
    Kept,
    /// The superuser inside, so that they can be changed there: only a user's own ids are mapped, and
    /// root of the host has none.
    Shifted,
}

impl SystemOwners {
    pub fn choose(privilege: Privilege, account: Account) -> Self {
        match (privilege, account) {
            (Privilege::Rootless, Account::Superuser) => SystemOwners::Shifted,
            (Privilege::Root, _) | (_, Account::User) => SystemOwners::Kept,
        }
    }
}

/// The sandbox's id maps, how to write them, and the program's ids inside.
#[derive(Debug, Clone)]
pub struct Identity {
    pub maps: IdMaps,
    pub writer: MapWriter,
    /// What pid 1 becomes: the ids that own what the launcher creates.
    pub init: (u32, u32),
    pub uid: u32,
    pub gid: u32,
    /// False for `Superuser` without subordinate ids: package managers that change owners will fail.
    pub has_subordinate_ids: bool,
}

const ROOT_RANGE_LENGTH: u32 = 0x1_0000;
/// Above what distributions hand out for users and subordinate ids, below what systemd reserves.
const ROOT_RANGE_FIRST: u32 = 0x6000_0000;
const ROOT_RANGES: u32 = 0x0fff;

impl Identity {
    /// The program's uid and gid as the host numbers them.
    pub fn outside(&self) -> Option<(u32, u32)> {
        let uid = IdRange::outside_of(&self.maps.uids, self.uid)?;
        let gid = IdRange::outside_of(&self.maps.gids, self.gid)?;
        Some((uid, gid))
    }

    pub fn choose(privilege: Privilege, account: Account, user: &User, name: &SandboxName) -> Self {
        match (privilege, account) {
            (Privilege::Root, account) => Self::for_root(account, user, name),
            (Privilege::Rootless, Account::User) => Self {
                maps: IdMaps {
                    uids: vec![IdRange::one(user.uid, user.uid)],
                    gids: vec![IdRange::one(user.gid, user.gid)],
                },
                writer: MapWriter::OwnIdsOnly,
                init: (user.uid, user.gid),
                uid: user.uid,
                gid: user.gid,
                has_subordinate_ids: false,
            },
            (Privilege::Rootless, Account::Superuser) => Self::for_rootless_superuser(user),
        }
    }

    fn for_root(account: Account, user: &User, name: &SandboxName) -> Self {
        let base = ROOT_RANGE_FIRST + (fnv(name.as_str()) % ROOT_RANGES) * ROOT_RANGE_LENGTH;
        let range = vec![IdRange {
            inside: 0,
            outside: base,
            length: ROOT_RANGE_LENGTH,
        }];
        let (uid, gid) = match account {
            Account::User => (user.uid, user.gid),
            Account::Superuser => (0, 0),
        };
        Self {
            maps: IdMaps {
                uids: range.clone(),
                gids: range,
            },
            writer: MapWriter::Privileged,
            init: (0, 0),
            uid,
            gid,
            has_subordinate_ids: true,
        }
    }

    fn for_rootless_superuser(user: &User) -> Self {
        let mut uids = vec![IdRange::one(0, user.uid)];
        let mut gids = vec![IdRange::one(0, user.gid)];
        let writer = match subordinate::ranges(user) {
            Some((sub_uids, sub_gids)) => {
                uids.push(sub_uids);
                gids.push(sub_gids);
                MapWriter::Helpers
            }
            None => MapWriter::OwnIdsOnly,
        };
        Self {
            maps: IdMaps { uids, gids },
            writer,
            init: (0, 0),
            uid: 0,
            gid: 0,
            has_subordinate_ids: writer == MapWriter::Helpers,
        }
    }

    /// The ids inside of whoever owns the workspaces on disk.
    pub fn user_inside(&self, privilege: Privilege, user: &User) -> (u32, u32) {
        match privilege {
            // Files keep their ids.
            Privilege::Root => (user.uid, user.gid),
            Privilege::Rootless => (self.uid, self.gid),
        }
    }

    /// The map of the program's own user namespace: the same ids again, without any power over what
    /// belongs to the outer one.
    pub fn program_maps(&self) -> IdMaps {
        IdMaps {
            uids: IdRange::identity_of(&self.maps.uids),
            gids: IdRange::identity_of(&self.maps.gids),
        }
    }
}

/// FNV-1a, to spread names over ranges; collisions share a range, which harms nothing.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            uid: 1000,
            gid: 1000,
            name: "ada".into(),
            home: "/home/ada".into(),
        }
    }

    #[test]
    fn root_never_maps_to_host_ids_in_use() {
        for name in ["a", "claude-7f3k2q"] {
            let name = SandboxName::parse(name).unwrap();
            let identity = Identity::choose(Privilege::Root, Account::Superuser, &user(), &name);
            let range = identity.maps.uids[0];
            assert!(range.outside >= ROOT_RANGE_FIRST);
            assert!(
                range
                    .outside
                    .checked_add(range.length)
                    .is_some_and(|end| end < 0x7000_0000)
            );
        }
    }
}
