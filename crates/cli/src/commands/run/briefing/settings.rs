//! Settings of the user's own, of which only some keys go along.

use serde_json::{Map, Value};

/// What a sandbox gets of a file of settings, by keys such as `model` and `permissions.deny`: `None` if it holds
/// none of them.
pub(super) fn keep(name: &str, text: &str, keys: &[String]) -> anyhow::Result<Option<String>> {
    let is_toml = name.ends_with(".toml");
    let all = if is_toml {
        serde_json::to_value(toml::from_str::<toml::Table>(text)?)?
    } else {
        serde_json::from_str(&without_comments(text))?
    };
    let mut kept = Map::new();
    for key in keys {
        let parts: Vec<&str> = key.split('.').collect();
        let found = parts
            .iter()
            .try_fold(&all, |value, part| value.get(part))
            .cloned();
        if let Some(value) = found {
            insert(&mut kept, &parts, value);
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    Ok(Some(if is_toml {
        toml::to_string(&kept)?
    } else {
        serde_json::to_string_pretty(&kept)? + "\n"
    }))
}

fn insert(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let inner = table
                .entry(*key)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

/// JSON as agents read it, to JSON as RFC 8259 has it: without comments, and without commas before a bracket.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // Where the last thing written is a comma, with blanks behind it.
    let mut comma = None;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => {
                rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest[2..].split_once("*/").map_or("", |(_, after)| after);
                continue;
            }
            _ => first.len_utf8(),
        };
        match (first, comma) {
            (']' | '}', Some(at)) => plain.replace_range(at..=at, " "),
            (',', _) => comma = Some(plain.len()),
            _ => {}
        }
        if first != ',' && !first.is_whitespace() {
            comma = None;
        }
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    plain
}

/// Of the string at the start, with its quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, text: &str, keys: &[&str]) -> Option<String> {
        let keys: Vec<_> = keys.iter().map(|&key| key.to_owned()).collect();
        keep(name, text, &keys).unwrap()
    }

    #[test]
    fn only_the_keys_that_are_named() {
        let text = r#"{
            // what I like
            "model": "opus", /* "env": 1 */
            "env": {"ANTHROPIC_AUTH_TOKEN": "secret"},
            "apiKeyHelper": "/home/ada/bin/key",
            "permissions": {"allow": ["Bash(curl -H token:*)"], "deny": ["Bash(git push:*)", "a,]"], },
        }"#;
        let keys = [
            "model",
            "permissions.deny",
            "permissions.missing.more",
            "missing",
        ];
        let text = kept("settings.json", text, &keys).unwrap();
        let expected = serde_json::json!({
            "model": "opus",
            "permissions": {"deny": ["Bash(git push:*)", "a,]"]},
        });
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);

        let text = "model = \"o\"\nnotify = [\"beep\"]\n[tui]\ntheme = \"dark\"\n[mcp_servers.x.env]\nTOKEN = \"secret\"\n";
        let text = kept("config.toml", text, &["model", "tui"]).unwrap();
        assert_eq!(text, "model = \"o\"\n\n[tui]\ntheme = \"dark\"\n");

        for name in ["a.json", "a.toml"] {
            let text = if name == "a.json" {
                "{\"x\": 1}"
            } else {
                "x = 1"
            };
            assert_eq!(kept(name, text, &["model"]), None);
            assert!(keep(name, "{ nonsense", &["model".to_owned()]).is_err());
        }
        // A list has no keys.
        assert_eq!(kept("a.json", "[1]", &["model"]), None);
    }

    #[test]
    fn comments_and_commas_as_agents_take_them() {
        for (text, plain) in [
            (
                r#"{"a": "//no", "b": "/* \" */"}"#,
                r#"{"a": "//no", "b": "/* \" */"}"#,
            ),
            ("[1, 2, ]", "[1, 2  ]"),
            ("[1 ,// x\n]", "[1  \n]"),
            ("{\"a\": 1, /* , */ }", "{\"a\": 1   }"),
            ("\"ü,]\"", "\"ü,]\""),
            ("/* open", ""),
            ("\"open", "\"open"),
        ] {
            assert_eq!(without_comments(text), plain);
        }
    }
}
