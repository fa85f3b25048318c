//! The files of `/etc` that describe the machine: the sandbox has its own.

use std::fs;
use std::io;
use std::path::Path;

use crate::image::hidden::Cover;
use crate::spec::SandboxSpec;

/// The resolver inside: an address of the seal's own, behind which the door answers.
const NAME_SERVER: &str = "10.0.0.1";

/// Host name, resolver, machine id and the user's own line in the password file.
#[derive(Debug)]
pub struct IdentityFiles<'a> {
    pub spec: &'a SandboxSpec,
}

/// Those that every sandbox has of its own, below `/etc`.
const OWN: [&str; 4] = ["hostname", "hosts", "resolv.conf", "machine-id"];

/// Whether a sandbox has a file of its own at `path`, which is relative to `/etc`.
pub(super) fn is_own(path: &Path) -> bool {
    OWN.iter().any(|own| path == Path::new(own))
}

impl IdentityFiles<'_> {
    /// Writes them into the upper layer of `/etc`.
    pub fn place(&self, cover: &Cover<'_>) -> io::Result<()> {
        let name = &self.spec.name;
        let hosts = format!(
            "127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback {name}\n"
        );
        let resolver = format!("nameserver {NAME_SERVER}\n");
        let host_name = format!("{name}\n");
        let machine_id = format!("{}\n", random_machine_id());
        for (path, text) in OWN.iter().zip([host_name, hosts, resolver, machine_id]) {
            cover.replace_file(Path::new(path), text.as_bytes(), 0o644)?;
        }
        self.add_missing_account(cover)
    }

    /// For a superuser who has no other id inside: apt cannot become `_apt` to download.
    pub fn keep_apt_root(cover: &Cover<'_>) -> io::Result<()> {
        if !cover.lower.join("apt/apt.conf.d").is_dir() {
            return Ok(());
        }
        let setting = "APT::Sandbox::User \"root\";\n";
        let path = Path::new("apt/apt.conf.d/99wardian");
        cover.replace_file(path, setting.as_bytes(), 0o644)
    }

    /// Users of a directory service have no line in the host's file, and its daemon is not inside.
    fn add_missing_account(&self, cover: &Cover<'_>) -> io::Result<()> {
        let user = &self.spec.user;
        let passwd = fs::read_to_string(cover.lower.join("passwd")).unwrap_or_default();
        if !has_id(&passwd, user.uid) {
            let line = format!(
                "{}:x:{}:{}::{}:/bin/sh\n",
                user.name,
                user.uid,
                user.gid,
                user.home.display()
            );
            cover.replace_file(Path::new("passwd"), (passwd + &line).as_bytes(), 0o644)?;
        }
        let group = fs::read_to_string(cover.lower.join("group")).unwrap_or_default();
        if !has_id(&group, user.gid) {
            let line = format!("{}:x:{}:\n", user.name, user.gid);
            cover.replace_file(Path::new("group"), (group + &line).as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

fn has_id(table: &str, id: u32) -> bool {
    let id = id.to_string();
    table
        .lines()
        .any(|line| line.split(':').nth(2) == Some(id.as_str()))
}

/// The host's own id would tell two sandboxes of one machine that they share it.
fn random_machine_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel's random source answers once it is seeded");
    hex::encode(bytes)
}
