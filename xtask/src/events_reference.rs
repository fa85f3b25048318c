//! `docs/events-reference.md`, made from the types of events: what a field is called, what it is, and what its comment
//! says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wardian_events::Event;

use crate::shell;

const PATH: &str = "docs/events-reference.md";

/// Whether the file says what the types say.
pub(crate) fn check() -> Result<()> {
    let path = shell::root().join(PATH);
    if std::fs::read_to_string(&path).unwrap_or_default() != generate()? {
        bail!("{PATH} is not what the types of events say: run `cargo xtask docs --write`");
    }
    Ok(())
}

pub(crate) fn write() -> Result<()> {
    let path = shell::root().join(PATH);
    std::fs::write(&path, generate()?).with_context(|| path.display().to_string())
}

fn generate() -> Result<String> {
    let schema = schemars::schema_for!(Event).to_value();
    let definitions = schema["$defs"].as_object().context("no definitions")?;
    let variants = schema["oneOf"].as_array().context("no kinds of event")?;
    let mut by_kind = BTreeMap::new();
    for variant in variants {
        let kind = &variant["properties"]["kind"]["const"];
        by_kind.insert(kind.as_str().context("an event without a kind")?, variant);
    }
    let mut page = String::from(
        "# Every event, field by field\n\n\
         Made from the types by `cargo xtask docs --write`; [events.md](events.md) explains. `kind` is in every event. \
         A field that is not *always* there is left out when it has nothing to say.\n",
    );
    let mut shared = Vec::new();
    for kind in Event::KINDS {
        let variant = by_kind.get(kind).context("a kind that is not listed")?;
        let whole = resolved(variant, definitions);
        let _ = write!(page, "\n## {kind}\n\n{}\n", paragraphs(&whole));
        table(&whole, &mut page, &mut shared);
    }
    let mut done = Vec::new();
    if !shared.is_empty() {
        page.push_str("\n## Parts\n");
    }
    while let Some(name) = shared.pop() {
        if done.contains(&name) {
            continue;
        }
        done.push(name);
    }
    done.sort();
    let mut at = 0;
    // What a part is made of is a part too.
    while let Some(name) = done.get(at).cloned() {
        at += 1;
        let definition = &definitions[&name];
        let _ = writeln!(page, "\n### {name}\n");
        let about = paragraphs(definition);
        if !about.is_empty() {
            let _ = writeln!(page, "{about}\n");
        }
        let mut further = Vec::new();
        table(definition, &mut page, &mut further);
        words(definition, &mut page);
        for name in further {
            if !done.contains(&name) {
                done.push(name);
            }
        }
    }
    Ok(page)
}

/// A variant with the fields of the struct that it stands for.
fn resolved(variant: &Value, definitions: &serde_json::Map<String, Value>) -> Value {
    let target = variant["$ref"]
        .as_str()
        .and_then(|it| it.strip_prefix("#/$defs/"));
    match target.and_then(|name| definitions.get(name)) {
        Some(definition) => definition.clone(),
        None => variant.clone(),
    }
}

fn table(of: &Value, page: &mut String, shared: &mut Vec<String>) {
    let mut rows = Vec::new();
    fields(of, true, &mut rows, shared);
    rows.retain(|(name, ..)| name != "kind");
    if rows.is_empty() {
        return;
    }
    if !page.ends_with("\n\n") {
        page.push('\n');
    }
    page.push_str("| field | type | | |\n|---|---|---|---|\n");
    for (name, kind, always, about) in rows {
        let always = if always { "always" } else { "" };
        let _ = writeln!(page, "| `{name}` | {kind} | {always} | {about} |");
    }
}

/// The words that a text can be.
fn words(of: &Value, page: &mut String) {
    let alternatives = of["oneOf"].as_array().into_iter().flatten();
    for alternative in alternatives.chain([of]) {
        let listed = alternative["enum"].as_array().into_iter().flatten();
        for word in listed
            .chain([&alternative["const"]])
            .filter_map(Value::as_str)
        {
            let about = match paragraphs(alternative) {
                about if about.is_empty() || alternative["const"].is_null() => String::new(),
                about => format!(": {about}"),
            };
            let _ = writeln!(page, "- `{word}`{about}");
        }
    }
}

type Row = (String, String, bool, String);

/// Those of the object itself, and of the alternatives that are flattened into it.
fn fields(of: &Value, always: bool, rows: &mut Vec<Row>, shared: &mut Vec<String>) {
    let required: Vec<&str> = of["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in of["properties"].as_object().into_iter().flatten() {
        let row = (
            name.clone(),
            type_of(field, shared),
            always && required.contains(&name.as_str()),
            paragraphs(field),
        );
        match rows.iter_mut().find(|(known, ..)| known == name) {
            // Of several alternatives: what each of them has.
            Some(known) => {
                if !known.1.contains(&row.1) {
                    known.1 = format!("{} or {}", known.1, row.1);
                }
                known.2 = known.2 || row.2;
            }
            None => rows.push(row),
        }
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        let alternatives: Vec<&Value> = of[key].as_array().into_iter().flatten().collect();
        let in_all = |name: &String| {
            alternatives.iter().all(|it| {
                it["required"]
                    .as_array()
                    .is_some_and(|it| it.contains(&name.clone().into()))
            })
        };
        let mut of_them = Vec::new();
        for alternative in &alternatives {
            fields(alternative, always, &mut of_them, shared);
        }
        for mut row in of_them {
            row.2 = always && in_all(&row.0);
            rows.push(row);
        }
    }
}

fn type_of(field: &Value, shared: &mut Vec<String>) -> String {
    if let Some(name) = field["$ref"]
        .as_str()
        .and_then(|it| it.strip_prefix("#/$defs/"))
    {
        return match name {
            "Digest" => "SHA-256 in hex".to_owned(),
            "Timestamp" => "time".to_owned(),
            "ConnectionId" | "RequestId" | "Command" | "Seq" => "integer".to_owned(),
            name => {
                shared.push(name.to_owned());
                format!("[{name}](#{})", name.to_lowercase())
            }
        };
    }
    if let Some(value) = field["const"].as_str() {
        return format!("`{value}`");
    }
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        return values
            .iter()
            .map(|it| format!("`{it}`"))
            .collect::<Vec<_>>()
            .join(", ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(alternatives) = field[key].as_array() {
            let types = alternatives.iter().filter(|it| it["type"] != "null");
            return types
                .map(|it| type_of(it, shared))
                .collect::<Vec<_>>()
                .join(" or ");
        }
    }
    let name = match &field["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|it| *it != "null"),
        one => one.as_str(),
    };
    match name.unwrap_or("anything") {
        "array" => format!("list of {}", type_of(&field["items"], shared)),
        "string" => "text".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

/// A description in one line, and links of rustdoc as plain words.
fn paragraphs(of: &Value) -> String {
    let text = of["description"].as_str().unwrap_or_default();
    let mut plain = String::new();
    let mut rest = text;
    // `[`Name`]` and `[words](target)`.
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once(']') {
            Some((words, after)) => {
                plain.push_str(words);
                rest = match after.strip_prefix('(').and_then(|it| it.split_once(')')) {
                    Some((_, after)) => after,
                    None => after,
                };
            }
            None => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
