//! JSON to tree (RFC 8259). Unlike most readers it refuses duplicate keys, since two readers may pick different ones,
//! and it keeps the place of every value.

use std::collections::HashSet;

use super::node::{Key, Node, SyntaxError, Value};

/// Deep enough for any manifest, far from the end of the stack.
const MAX_DEPTH: usize = 32;

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    let node = reader.value(0)?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.error("something follows the end of the document")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, message: &str) -> SyntaxError {
        SyntaxError {
            offset: self.at,
            message: message.to_owned(),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len_utf8();
        }
        found
    }

    fn skip_blanks(&mut self) {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
        self.at += self.rest().len() - self.rest().trim_start_matches(blank).len();
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(self.error("the document is nested too deeply"));
        }
        let start = self.at;
        let value = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"') => Value::String(self.string()?),
            Some('-' | '0'..='9') => self.number()?,
            Some('t') => self.word("true", Value::Bool(true))?,
            Some('f') => self.word("false", Value::Bool(false))?,
            Some('n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.error("this is no JSON value")),
            None => return Err(self.error("the document ends where a value should stand")),
        };
        Ok(Node {
            span: start..self.at,
            value,
        })
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, SyntaxError> {
        if !self.rest().starts_with(word) {
            return Err(self.error("this is no JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        self.take('{');
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        self.skip_blanks();
        if self.take('}') {
            return Ok(Value::Table(entries));
        }
        loop {
            self.skip_blanks();
            let start = self.at;
            if self.peek() != Some('"') {
                return Err(self.error("a key in quotes should stand here"));
            }
            let text = self.string()?;
            if !seen.insert(text.clone()) {
                self.at = start;
                return Err(self.error(&format!("the key {text:?} stands twice in one object")));
            }
            let key = Key {
                span: start..self.at,
                text,
            };
            self.skip_blanks();
            if !self.take(':') {
                return Err(self.error("`:` should stand here"));
            }
            self.skip_blanks();
            entries.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            if self.take('}') {
                return Ok(Value::Table(entries));
            }
            if !self.take(',') {
                return Err(self.error("`,` or `}` should stand here"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        self.take('[');
        let mut items = Vec::new();
        self.skip_blanks();
        if self.take(']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_blanks();
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            if self.take(']') {
                return Ok(Value::Array(items));
            }
            if !self.take(',') {
                return Err(self.error("`,` or `]` should stand here"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let length = self
            .rest()
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(self.rest().len());
        let text = &self.rest()[..length];
        // The shape of JSON's numbers is checked by the library that knows it.
        let number: serde_json::Number =
            serde_json::from_str(text).map_err(|_| self.error("this is no JSON number"))?;
        let value = match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(float)) => Value::Float(float),
            (None, None) => return Err(self.error("the number is out of range")),
        };
        self.at += length;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        loop {
            match bytes.get(end) {
                Some(b'\\') => end += 2,
                Some(b'"') => break,
                Some(_) => end += 1,
                None => return Err(self.error("the string has no end")),
            }
        }
        // Escapes, surrogates and control characters are the library's business.
        let text = serde_json::from_str(&self.rest()[..=end])
            .map_err(|_| self.error("the string has a control character or an unknown escape"))?;
        self.at += end + 1;
        Ok(text)
    }
}
