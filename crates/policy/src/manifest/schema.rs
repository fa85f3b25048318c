//! JSON Schema (draft 2020-12) of what people write, from the wire types and their comments.

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::wire::{ManifestDocument, PolicyDocument};

/// Of a `wardian.toml`, or the same as JSON.
pub fn manifest_schema() -> Value {
    schema::<ManifestDocument>("wardian.toml")
}

/// Of the file of `--policy`.
pub fn policy_file_schema() -> Value {
    schema::<PolicyDocument>("wardian policy file")
}

fn schema<T: JsonSchema>(title: &str) -> Value {
    let mut schema = schema_for!(T);
    schema.insert("title".to_owned(), Value::from(title));
    let mut value = schema.to_value();
    unfold(&mut value);
    value
}

/// Comments break their lines where the source does; and a key that may be left out may still not be `null`.
fn unfold(value: &mut Value) {
    let Value::Object(entries) = value else {
        if let Value::Array(items) = value {
            items.iter_mut().for_each(unfold);
        }
        return;
    };
    for (key, value) in entries.iter_mut() {
        match value {
            Value::String(text) if key == "description" => *text = text.replace('\n', " "),
            Value::Array(kinds) if key == "type" => {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    *value = kind.clone();
                }
            }
            value => unfold(value),
        }
    }
    entries.retain(|key, value| !(key == "default" && value.is_null()));
    let Some(Value::Array(choices)) = entries.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice["type"] != "null");
    if let [only] = choices.as_slice() {
        let only = only.clone();
        entries.remove("anyOf");
        if let Value::Object(only) = only {
            entries.extend(only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_be_null_and_everything_is_described() {
        for schema in [manifest_schema(), policy_file_schema()] {
            let text = schema.to_string();
            assert!(!text.contains("null"), "{text}");
            let tables = schema["$defs"].as_object().unwrap();
            let tables = tables.iter().filter(|(name, _)| name.ends_with("Table"));
            for (name, table) in tables.chain([(&"root".to_owned(), &schema)]) {
                assert_eq!(table["additionalProperties"], false, "{name}");
                for (key, property) in table["properties"].as_object().unwrap() {
                    assert!(property["description"].is_string(), "{name}.{key}");
                }
            }
        }
    }
}
