//! Sending to a collector, and trying again where that is called for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls::crypto::ring;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, http::Response};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Waits between attempts, for what <https://opentelemetry.io/docs/specs/otlp/#failures-1> calls retryable.
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// What is read of an answer.
const ANSWER: u64 = 64 * 1024;

/// Sends JSON with the same headers each time.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    headers: Vec<(String, String)>,
}

impl Client {
    /// With the roots that this machine trusts. Redirects are not followed: headers may be secret.
    pub(crate) fn new(headers: Vec<(String, String)>) -> anyhow::Result<Self> {
        let roots: Vec<_> = rustls_native_certs::load_native_certs()
            .certs
            .into_iter()
            .map(|certificate| Certificate::from_der(&certificate).to_owned())
            .collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("wardian/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, headers })
    }

    /// Returns what was answered once it was taken.
    pub(crate) fn post(&self, url: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut waits = WAITS.iter();
        loop {
            let (error, wait) = match self.attempt(url, body) {
                Ok(response) if response.status().is_success() => {
                    let body = response.into_body().into_with_config().limit(ANSWER);
                    return Ok(body.read_to_string().unwrap_or_default());
                }
                Ok(response) if is_retryable(response.status().as_u16()) => {
                    let after = retry_after(&response);
                    (anyhow!("{url} answered {}", response.status()), after)
                }
                Ok(response) => {
                    let status = response.status();
                    let body = response.into_body().into_with_config().limit(ANSWER);
                    let why = body.read_to_string().unwrap_or_default();
                    bail!("{url} answered {status}: {}", why.trim());
                }
                Err(error) => (anyhow!(error).context(format!("cannot reach {url}")), None),
            };
            match waits.next() {
                Some(usual) => std::thread::sleep(wait.unwrap_or(*usual)),
                None => return Err(error),
            }
        }
    }

    fn attempt(&self, url: &str, body: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let mut request = self
            .agent
            .post(url)
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.send(body)
    }
}

fn is_retryable(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response.headers().get("retry-after")?.to_str().ok()?;
    let seconds: u64 = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(30)))
}

/// `NAME=VALUE`, as `OTEL_EXPORTER_OTLP_HEADERS` has them too.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Headers from a variable of the environment, where a secret is better off than on a command line.
pub(crate) fn headers_from(variable: &str) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::env::var(variable).unwrap_or_default();
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|part| header(part).map_err(|why| anyhow!(why)))
        .collect::<anyhow::Result<_>>()
        .with_context(|| format!("${variable}"))
}
