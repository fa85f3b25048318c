//! Messages of four protocols, as a person reads them.
//!
//! They are kept as the program wrote them. What is not known is shown as the JSON that it is.

use std::io::{self, Write};

use serde_json::Value;
use wardian_events::visible;

use crate::output::{Colour, Tone};

/// One piece of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    /// Who speaks, and what if it is no plain text: `user`, `assistant, reasoning`, `result of call_1`.
    heading: String,
    text: String,
}

impl Spoken {
    /// Between what was asked and what was answered.
    pub(super) fn line() -> Self {
        Self::new("", "")
    }

    fn new(heading: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            text: text.into(),
        }
    }
}

/// A message, an item of the Responses API, or an answer.
pub(super) fn read(message: &Value, spoken: &mut Vec<Spoken>) {
    let unnamed = match text_of(&message["type"]) {
        Some("reasoning") => "assistant",
        _ => "user",
    };
    let role = text_of(&message["role"]).unwrap_or(unnamed);
    match message {
        Value::Object(_) if message["content"].is_null() && message["parts"].is_null() => {
            if !read_item(message, role, spoken) && message["tool_calls"].is_null() {
                spoken.push(Spoken::new(role, json(message)));
            }
        }
        _ => read_as(role, message, spoken),
    }
    for call in elements(&message["tool_calls"]) {
        let function = match &call["function"] {
            Value::Null => &call["custom"],
            function => function,
        };
        let arguments = [&function["arguments"], &function["input"]];
        let arguments = arguments.into_iter().find(|it| !it.is_null());
        spoken.push(call_of(&function["name"], &call["id"], arguments));
    }
}

/// The content of a message, or instead of one.
pub(super) fn read_as(role: &str, message: &Value, spoken: &mut Vec<Spoken>) {
    let content = match message {
        Value::Object(_) if !message["content"].is_null() => &message["content"],
        Value::Object(_) if !message["parts"].is_null() => &message["parts"],
        other => other,
    };
    let role = match text_of(&message["tool_call_id"]) {
        Some(id) => format!("result of {id}"),
        None => role.to_owned(),
    };
    match content {
        Value::String(text) => spoken.push(Spoken::new(role, text)),
        Value::Array(parts) => {
            for part in parts {
                if !read_item(part, &role, spoken) {
                    spoken.push(Spoken::new(role.clone(), json(part)));
                }
            }
        }
        Value::Null => {}
        other => spoken.push(Spoken::new(role, json(other))),
    }
}

/// A part of a message. False: of no known kind.
fn read_item(part: &Value, role: &str, spoken: &mut Vec<Spoken>) -> bool {
    let kind = text_of(&part["type"]).unwrap_or_default();
    let mut say = |heading: String, text: String| {
        spoken.push(Spoken::new(heading, text));
        true
    };
    let reasoning = || format!("{role}, reasoning");
    match kind {
        "thinking" => say(reasoning(), plain(&part["thinking"])),
        "reasoning" => {
            let summary = [&part["text"], &part["summary"], &part["content"]];
            let text = summary.into_iter().map(plain).find(|it| !it.is_empty());
            say(reasoning(), text.unwrap_or_default())
        }
        "redacted_thinking" => say(reasoning(), "[not readable]".into()),
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            spoken.push(call_of(&part["name"], &part["id"], Some(&part["input"])));
            true
        }
        "tool_call" => {
            spoken.push(call_of(
                &part["name"],
                &part["id"],
                Some(&part["arguments"]),
            ));
            true
        }
        "tool_result" => say(result_of(&part["tool_use_id"]), plain(&part["content"])),
        "image" | "image_url" | "input_image" => say(role.to_owned(), "[image]".into()),
        "document" | "file" | "input_file" => say(role.to_owned(), "[file]".into()),
        _ if kind.ends_with("_call_output") => {
            say(result_of(&part["call_id"]), plain(&part["output"]))
        }
        _ if kind.ends_with("_call") => {
            let arguments = [&part["arguments"], &part["input"], &part["action"]];
            let arguments = arguments.into_iter().find(|it| !it.is_null());
            let name = match &part["name"] {
                Value::Null => &part["type"],
                name => name,
            };
            spoken.push(call_of(name, &part["call_id"], arguments));
            true
        }
        _ if part["functionCall"].is_object() => {
            let call = &part["functionCall"];
            spoken.push(call_of(&call["name"], &call["id"], Some(&call["args"])));
            true
        }
        _ if part["functionResponse"].is_object() => {
            let response = &part["functionResponse"];
            say(result_of(&response["name"]), plain(&response["response"]))
        }
        _ if part["text"].is_string() => {
            let heading = match part["thought"] {
                Value::Bool(true) => reasoning(),
                _ => role.to_owned(),
            };
            say(heading, plain(&part["text"]))
        }
        _ => false,
    }
}

fn call_of(name: &Value, id: &Value, arguments: Option<&Value>) -> Spoken {
    let id = text_of(id).filter(|id| !id.is_empty());
    let heading = match (text_of(name).unwrap_or("?"), id) {
        (name, Some(id)) => format!("calls {name} ({id})"),
        (name, None) => format!("calls {name}"),
    };
    let arguments = arguments.map(|arguments| match arguments {
        // Arguments that are JSON in a text.
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| arguments.clone()),
        other => other.clone(),
    });
    Spoken::new(heading, arguments.as_ref().map_or(String::new(), fields))
}

fn result_of(id: &Value) -> String {
    format!("result of {}", text_of(id).unwrap_or("?"))
}

/// `command: ls -l`, a line for each, for commands and file contents have lines of their own.
fn fields(arguments: &Value) -> String {
    match arguments {
        Value::Object(fields) => {
            let lines = fields.iter().map(|(name, value)| match value {
                Value::String(text) if text.contains('\n') => format!("{name}:\n{text}"),
                Value::String(text) => format!("{name}: {text}"),
                other => format!("{name}: {other}"),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        Value::String(text) => text.clone(),
        other => json(other),
    }
}

/// The text in a value: of parts that have some, joined.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| match text_of(&part["text"]) {
                Some(text) => text.to_owned(),
                None => json(part),
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        other => json(other),
    }
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn json(value: &Value) -> String {
    value.to_string()
}

/// Prints with one heading for what one says in a row, and lines of a width that can be read.
pub(super) fn print(out: &mut impl Write, colour: Colour, spoken: &[Spoken]) -> io::Result<()> {
    let width = width();
    let mut last = None;
    for Spoken { heading, text } in spoken {
        if heading.is_empty() {
            writeln!(out, "\n{}", colour.paint(Tone::Faint, "--- the answer ---"))?;
            last = None;
            continue;
        }
        if last != Some(heading) {
            writeln!(out, "\n{}", colour.paint(Tone::Heading, heading))?;
        }
        last = Some(heading);
        for line in text.lines() {
            // Tabs are for looking at, as long as they are spaces.
            for piece in wrapped(&visible(&line.replace('\t', "    ")), width) {
                writeln!(out, "  {piece}")?;
            }
        }
    }
    Ok(())
}

/// Of the terminal, if it is one, within limits.
fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(100, |size| size.ws_col);
    usize::from(columns).clamp(40, 120) - 2
}

/// Pieces of at most `width` characters, broken at spaces where there are some.
fn wrapped(line: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some((end, _)) = rest.char_indices().nth(width) {
        // A break within an indent would leave an empty line.
        let indent = rest.len() - rest.trim_start().len();
        let at = rest[..end].rfind(' ').filter(|&at| at > indent);
        let (piece, after) = rest.split_at(at.unwrap_or(end));
        pieces.push(piece);
        rest = match at {
            Some(_) => &after[1..],
            None => after,
        };
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(messages: &[Value]) -> String {
        let mut spoken = Vec::new();
        messages.iter().for_each(|it| super::read(it, &mut spoken));
        let mut out = Vec::new();
        print(&mut out, Colour::Off, &spoken).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_of_every_protocol() {
        let conversation = [
            // Anthropic
            json!({"role": "user", "content": [{"type": "text", "text": "Make a file.\nNow."}, {"type": "image", "source": {}}]}),
            json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "Easy."}, {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a b"}]}]}),
            // Chat Completions
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
            json!({"role": "tool", "tool_call_id": "c1", "content": "done"}),
            // Responses
            json!("Hello"),
            json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}),
            json!({"type": "function_call", "call_id": "r1", "name": "shell", "arguments": "{\"cmd\":\"a\\nb\"}"}),
            json!({"type": "function_call_output", "call_id": "r1", "output": "ok"}),
            json!({"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}),
            // Gemini
            json!({"role": "model", "parts": [{"text": "Light?"}, {"functionCall": {"name": "light", "args": {"on": true}}}]}),
            json!({"role": "user", "parts": [{"functionResponse": {"name": "light", "response": {"ok": 1}}}]}),
            // Nobody's
            json!({"type": "novelty", "x": 1}),
        ];
        insta::assert_snapshot!(shown(&conversation), @r#"

        user
          Make a file.
          Now.
          [image]

        assistant, reasoning
          Easy.

        calls Bash (t1)
          command: ls

        result of t1
          a b

        calls f (c1)
          x: 1

        result of c1
          done

        user
          Hello

        developer
          Be brief.

        calls shell (r1)
          cmd:
          a
          b

        result of r1
          ok

        assistant, reasoning
          Hm.

        model
          Light?

        calls light
          on: true

        result of light
          {"ok":1}

        user
          {"type":"novelty","x":1}
        "#);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let text = shown(&[json!({"role": "us\x1ber", "content": "a\x1b[2Jb\r\tc\u{202e}"})]);
        assert_eq!(text, "\nus\\x1ber\n  a\\x1b[2Jb\\x0d    c\\u{202e}\n");
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("      abcdef", 8), ["      ab", "cdef"]);
        assert_eq!(wrapped("", 8), [""]);
    }
}
