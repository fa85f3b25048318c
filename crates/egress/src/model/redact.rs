//! Credentials taken out of text that is kept.
//!
//! The program inside never holds a real one, so that none is in what it sends. But an origin that is sent one can send
//! it back, in an answer that the program passes on with its next request.

use std::sync::Arc;

use wardian_credentials::Value;
use zeroize::Zeroizing;

use crate::credentials::Credentials;

/// Shorter values stand in too many texts by chance.
const SHORTEST: usize = 4;
/// JSON in a text in JSON: tool arguments are so. Each step escapes what the one before has.
const DEPTH: usize = 3;
/// Values that are known, renewed ones included.
const MOST: usize = 256;

/// Knows the values that credentials have, and had since it was made.
#[derive(Debug)]
pub(crate) struct Redactor {
    credentials: Arc<Credentials>,
    /// With their placeholders, the longest first: one value may hold another.
    known: Vec<(Value, String)>,
}

impl Redactor {
    pub(crate) fn new(credentials: Arc<Credentials>) -> Self {
        let mut redactor = Self {
            credentials,
            known: Vec::new(),
        };
        redactor.refresh();
        redactor
    }

    /// Takes note of values that were renewed.
    pub(crate) fn refresh(&mut self) {
        for (_, credential) in self.credentials.iter() {
            let value = credential.current().value;
            let is_new = self.known.iter().all(|(known, _)| *known != value);
            if is_new && value.expose().len() >= SHORTEST && self.known.len() < MOST {
                self.known
                    .push((value, credential.placeholder().to_owned()));
            }
        }
        let length = |(value, _): &(Value, String)| std::cmp::Reverse(value.expose().len());
        self.known.sort_by_key(length);
    }

    /// `text` without values, as they are or as they stand in JSON.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, placeholder) in &self.known {
            let mut spelt = Zeroizing::new(value.expose().to_owned());
            for _ in 0..DEPTH {
                if text.contains(spelt.as_str()) {
                    text = text.replace(spelt.as_str(), placeholder);
                }
                // Values have no control characters.
                if !spelt.contains(['"', '\\']) {
                    break;
                }
                let escaped = spelt.replace('\\', r"\\");
                spelt = Zeroizing::new(Zeroizing::new(escaped).replace('"', r#"\""#));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(pairs: &[(&str, &str)]) -> Redactor {
        let mut redactor = Redactor::new(Arc::default());
        for (value, placeholder) in pairs {
            let value = Value::new(value).unwrap();
            redactor.known.push((value, (*placeholder).to_owned()));
        }
        redactor.refresh();
        redactor
    }

    #[test]
    fn values_give_way_to_placeholders() {
        let redactor = redactor(&[("sk-1", "A"), ("sk-1-long", "B"), ("a\"b\\c", "C")]);
        assert_eq!(redactor.redact("sk-1-long sk-1 abc"), "B A abc");
        let once = serde_json::Value::from("x a\"b\\c y").to_string();
        assert_eq!(redactor.redact(&once), "\"x C y\"");
        let twice = serde_json::Value::from(once).to_string();
        assert_eq!(redactor.redact(&twice), r#""\"x C y\"""#);
        assert!(!format!("{redactor:?}").contains("sk-1"));
    }
}
