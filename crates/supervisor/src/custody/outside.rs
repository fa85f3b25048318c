//! The custodian's one way out: to the token endpoint of a login, as the policy reaches that host.

use std::time::Duration;

use wardian_credentials::{Answer, Transport, TransportError};
use wardian_egress::dial::{Dialer, Resolver};
use wardian_egress::http::post::{Post, post};
use wardian_policy::Policy;
use wardian_policy::login::TokenEndpoint;

use crate::door;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Outside(pub(super) Policy);

impl Transport for Outside {
    fn post(
        &self,
        endpoint: &TokenEndpoint,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, TransportError> {
        let Self(policy) = self;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let tls = door::upstream_tls(policy).map_err(|failed| TransportError(failed.error))?;
        let dialer = Dialer::new(Resolver::system(), tls, PATIENCE);
        let question = Post {
            host: &endpoint.host,
            path: &endpoint.path,
            content_type,
            body,
        };
        let answer = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, post(&dialer, policy, question)).await
        });
        let answer = answer.map_err(|_| TransportError("it does not answer".to_owned()))?;
        let answer = answer.map_err(failed)?;
        Ok(Answer {
            status: answer.status,
            body: answer.body,
        })
    }
}

/// Errors of connections, which say nothing of what was sent.
fn failed(error: impl std::fmt::Display) -> TransportError {
    TransportError(error.to_string())
}
