//! The user that Wardian runs for, from the host's own password file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::spec::User;

/// The calling user. `HOME` names the home directory, as for any other program; without it, and for
/// the name, the password file is asked.
pub fn current() -> Option<User> {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let listed = lookup(&passwd, uid);
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute() && home != Path::new("/"))
        .or_else(|| listed.as_ref().map(|(_, home)| home.clone()))?;
    let name = listed
        .map(|(name, _)| name)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| "user".to_owned());
    // Two spellings of one home would hide only one of them.
    let home = fs::canonicalize(&home).unwrap_or(home);
    Some(User {
        uid,
        gid,
        name,
        home,
    })
}

fn lookup(passwd: &str, uid: u32) -> Option<(String, PathBuf)> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, id, _, _, home, ..] = fields.as_slice() else {
            return None;
        };
        (*id == uid && Path::new(home).is_absolute())
            .then(|| ((*name).to_owned(), PathBuf::from(home)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_uid() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nada:x:1000:1000::/home/ada:/bin/sh\n";
        let (name, home) = lookup(passwd, 1000).unwrap();
        assert_eq!(
            (name.as_str(), home.as_path()),
            ("ada", Path::new("/home/ada"))
        );
        assert!(lookup(passwd, 1).is_none());
    }
}
