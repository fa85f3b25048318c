//! The tables of keys in `docs/policy.md`, made from the types that manifests are read into.
//!
//! A table stands between `<!-- keys of NAME -->` and `<!-- end -->`, where NAME is one of the wire types.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::shell;

const DOCUMENT: &str = "docs/policy.md";
const BEGIN: &str = "<!-- keys of ";
const END: &str = "<!-- end -->";

/// Fails if a table is not what the types say.
pub(crate) fn check() -> Result<()> {
    let path = shell::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    if renewed(&text)? != text {
        bail!(
            "{DOCUMENT}: the tables of keys are not those of the types; `cargo xtask docs --write` renews them"
        );
    }
    Ok(())
}

pub(crate) fn write() -> Result<()> {
    let path = shell::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let renewed = renewed(&text)?;
    fs::write(&path, renewed).with_context(|| path.display().to_string())
}

fn renewed(text: &str) -> Result<String> {
    let schema = wardian_policy::manifest::manifest_schema();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let after = &rest[at + BEGIN.len()..];
        let (name, after) = after.split_once(" -->\n").context("a mark has no end")?;
        let end = after
            .find(END)
            .with_context(|| format!("the table of {name} has no end"))?;
        out.push_str(&rest[..at]);
        out.push_str(&format!(
            "{BEGIN}{name} -->\n{}{END}",
            table(&schema, name)?
        ));
        rest = &after[end + END.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn table(schema: &Value, name: &str) -> Result<String> {
    let definition = match name {
        "ManifestDocument" => schema,
        name => &schema["$defs"][name],
    };
    let properties = definition["properties"]
        .as_object()
        .with_context(|| format!("{name} is no table of manifests"))?;
    let is_required = |key: &str| {
        let required = definition["required"].as_array();
        required.is_some_and(|keys| keys.iter().any(|known| known == key))
    };
    let mut text = "\n| key | values | meaning |\n|---|---|---|\n".to_owned();
    for (key, property) in properties {
        let required = if is_required(key) { "; required" } else { "" };
        let meaning = property["description"].as_str().unwrap_or_default();
        text.push_str(&format!(
            "| `{key}` | {}{required} | {} |\n",
            values(schema, property),
            cell(meaning)
        ));
    }
    text.push('\n');
    Ok(text)
}

fn values(schema: &Value, property: &Value) -> String {
    if let Some(words) = words(property) {
        return words;
    }
    if let Some(name) = property["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return words(&schema["$defs"][name]).unwrap_or_else(|| of_type(schema, name));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(all) = property[key].as_array() {
            let all = all.iter().filter(|one| one["type"] != "null");
            return all
                .map(|one| values(schema, one))
                .collect::<Vec<_>>()
                .join(", or ");
        }
    }
    let kinds: Vec<&str> = match &property["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kinds = kinds.into_iter().filter(|kind| *kind != "null");
    let kinds: Vec<String> = kinds
        .map(|kind| match kind {
            "string" => "text".to_owned(),
            "boolean" => "`true`, `false`".to_owned(),
            "number" | "integer" => "a number".to_owned(),
            "array" => format!("a list of {}", values(schema, &property["items"])),
            "object" => match &property["additionalProperties"] {
                Value::Object(value) => {
                    let value = Value::Object(Map::clone(value));
                    format!("by name: {}", values(schema, &value))
                }
                _ => "a table".to_owned(),
            },
            other => other.to_owned(),
        })
        .collect();
    kinds.join(" or ")
}

/// Words to choose from, if it is that.
fn words(definition: &Value) -> Option<String> {
    let listed = definition["enum"].as_array().cloned();
    let described = || {
        let all = definition["oneOf"].as_array()?;
        all.iter()
            .map(|one| one.get("const").cloned())
            .collect::<Option<Vec<_>>>()
    };
    let words = listed.or_else(described)?;
    let words = words.iter().filter_map(Value::as_str);
    Some(
        words
            .map(|word| format!("`\"{word}\"`"))
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// How the document calls a type.
fn of_type(schema: &Value, name: &str) -> String {
    match name {
        "SandboxTable" => "a [sandbox](#a-sandbox)".to_owned(),
        "WorkspaceTable" => "a [workspace](#workspace)".to_owned(),
        "LimitsTable" => "a table of [limits](#limits)".to_owned(),
        "EgressTable" => "[rules](#egress)".to_owned(),
        "CredentialTable" => "a [credential](#credential)".to_owned(),
        "SourceTable" => "a [source](#credential)".to_owned(),
        "InjectTable" => "an [injection](#credential)".to_owned(),
        "AgentTable" => "an [agent](#agent)".to_owned(),
        "EnvTable" => "a [value from elsewhere](#env)".to_owned(),
        other => values(schema, &schema["$defs"][other]),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_a_manifest_can_be_shown() {
        let schema = wardian_policy::manifest::manifest_schema();
        let names = schema["$defs"].as_object().unwrap().keys();
        for name in names.filter(|name| name.ends_with("Table")) {
            let table = table(&schema, name).unwrap();
            assert!(
                !table.contains("| `` ") && !table.contains("|  |"),
                "{table}"
            );
        }
        let limits = table(&schema, "LimitsTable").unwrap();
        assert!(
            limits.contains("| `memory` | text or a number | "),
            "{limits}"
        );
        assert!(
            limits.contains("a list of `\"memory\"`, `\"cpus\"`"),
            "{limits}"
        );
    }

    #[test]
    fn only_the_tables_are_renewed() {
        let text = "a\n<!-- keys of EnvTable -->\nstale words\n<!-- end -->\nb\n";
        let once = renewed(text).unwrap();
        assert!(once.starts_with("a\n<!--") && once.ends_with("<!-- end -->\nb\n"));
        assert!(once.contains("from_env") && !once.contains("stale words"));
        assert_eq!(renewed(&once).unwrap(), once);
        assert!(renewed("<!-- keys of Nothing -->\n<!-- end -->").is_err());
    }
}
