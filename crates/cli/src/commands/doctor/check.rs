//! One thing that was looked at, and what was found.

use serde::Serialize;

/// What a check is about: the host, or one of the six promises of every sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Promise {
    Host,
    Sealed,
    DefaultDeny,
    SecretsStayOutside,
    OnTheRecord,
    HostFilesSafe,
    NothingLeft,
}

impl Promise {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Host => "This machine",
            Self::Sealed => "1  Sealed by construction",
            Self::DefaultDeny => "2  Default deny",
            Self::SecretsStayOutside => "3  Secrets stay outside",
            Self::OnTheRecord => "4  On the record",
            Self::HostFilesSafe => "5  The host's own files are safe",
            Self::NothingLeft => "6  Nothing left behind",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Finding {
    Holds,
    /// Less than there could be, but no promise depends on it.
    Limited,
    Fails,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) promise: Promise,
    pub(super) name: &'static str,
    pub(super) outcome: Finding,
    /// What was found.
    pub(super) detail: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl Check {
    pub(super) fn holds(promise: Promise, name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            promise,
            name,
            outcome: Finding::Holds,
            detail: detail.into(),
            fix: None,
        }
    }

    pub(super) fn limited(
        promise: Promise,
        name: &'static str,
        detail: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        Self {
            outcome: Finding::Limited,
            fix,
            ..Self::holds(promise, name, detail)
        }
    }

    pub(super) fn fails(
        promise: Promise,
        name: &'static str,
        detail: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        Self {
            outcome: Finding::Fails,
            fix,
            ..Self::holds(promise, name, detail)
        }
    }

    /// Holds, as `good` tells, unless something speaks against it. Then there is nothing that a person
    /// could fix on their machine: it is to be reported.
    pub(super) fn unless(
        promise: Promise,
        name: &'static str,
        against: Vec<String>,
        good: impl Into<String>,
    ) -> Self {
        if against.is_empty() {
            Self::holds(promise, name, good)
        } else {
            Self::fails(promise, name, against.join("; "), Some(REPORT.to_owned()))
        }
    }
}

const REPORT: &str = "do not run agents on this machine; report this with the output of `wardian doctor --json` as a security problem of Wardian";
