//! A git server: smart HTTP over TLS, by way of git's own CGI program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::origin::respond;
use crate::server::{Body, Peer, Server, Service, Transport, full};

/// Serves the bare repositories below `directory`, for reading and writing.
pub fn serve(directory: &Path) -> Server {
    let directory: Arc<PathBuf> = Arc::new(directory.to_owned());
    let handler = move |request: Request<Incoming>, _: Peer| -> crate::server::Answer {
        let directory = directory.clone();
        Box::pin(async move {
            backend(&directory, request).await.unwrap_or_else(|error| {
                respond(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "text/plain",
                    error.to_string(),
                )
            })
        })
    };
    Server::start(Transport::TLS, Service::Http(Arc::new(handler)))
}

/// RFC 3875, as far as `git http-backend` goes.
async fn backend(directory: &Path, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let header = |name: &str| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut child = Command::new("git")
        .args([
            "-c",
            "http.receivepack=true",
            "-c",
            "safe.directory=*",
            "http-backend",
        ])
        .env("GIT_PROJECT_ROOT", directory)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move { stdin.write_all(&body).await });
    }
    let output = child.wait_with_output().await?.stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(output.len());
    let mut response = Response::new(full(output.get(end + 4..).unwrap_or_default().to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) =
            (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
        {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}
