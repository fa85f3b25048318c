//! What the trials need outside: a workspace, a policy, a secret to keep, and servers that count who comes.

mod base;
mod origin;

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use rustix::process::Signal;
use wardian_linux::signal::SignalFd;
use wardian_sandbox::state::StateRoot;
use wardian_sandbox::{SandboxName, user};

use self::base::Base;
pub(super) use self::origin::{Heard, Over};
use self::origin::{Identity, Origin};
use super::inside::{Errand, Exhaust, Look, Task, Visit};
use super::private;
use crate::sandboxes;

/// Reserved by RFC 6761: these can be no real hosts.
const ALLOWED: &str = "doctor.test";
/// Allowed as well, but the credential is not for it.
const OTHER: &str = "other.doctor.test";
/// Allowed and given the credential, but without a certificate of its own.
const IMPOSTOR: &str = "impostor.doctor.test";
const SECRET_VARIABLE: &str = "WARDIAN_DOCTOR_SECRET";
const CANARY_VARIABLE: &str = "WARDIAN_DOCTOR_CANARY";
const PLACEHOLDER_VARIABLE: &str = "DOCTOR_TOKEN";
const GIVEN: &str = "given";
const MADE: &str = "made";

/// What [`Task::Exhaust`] wants, beyond the limits of [`super::limits`].
pub(super) const TOO_MUCH_MEMORY: u64 = 256 << 20;
pub(super) const TOO_MANY: u32 = 200;

#[derive(Debug)]
pub(super) struct Stage {
    base: Base,
    pub(super) root: StateRoot,
    pub(super) planted: Planted,
    token: String,
    plain: Origin,
    tls: Origin,
    identity: Identity,
    /// On the host's own loopback: nobody may come.
    forbidden: TcpListener,
    forbidden_abstract: UnixListener,
    abstract_name: String,
    /// Ctrl-C and the like, so that they end in cleaning up.
    pub(super) signals: SignalFd,
}

/// Values that no sandbox may see.
#[derive(Debug)]
pub(super) struct Planted {
    /// Of a credential.
    pub(super) secret: String,
    /// Of a variable of the caller.
    pub(super) canary: String,
}

impl Planted {
    pub(super) fn is_in(&self, text: &str) -> bool {
        text.contains(&self.secret) || text.contains(&self.canary)
    }
}

impl Stage {
    pub(super) fn set() -> anyhow::Result<Self> {
        let signals = [Signal::INT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
        // Before the server's thread starts.
        let signals = SignalFd::new(&signals).context("cannot listen for signals")?;
        let user = user::current().ok_or_else(|| anyhow!("the user has no home directory"))?;
        let token = random();
        let base = Base::make(&user.home, &token)?;
        let identity = Identity::new(&[ALLOWED, OTHER]).context("cannot make a certificate")?;
        let plain = Origin::plain().context("cannot listen on 127.0.0.1")?;
        let tls = Origin::tls(&identity).context("cannot listen on 127.0.0.1")?;
        let forbidden = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        forbidden.set_nonblocking(true)?;
        let abstract_name = format!("wardian-doctor-{token}");
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name)?;
        let forbidden_abstract = UnixListener::bind_addr(&address)?;
        forbidden_abstract.set_nonblocking(true)?;
        let stage = Self {
            base,
            root: sandboxes::state_root()
                .map_err(|_| anyhow!("there is no place for sandboxes"))?,
            planted: Planted {
                secret: format!("secret-{}", random()),
                canary: format!("canary-{}", random()),
            },
            token,
            plain,
            tls,
            identity,
            forbidden,
            forbidden_abstract,
            abstract_name,
            signals,
        };
        stage.furnish()?;
        Ok(stage)
    }

    fn furnish(&self) -> anyhow::Result<()> {
        let workspace = self.workspace();
        fs::create_dir(&workspace)?;
        let program = self.program();
        // A copy is there inside wherever the binary itself lies.
        fs::copy("/proc/self/exe", &program).context("cannot copy this binary")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        fs::write(workspace.join(GIVEN), &self.token)?;
        fs::write(self.unexecutable(), "neither a program nor a script")?;
        fs::set_permissions(self.unexecutable(), fs::Permissions::from_mode(0o755))?;
        fs::write(self.authority(), self.identity.authority())?;
        fs::write(self.policy(), self.rules())?;
        self.task("superuser", &Task::Superuser)?;
        self.task("linger", &Task::Linger)?;
        let memory = self.task("memory", &Task::TakeMemory(TOO_MUCH_MEMORY))?;
        self.task(
            "exhaust",
            &Task::Exhaust(Exhaust {
                memory,
                threads: TOO_MANY,
                files: TOO_MANY,
            }),
        )?;
        Ok(())
    }

    /// What the sandboxes may do: every host is played by a server of ours.
    fn rules(&self) -> String {
        let plain = self.plain.address;
        let over_tls = |host: &str, credential: &str| {
            format!(
                "[[egress]]\nhost = {host:?}\nports = [443]\nmethods = [\"GET\"]\npaths = [\"/\"]\n\
                 connect = \"{}\"\nca = {:?}\n{credential}\n",
                self.tls.address,
                self.authority().display().to_string(),
            )
        };
        let credential = "credential = \"doctor\"\n";
        [
            format!(
                "[[egress]]\nhost = {ALLOWED:?}\nports = [80]\nmethods = [\"GET\"]\npaths = [\"/\"]\n\
                 connect = \"{plain}\"\n{credential}\n"
            ),
            over_tls(ALLOWED, credential),
            over_tls(OTHER, ""),
            over_tls(IMPOSTOR, credential),
            format!(
                "[credential.doctor]\nsource = {{ env = {SECRET_VARIABLE:?} }}\n\
                 hosts = [{ALLOWED:?}, {IMPOSTOR:?}]\n\n\
                 [env]\n{PLACEHOLDER_VARIABLE} = {{ credential = \"doctor\" }}\n"
            ),
        ]
        .concat()
    }

    fn task(&self, name: &str, task: &Task) -> anyhow::Result<PathBuf> {
        let path = self.workspace().join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec(task)?)?;
        Ok(path)
    }

    /// Everything that is tried from inside. What is forbidden names places that are never reached: RFC
    /// 5737 and RFC 3849 set these addresses aside, and the cloud's metadata service has one of its own.
    pub(super) fn look(&self) -> anyhow::Result<Look> {
        let user = user::current().ok_or_else(|| anyhow!("the user has no home directory"))?;
        let mut forbidden: Vec<SocketAddr> = [
            "198.51.100.7:443",
            "198.51.100.7:22",
            "203.0.113.7:80",
            "169.254.169.254:80",
            "[2001:db8::7]:443",
        ]
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
        forbidden.extend(own_address());
        let mut private = private::paths(&user.home);
        private.extend([self.root.path().to_owned(), self.policy(), self.authority()]);
        let look = Look {
            forbidden_names: vec![
                format!("{}.example.com", self.token),
                format!("{}.{ALLOWED}", self.token),
            ],
            name_servers: vec![SocketAddr::from(([198, 51, 100, 53], 53))],
            forbidden,
            datagrams: vec![
                SocketAddr::from(([198, 51, 100, 7], 443)),
                SocketAddr::from(([203, 0, 113, 7], 4500)),
            ],
            host_loopback: self.forbidden.local_addr()?,
            host_abstract: self.abstract_name.clone(),
            allowed: ALLOWED.to_owned(),
            variable: PLACEHOLDER_VARIABLE.to_owned(),
            visits: [
                (Errand::Allowed, ALLOWED, "/"),
                (Errand::OtherHost, OTHER, "/"),
                (Errand::Denied, ALLOWED, "/denied"),
                (Errand::Impostor, IMPOSTOR, "/"),
            ]
            .map(|(errand, host, path)| Visit {
                errand,
                host: host.to_owned(),
                path: path.to_owned(),
            })
            .into(),
            private,
            home: user.home,
            given: (self.workspace().join(GIVEN), self.token.clone()),
            made: self.workspace().join(MADE),
        };
        self.task("look", &Task::Look(Box::new(look.clone())))?;
        Ok(look)
    }

    pub(super) fn workspace(&self) -> PathBuf {
        self.base.path.join("workspace")
    }

    fn policy(&self) -> PathBuf {
        self.base.path.join("policy.toml")
    }

    fn authority(&self) -> PathBuf {
        self.base.path.join("ca.pem")
    }

    fn program(&self) -> PathBuf {
        self.workspace().join("wardian")
    }

    /// A file that looks like a program until the kernel reads it.
    pub(super) fn unexecutable(&self) -> PathBuf {
        self.workspace().join("unexecutable")
    }

    /// The options of `wardian run` that grant what [`look`](Self::look) tries.
    pub(super) fn options(&self) -> Vec<OsString> {
        vec!["--policy".into(), self.policy().into()]
    }

    /// This binary inside, and its task.
    pub(super) fn inside(&self, task: &str) -> Vec<OsString> {
        let task = self.workspace().join(format!("{task}.json"));
        vec![
            self.program().into(),
            "doctor".into(),
            "--inside".into(),
            task.into(),
        ]
    }

    /// `wardian run` as the user would type it in the workspace.
    pub(super) fn command(
        &self,
        name: &SandboxName,
        options: &[OsString],
        program: &[OsString],
    ) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["run", "--quiet", "--name", name.as_str()])
            .args(options)
            .arg("--")
            .args(program)
            .current_dir(self.workspace())
            // The user's own manifest may deny or limit what the trial needs.
            .env("XDG_CONFIG_HOME", self.workspace())
            .env(SECRET_VARIABLE, &self.planted.secret)
            .env(CANARY_VARIABLE, &self.planted.canary)
            .stdin(Stdio::null());
        command
    }

    /// How many came to the listeners that no sandbox may reach.
    pub(super) fn visitors(&self) -> usize {
        let mut visitors = 0;
        while self.forbidden.accept().is_ok() || self.forbidden_abstract.accept().is_ok() {
            visitors += 1;
        }
        visitors
    }

    /// All requests that were let through.
    pub(super) fn heard(&self) -> Vec<Heard> {
        [self.plain.heard(), self.tls.heard()].concat()
    }

    /// The certificate that the hosts themselves show, in DER.
    pub(super) fn certificate(&self) -> &[u8] {
        self.identity.certificate()
    }

    /// Whether a file of the workspace is on the host as it was before.
    pub(super) fn is_untouched(&self) -> bool {
        let given = fs::read_to_string(self.workspace().join(GIVEN));
        given.is_ok_and(|text| text == self.token) && !self.workspace().join(MADE).exists()
    }
}

fn random() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).expect("the kernel's random source answers once it is seeded");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The machine's own address as others see it, at the port of its ssh server. Nothing is sent: a
/// datagram socket is only told where it would send to.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.7:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| SocketAddr::new(address, 22))
}
