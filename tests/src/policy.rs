//! Writing policies.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// A policy file, rule by rule.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    head: String,
    rules: Vec<String>,
    tail: String,
}

/// Stands for the test CA's file in the text of rules.
const CA: &str = "@CA@";

impl Policy {
    pub fn new() -> Self {
        Self::default()
    }

    /// Keys before the first table, such as `presets = [..]`.
    pub fn head(mut self, text: &str) -> Self {
        self.head.push_str(text);
        self.head.push('\n');
        self
    }

    /// Tables after the rules, such as `[limits]`.
    pub fn table(mut self, text: &str) -> Self {
        self.tail.push_str(text);
        self.tail.push('\n');
        self
    }

    /// One `[[egress]]`, as its keys.
    pub fn rule(mut self, keys: &str) -> Self {
        self.rules.push(keys.to_owned());
        self
    }

    pub fn allow(self, host: &str) -> Self {
        self.rule(&format!("host = {host:?}"))
    }

    /// `host:443`, played by a server on loopback whose leaf the test CA signed.
    pub fn pin(self, host: &str, to: SocketAddr) -> Self {
        self.pin_with(host, to, "")
    }

    /// The same with more keys.
    pub fn pin_with(self, host: &str, to: SocketAddr, keys: &str) -> Self {
        self.rule(&format!(
            "host = {host:?}\nports = [443]\nconnect = \"{to}\"\nca = \"{CA}\"\n{keys}"
        ))
    }

    /// `host:80`, played by a server without TLS.
    pub fn pin_plain(self, host: &str, to: SocketAddr) -> Self {
        self.rule(&format!(
            "host = {host:?}\nports = [80]\nconnect = \"{to}\""
        ))
    }

    pub fn text(&self, ca: &Path) -> String {
        let mut text = self.head.clone();
        for rule in &self.rules {
            writeln!(text, "[[egress]]\n{rule}").unwrap();
        }
        text.push_str(&self.tail);
        text.replace(CA, ca.to_str().unwrap())
    }
}
