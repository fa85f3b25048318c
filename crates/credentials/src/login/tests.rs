use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};

use super::*;

/// Renews like a vendor: each refresh token once.
struct Vendor {
    calls: AtomicUsize,
    bodies: std::sync::Mutex<Vec<String>>,
    status: u16,
}

impl Vendor {
    fn new(status: u16) -> Self {
        Self {
            calls: AtomicUsize::new(0),
            bodies: std::sync::Mutex::default(),
            status,
        }
    }
}

impl Transport for Vendor {
    fn post(&self, _: &TokenEndpoint, _: &str, body: &[u8]) -> Result<Answer, TransportError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let text = String::from_utf8(body.to_vec()).unwrap();
        self.bodies.lock().unwrap().push(text);
        std::thread::sleep(Duration::from_millis(50));
        let answer = match self.status {
            200 => {
                json!({"access_token": format!("at-{number}"), "refresh_token": format!("rt-{number}"),
                          "expires_in": 3600, "token_type": "Bearer"})
            }
            _ => json!({"error": "invalid_grant", "error_description": "rt-0 was used"}),
        };
        Ok(Answer {
            status: self.status,
            body: answer.to_string().into_bytes().into(),
        })
    }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.0.path().join(".claude")).unwrap();
        let tokens = json!({"claudeAiOauth": {"accessToken": "at-0", "refreshToken": "rt-0", "expiresAt": 1000,
                            "scopes": ["a", "b"]}, "other": {"kept": true}});
        fs::write(home.path(), tokens.to_string()).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o640)).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.0.path().join(".claude/.credentials.json")
    }

    fn file(&self) -> LoginFile {
        let login = wardian_policy::Preset::find("claude").unwrap().login();
        let locks = self.0.path().join("locks");
        LoginFile::new(login.unwrap().clone(), self.0.path(), &locks, "claude")
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&fs::read(self.path()).unwrap()).unwrap()
    }
}

fn stale() -> Value {
    Value::new("at-0").unwrap()
}

#[test]
fn a_renewal_changes_the_tokens_and_nothing_else_of_the_file() {
    let home = Home::new();
    let vendor = Vendor::new(200);
    let access = home.file().renew(&stale(), &vendor).unwrap();
    assert_eq!(access.token.expose(), "at-1");
    let left = access.expires.unwrap().duration_since(SystemTime::now());
    assert!(left.unwrap() > Duration::from_secs(3000));
    let json = home.json();
    assert_eq!(json["claudeAiOauth"]["accessToken"], "at-1");
    assert_eq!(json["claudeAiOauth"]["refreshToken"], "rt-1");
    assert_eq!(json["claudeAiOauth"]["scopes"], json!(["a", "b"]));
    assert_eq!(json["other"]["kept"], true);
    let mode = fs::metadata(home.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let sent: Json = serde_json::from_str(&vendor.bodies.lock().unwrap()[0]).unwrap();
    assert_eq!(sent["refresh_token"], "rt-0");
    assert_eq!(sent["scope"], "a b");
    // Neither lock nor temporary file is left.
    assert!(!home.0.path().join(".claude.lock").exists());
    let names: Vec<_> = fs::read_dir(home.0.path().join(".claude"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn many_at_once_renew_once() {
    let home = Arc::new(Home::new());
    let vendor = Arc::new(Vendor::new(200));
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (home, vendor) = (home.clone(), vendor.clone());
            std::thread::spawn(move || home.file().renew(&stale(), &*vendor).unwrap())
        })
        .collect();
    for one in all {
        assert_eq!(one.join().unwrap().token.expose(), "at-1");
    }
    assert_eq!(vendor.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn what_the_program_itself_renews_meanwhile_is_taken() {
    let home = Home::new();
    let lock = home.0.path().join(".claude.lock");
    fs::create_dir(&lock).unwrap();
    let path = home.path();
    let client = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        let tokens =
            json!({"claudeAiOauth": {"accessToken": "at-client", "refreshToken": "rt-client"}});
        fs::write(&path, tokens.to_string()).unwrap();
        fs::remove_dir(&lock).unwrap();
    });
    let vendor = Vendor::new(200);
    let access = home.file().renew(&stale(), &vendor).unwrap();
    client.join().unwrap();
    assert_eq!(access.token.expose(), "at-client");
    assert_eq!(vendor.calls.load(Ordering::SeqCst), 0);
}

#[test]
fn the_lock_of_a_program_that_died_is_taken_over() {
    let home = Home::new();
    let lock = home.0.path().join(".claude.lock");
    fs::create_dir(&lock).unwrap();
    let old = SystemTime::now() - Duration::from_secs(60);
    fs::File::open(&lock).unwrap().set_modified(old).unwrap();
    let access = home.file().renew(&stale(), &Vendor::new(200)).unwrap();
    assert_eq!(access.token.expose(), "at-1");
}

#[test]
fn a_refusal_changes_nothing_and_repeats_nothing_that_was_sent() {
    let home = Home::new();
    let before = home.json();
    let error = home.file().renew(&stale(), &Vendor::new(400)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("invalid_grant") && !text.contains("rt-0"),
        "{text}"
    );
    assert_eq!(home.json(), before);
}

#[test]
fn a_link_stays_a_link_and_a_missing_login_is_none() {
    let home = Home::new();
    let real = home.0.path().join("dotfiles.json");
    fs::rename(home.path(), &real).unwrap();
    symlink(&real, home.path()).unwrap();
    home.file().renew(&stale(), &Vendor::new(200)).unwrap();
    assert!(fs::symlink_metadata(home.path()).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("at-1"));
    fs::remove_file(home.path()).unwrap();
    assert!(home.file().read().unwrap().is_none());
    for other in ["[]", "sk-1", "{}"] {
        fs::write(home.path(), other).unwrap();
        assert!(home.file().read().unwrap().is_none(), "{other}");
    }
}
