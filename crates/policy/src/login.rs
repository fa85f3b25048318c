//! A subscriber's login, as a preset describes it: the file of the host that holds it, how it is renewed, and what the
//! program finds inside in its place.
//!
//! The tokens themselves never appear in this crate.

use serde::Deserialize;

use crate::host::{Host, HostName};
use crate::rule::Scheme;
use crate::target::{AbsoluteTarget, RequestTarget};
use crate::visible::VisiblePath;

/// Where a program of the user's own keeps the tokens of a login, and all that is needed to keep them outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The file on the host, and of the look-alike inside. JSON.
    pub file: VisiblePath,
    /// JSON pointers (RFC 6901) to the tokens.
    pub access: String,
    pub refresh: String,
    /// To an identity token that comes and goes with them.
    pub identity: Option<String>,
    pub expiry: Expiry,
    /// To the moment of the last renewal, as RFC 3339 has it.
    pub renewed: Option<String>,
    /// What else of the file the look-alike has, as it is.
    pub keep: Vec<String>,
    /// A directory whose existence tells the program's other instances that somebody is renewing.
    pub lock: Option<VisiblePath>,
    pub placeholders: Placeholders,
    pub endpoint: TokenEndpoint,
    /// Files that spare the program its questions of the first start.
    pub beside: Vec<Beside>,
}

/// How it is known until when the access token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// This JSON pointer leads to a number of milliseconds since 1970.
    Milliseconds(String),
    /// The access token is a JWT, and its `exp` says so.
    Jwt,
}

/// What stands in for the tokens inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholders {
    /// Texts in which `{}` becomes random.
    Shapes { access: String, refresh: String },
    /// JWTs with the claims of the real ones and no valid signature; for the refresh token, a text.
    Jwt { refresh: String },
}

/// Where tokens are renewed (RFC 6749 section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    pub host: HostName,
    pub path: String,
    pub form: Form,
    pub client_id: String,
    /// A JSON pointer to the scopes to ask for: a list, or a text.
    pub scope: Option<String>,
}

/// How the request is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    Json,
    Urlencoded,
}

/// A file beside the login's, inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    pub path: VisiblePath,
    /// Of the host's file of this name, what goes along: JSON pointers.
    pub keep: Vec<String>,
    /// JSON that it has in any case. `{workspace}` stands for the directory that the program works in.
    pub set: String,
}

/// Why a preset's login is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    #[error("`{0}` is no JSON pointer")]
    Pointer(String),
    #[error("`{0}` is not the https URL of a token endpoint")]
    Endpoint(String),
    #[error("`set` is no JSON object")]
    Set,
}

/// `[login]` of a preset file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginTable {
    file: String,
    access: String,
    refresh: String,
    identity: Option<String>,
    expires: Option<String>,
    renewed: Option<String>,
    #[serde(default)]
    keep: Vec<String>,
    lock: Option<String>,
    access_like: Option<String>,
    refresh_like: String,
    endpoint: EndpointTable,
    #[serde(default)]
    beside: Vec<BesideTable>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    url: String,
    form: Form,
    client_id: String,
    scope: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BesideTable {
    path: String,
    #[serde(default)]
    keep: Vec<String>,
    set: String,
}

impl TryFrom<LoginTable> for Login {
    type Error = LoginError;

    fn try_from(table: LoginTable) -> Result<Self, LoginError> {
        let LoginTable {
            file,
            access,
            refresh,
            identity,
            expires,
            renewed,
            keep,
            lock,
            access_like,
            refresh_like,
            endpoint,
            beside,
        } = table;
        for pointer in [
            Some(&access),
            Some(&refresh),
            identity.as_ref(),
            expires.as_ref(),
        ]
        .into_iter()
        .chain([renewed.as_ref(), endpoint.scope.as_ref()])
        .flatten()
        .chain(&keep)
        .chain(beside.iter().flat_map(|beside| &beside.keep))
        {
            if !pointer.starts_with('/') {
                return Err(LoginError::Pointer(pointer.clone()));
            }
        }
        Ok(Self {
            file: place(&file),
            access,
            refresh,
            identity,
            expiry: expires.map_or(Expiry::Jwt, Expiry::Milliseconds),
            renewed,
            keep,
            lock: lock.as_deref().map(place),
            placeholders: match access_like {
                Some(access) => Placeholders::Shapes {
                    access,
                    refresh: refresh_like,
                },
                None => Placeholders::Jwt {
                    refresh: refresh_like,
                },
            },
            endpoint: endpoint.try_into()?,
            beside: beside
                .into_iter()
                .map(|BesideTable { path, keep, set }| {
                    Ok(Beside {
                        path: place(&path),
                        keep,
                        set,
                    })
                })
                .collect::<Result<_, LoginError>>()?,
        })
    }
}

impl TryFrom<EndpointTable> for TokenEndpoint {
    type Error = LoginError;

    fn try_from(table: EndpointTable) -> Result<Self, LoginError> {
        let EndpointTable {
            url,
            form,
            client_id,
            scope,
        } = table;
        let refused = || LoginError::Endpoint(url.clone());
        let AbsoluteTarget {
            scheme,
            authority,
            target,
        } = RequestTarget::parse_absolute(&url).map_err(|_| refused())?;
        match (scheme, authority.host, authority.port) {
            (Scheme::Https, Host::Name(host), None) => Ok(Self {
                host,
                path: target.path().to_owned(),
                form,
                client_id,
                scope,
            }),
            _ => Err(refused()),
        }
    }
}

/// Presets may name where secrets are kept: what lies there inside is of our own making.
fn place(path: &str) -> VisiblePath {
    match path.strip_prefix("~/") {
        Some(below) => VisiblePath::Home(below.to_owned()),
        None => VisiblePath::Absolute(path.to_owned()),
    }
}
