//! Finding the shell among the tools that an agent offers.

use serde_json::{Map, Value, json};

/// Names that known agents use, the best first.
const SHELLS: [&str; 10] = [
    "Bash",
    "bash",
    "shell_command",
    "exec_command",
    "shell",
    "local_shell",
    "container.exec",
    "run_shell_command",
    "terminal",
    "run_command",
];

/// A tool as a request offers it, whatever the API.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    /// JSON schema of its input, or null.
    pub(super) schema: Value,
    pub(super) namespace: Option<String>,
}

pub(super) fn find(tools: &[Tool]) -> Option<&Tool> {
    let by_name = |name: &str| tools.iter().find(|tool| tool.name == name);
    SHELLS.iter().find_map(|name| by_name(name))
}

/// The input that makes `tool` run `command`.
pub(super) fn input(tool: &Tool, command: &str) -> Value {
    let properties = tool.schema["properties"].as_object();
    let field = |name: &str| properties.and_then(|all| all.get(name));
    let value = |schema: Option<&Value>| {
        if schema.is_some_and(|schema| schema["type"] == "array") {
            json!(["bash", "-lc", command])
        } else {
            json!(command)
        }
    };
    let mut input = Map::new();
    let name = if field("cmd").is_some() && field("command").is_none() {
        "cmd"
    } else {
        "command"
    };
    input.insert(name.to_owned(), value(field(name)));
    let required = tool.schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    for name in required {
        if !input.contains_key(name) {
            let filler = match field(name).and_then(|schema| schema["type"].as_str()) {
                Some("number" | "integer") => json!(60_000),
                Some("boolean") => json!(false),
                Some("array") => json!([]),
                _ => json!("scripted"),
            };
            input.insert(name.to_owned(), filler);
        }
    }
    Value::Object(input)
}
