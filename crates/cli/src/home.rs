//! Where the user's home is.

use std::io::BufRead;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use wardian_events::visible;

/// `$HOME` if it is an absolute path, or else what `/etc/passwd` says of the effective user: services and
/// `env -i` have no `HOME`.
pub(crate) fn home() -> Option<PathBuf> {
    let from_environment = std::env::var_os("HOME")
        .map(PathBuf::from)
        .filter(|home| home.is_absolute());
    from_environment.or_else(|| {
        let passwd = std::fs::File::open("/etc/passwd").ok()?;
        of_user(
            std::io::BufReader::new(passwd),
            rustix::process::geteuid().as_raw(),
        )
    })
}

/// A path as people write it: `~/api` below the home.
pub(crate) fn short(path: &Path) -> String {
    let home = home().filter(|home| home.parent().is_some());
    shortened(path, home.as_deref())
}

fn shortened(path: &Path, home: Option<&Path>) -> String {
    let below = home.and_then(|home| path.strip_prefix(home).ok());
    let path = match below {
        Some(below) if below.as_os_str().is_empty() => PathBuf::from("~"),
        Some(below) => Path::new("~").join(below),
        None => path.to_owned(),
    };
    visible(&path.to_string_lossy()).into_owned()
}

/// The sixth field of the first line of a passwd(5) file whose third is `uid`.
fn of_user(passwd: impl BufRead, uid: u32) -> Option<PathBuf> {
    passwd.split(b'\n').map_while(Result::ok).find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?;
        let home = fields.nth(2)?.to_vec();
        let home = PathBuf::from(std::ffi::OsString::from_vec(home));
        (id.parse() == Ok(uid) && home.is_absolute()).then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_the_home_are_short() {
        let shortened = |path: &str| shortened(Path::new(path), Some(Path::new("/home/ann")));
        assert_eq!(shortened("/home/ann/api"), "~/api");
        assert_eq!(shortened("/home/ann"), "~");
        assert_eq!(shortened("/home/anna/api\n"), "/home/anna/api\\x0a");
    }

    #[test]
    fn reads_passwd() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n\nbroken:x\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\n\
            nobody:x:65534:65534::relative:/x\n";
        assert_eq!(of_user(&passwd[..], 1000), Some("/home/ann".into()));
        assert_eq!(of_user(&passwd[..], 0), Some("/root".into()));
        assert_eq!(of_user(&passwd[..], 65534), None);
        assert_eq!(of_user(&passwd[..], 7), None);
    }
}
