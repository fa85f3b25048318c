//! What a program inside finds in place of its login: files of the same shape, with placeholders for tokens.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json, json};
use wardian_policy::login::{Beside, Expiry, Placeholders};
use wardian_policy::{Login, PlaceholderShape};

use crate::login::{Document, claims_of, document_set, place};

/// The year 2100, in seconds: the program inside never finds that it should renew.
const FAR: u64 = 4_102_444_800;

/// A file that is to be there inside. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imitation {
    /// Absolute.
    pub path: PathBuf,
    pub content: String,
    pub renewed: Renewed,
}

/// What becomes of an imitation that is there from an earlier start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// Its placeholders are of that start.
    AtEachStart,
    /// The program may have changed it.
    Never,
}

/// A login as it looks from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LookAlike {
    /// What stands in for the access token.
    pub(crate) placeholder: String,
    pub(crate) files: Vec<Imitation>,
}

/// `workspace` is the directory that the program works in.
pub(crate) fn look_alike(
    login: &Login,
    document: &Document,
    home: &Path,
    workspace: &Path,
) -> LookAlike {
    let (access, refresh) = match &login.placeholders {
        Placeholders::Shapes { access, refresh } => (filled(access), filled(refresh)),
        Placeholders::Jwt { refresh } => {
            let real = document.text(&login.access).unwrap_or_default();
            (unsigned(real), filled(refresh))
        }
    };
    let mut json = Json::Object(Map::new());
    for pointer in &login.keep {
        if let Some(value) = document.get(pointer) {
            document_set(&mut json, pointer, value.clone());
        }
    }
    document_set(&mut json, &login.access, json!(access));
    document_set(&mut json, &login.refresh, json!(refresh));
    if let Some(pointer) = &login.identity {
        let real = document.text(pointer).unwrap_or_default();
        document_set(&mut json, pointer, json!(unsigned(real)));
    }
    if let Expiry::Milliseconds(pointer) = &login.expiry {
        document_set(&mut json, pointer, json!(FAR * 1000));
    }
    if let Some(pointer) = &login.renewed {
        document_set(&mut json, pointer, json!("2099-12-31T00:00:00Z"));
    }
    let mut files = vec![Imitation {
        path: place(&login.file, home),
        content: pretty(&json),
        renewed: Renewed::AtEachStart,
    }];
    files.extend(login.beside.iter().map(|it| beside(it, home, workspace)));
    LookAlike {
        placeholder: access,
        files,
    }
}

fn beside(beside: &Beside, home: &Path, workspace: &Path) -> Imitation {
    let path = place(&beside.path, home);
    // Without the host's file, the program only knows less of the account.
    let document = Document::read(&path).ok().flatten();
    let workspace = json!(workspace.to_string_lossy()).to_string();
    let set = beside
        .set
        .replace("{workspace}", &workspace[1..workspace.len() - 1]);
    let mut json: Json = serde_json::from_str(&set).unwrap_or_else(|_| json!({}));
    for pointer in &beside.keep {
        if let Some(value) = document.as_ref().and_then(|it| it.get(pointer)) {
            document_set(&mut json, pointer, value.clone());
        }
    }
    Imitation {
        path,
        content: pretty(&json),
        renewed: Renewed::Never,
    }
}

fn pretty(json: &Json) -> String {
    format!("{json:#}\n")
}

/// A token that says the same as `real` to whoever does not verify it, and holds until long after. What is no JWT is
/// replaced whole.
fn unsigned(real: &str) -> String {
    let Some(mut claims) = claims_of(real) else {
        return filled("wardian-login-{}");
    };
    claims.insert("exp".to_owned(), json!(FAR));
    let header = real.split('.').next().unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.encode(Json::Object(claims).to_string());
    format!("{header}.{claims}.{}", filled("wardian-placeholder-{}"))
}

fn filled(shape: &str) -> String {
    shape.replacen("{}", &random_letters(), 1)
}

fn random_letters() -> String {
    PlaceholderShape::letters(&random())
}

fn random() -> [u8; PlaceholderShape::RANDOM] {
    let mut random = [0; PlaceholderShape::RANDOM];
    getrandom::fill(&mut random).expect("the kernel's random source answers once it is seeded");
    random
}

/// The placeholder of one sandbox.
pub fn placeholder(shape: &PlaceholderShape) -> String {
    shape.render(&random())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &Json) -> String {
        let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"alg": "RS256", "typ": "JWT"});
        format!("{}.{}.c2lnbmF0dXJl", part(&header), part(claims))
    }

    #[test]
    fn a_token_keeps_its_claims_and_loses_its_signature() {
        let real =
            jwt(&json!({"email": "ada@example.com", "exp": 7, "https://x/auth": {"plan": "pro"}}));
        let like = unsigned(&real);
        let claims = claims_of(&like).unwrap();
        assert_eq!(claims["email"], "ada@example.com");
        assert_eq!(claims["https://x/auth"]["plan"], "pro");
        assert_eq!(claims["exp"], FAR);
        assert!(!like.contains("c2lnbmF0dXJl"));
        assert_ne!(like, unsigned(&real));
        for opaque in ["", "at-1", "a.b.c", "a.b.c.d"] {
            assert!(unsigned(opaque).starts_with("wardian-login-"), "{opaque}");
        }
    }

    #[test]
    fn the_files_of_a_login_hold_no_token() {
        let home = tempfile::tempdir().unwrap();
        let login = wardian_policy::Preset::find("claude")
            .unwrap()
            .login()
            .unwrap();
        let path = place(&login.file, home.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let real = json!({"claudeAiOauth": {
            "accessToken": "sk-ant-oat01-real", "refreshToken": "sk-ant-ort01-real", "expiresAt": 5,
            "scopes": ["user:inference"], "subscriptionType": "max"}, "mcpOAuth": {"x": "other-secret"}});
        std::fs::write(&path, real.to_string()).unwrap();
        let beside = json!({"oauthAccount": {"emailAddress": "ada@example.com"}, "projects": {"/secret": {}}});
        std::fs::write(home.path().join(".claude.json"), beside.to_string()).unwrap();
        let document = Document::read(&path).unwrap().unwrap();
        let like = look_alike(login, &document, home.path(), Path::new("/work/\"a\""));
        let all: String = like.files.iter().map(|it| it.content.as_str()).collect();
        assert!(
            !all.contains("-real") && !all.contains("other-secret") && !all.contains("/secret"),
            "{all}"
        );
        let [tokens, settings] = &like.files[..] else {
            panic!("{like:?}")
        };
        let tokens: Json = serde_json::from_str(&tokens.content).unwrap();
        assert_eq!(tokens["claudeAiOauth"]["accessToken"], like.placeholder);
        assert_eq!(tokens["claudeAiOauth"]["expiresAt"], FAR * 1000);
        assert_eq!(tokens["claudeAiOauth"]["subscriptionType"], "max");
        let settings: Json = serde_json::from_str(&settings.content).unwrap();
        assert_eq!(settings["oauthAccount"]["emailAddress"], "ada@example.com");
        assert_eq!(
            settings["projects"]["/work/\"a\""]["hasTrustDialogAccepted"],
            true
        );
    }
}
