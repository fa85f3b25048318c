//! HTTP methods in rules.

use std::fmt;

use crate::rule::{Action, Upgrade};

/// The pseudo method by which a rule admits WebSocket. A WebSocket begins as a GET but then carries bytes both ways,
/// so a rule that says `methods = ["GET"]` to mean "read only" must not admit it.
const WEBSOCKET: &str = "WEBSOCKET";

/// Why a text is no method for a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// Not a token of RFC 9110 section 5.6.2.
    #[error("`{0}` is no HTTP method")]
    NotAToken(String),
    /// Methods are case-sensitive, and the well-known ones are upper-case.
    #[error("methods are written in capitals: `{0}`")]
    LowerCase(String),
    /// The door never tunnels.
    #[error("CONNECT cannot be allowed; for other protocols than HTTP use `protocol = \"tcp\"`")]
    Connect,
}

/// The methods that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Methods {
    Any,
    Only { names: Vec<String>, websocket: bool },
}

impl Methods {
    pub(crate) fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    pub(crate) fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, MethodError> {
        let mut methods = Vec::new();
        let mut websocket = false;
        for name in names {
            match parse(name)? {
                WEBSOCKET => websocket = true,
                other => methods.push(other.to_owned()),
            }
        }
        methods.sort_unstable();
        methods.dedup();
        Ok(Self::Only {
            names: methods,
            websocket,
        })
    }

    /// Allow rules compare exactly; deny rules ignore case, because some servers do.
    pub(crate) fn matches(&self, method: &str, upgrade: Option<Upgrade>, action: Action) -> bool {
        let Self::Only { names, websocket } = self else {
            return true;
        };
        match (upgrade, action) {
            (Some(Upgrade::WebSocket), Action::Allow) => *websocket,
            (Some(Upgrade::WebSocket), Action::Deny) => {
                *websocket || names.iter().any(|name| name == "GET")
            }
            (None, Action::Allow) => names.iter().any(|name| name == method),
            (None, Action::Deny) => names.iter().any(|name| name.eq_ignore_ascii_case(method)),
        }
    }

    /// For display and digests; `None` stands for every method.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        match self {
            Self::Any => None,
            Self::Only { names, websocket } => Some(
                names
                    .iter()
                    .map(String::as_str)
                    .chain(websocket.then_some(WEBSOCKET))
                    .collect(),
            ),
        }
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names() {
            None => f.write_str("*"),
            Some(names) => f.write_str(&names.join(",")),
        }
    }
}

/// Whether `text` is a token, the only thing that a method may be.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn parse(name: &str) -> Result<&str, MethodError> {
    if !is_token(name) || name.contains('*') {
        return Err(MethodError::NotAToken(name.to_owned()));
    }
    let upper = name.to_ascii_uppercase();
    if upper == "CONNECT" {
        return Err(MethodError::Connect);
    }
    if upper != name {
        return Err(MethodError::LowerCase(upper));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_rules_admit_no_websocket() {
        let get = Methods::only(["GET"]).unwrap();
        assert!(get.matches("GET", None, Action::Allow));
        assert!(!get.matches("GET", Some(Upgrade::WebSocket), Action::Allow));
        assert!(get.matches("GET", Some(Upgrade::WebSocket), Action::Deny));
        let socket = Methods::only(["WEBSOCKET"]).unwrap();
        assert!(socket.matches("GET", Some(Upgrade::WebSocket), Action::Allow));
        assert!(socket.matches("CONNECT", Some(Upgrade::WebSocket), Action::Allow));
        assert!(!socket.matches("WEBSOCKET", None, Action::Allow));
    }

    #[test]
    fn denial_ignores_case_and_permission_does_not() {
        let delete = Methods::only(["DELETE"]).unwrap();
        assert!(delete.matches("delete", None, Action::Deny));
        assert!(!delete.matches("delete", None, Action::Allow));
    }

    #[test]
    fn methods_that_are_none_are_refused() {
        for bad in ["", "GE T", "GET\n", "*", "get", "Get", "CONNECT", "connect"] {
            assert!(Methods::only([bad]).is_err(), "{bad:?}");
        }
    }
}
