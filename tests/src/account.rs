//! A subscriber's account at the vendor: one access token at a time, renewed by a refresh token that works once.

use std::sync::Mutex;

use serde_json::{Value, json};

#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the real secrets have in common, and nothing else has.
    mark: String,
    number: usize,
    refused: usize,
    /// Whether the token of this number is good for something.
    expired: bool,
}

impl Account {
    pub fn new(mark: &str) -> Self {
        Self {
            state: Mutex::new(State {
                mark: mark.to_owned(),
                number: 0,
                refused: 0,
                expired: false,
            }),
        }
    }

    /// The access token of the n-th renewal.
    pub fn access(&self, number: usize) -> String {
        jwt(&format!("{}-access-{number}", self.mark()))
    }

    pub fn refresh(&self, number: usize) -> String {
        format!("rt-{}-refresh-{number}", self.mark())
    }

    pub fn mark(&self) -> String {
        self.state.lock().unwrap().mark.clone()
    }

    /// How often it was renewed.
    pub fn renewals(&self) -> usize {
        self.state.lock().unwrap().number
    }

    /// How often a refresh token came that was not the current one.
    pub fn refusals(&self) -> usize {
        self.state.lock().unwrap().refused
    }

    /// From now on the access token that is out is good for nothing; it has to be renewed.
    pub fn expire(&self) {
        self.state.lock().unwrap().expired = true;
    }

    pub(crate) fn accepts(&self, credential: Option<&str>) -> bool {
        let expired = self.state.lock().unwrap().expired;
        !expired && credential == Some(&self.access(self.renewals()))
    }

    /// The token endpoint.
    pub(crate) fn renew(&self, asked: &Value) -> (u16, Value) {
        let current = self.refresh(self.renewals());
        if asked["grant_type"] != "refresh_token" || asked["refresh_token"] != current.as_str() {
            self.state.lock().unwrap().refused += 1;
            return (400, json!({"error": "invalid_grant"}));
        }
        {
            let mut state = self.state.lock().unwrap();
            state.number += 1;
            state.expired = false;
        }
        let number = self.renewals();
        let answer = json!({
            "access_token": self.access(number), "refresh_token": self.refresh(number),
            "id_token": jwt("identity"), "token_type": "Bearer", "expires_in": 3600, "scope": "user:inference",
        });
        (200, answer)
    }
}

/// A token that says who it is for, and whose signature is `secret`.
pub fn jwt(secret: &str) -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = json!({
        "email": "ada@example.com", "exp": 4_000_000_000_u64,
        "https://api.openai.com/auth": {"chatgpt_plan_type": "pro", "chatgpt_account_id": "acc-1", "chatgpt_user_id": "user-1"},
        "https://api.openai.com/profile": {"email": "ada@example.com"},
    });
    let header = part("{\"alg\":\"RS256\",\"typ\":\"JWT\"}");
    format!("{header}.{}.{}", part(&claims.to_string()), secret)
}

/// What Codex asks of an account before it calls the model.
pub(crate) fn workspaces() -> Value {
    json!({
        "accounts": [{
            "id": "acc-1", "account_id": "acc-1", "name": "Ada's", "structure": "personal", "plan_type": "pro",
            "account_user_role": "account-owner", "workspace_backend_origin": "https://chatgpt.com",
            "account_routing_override": "us",
        }],
        "default_account_id": "acc-1", "account_ordering": ["acc-1"],
    })
}
