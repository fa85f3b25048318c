//! The Responses API of OpenAI: the same events go out server-sent or as WebSocket messages.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::shell::{self, Tool};
use super::{Script, Turn, identifier, pieces};

/// What a response that is gone on from by its id was about.
#[derive(Debug, Clone, Default)]
pub(super) struct Conversation {
    results: usize,
    tools: Vec<Tool>,
    /// Tools that take free text, by name: their namespace.
    custom: HashMap<String, Option<String>>,
}

impl Conversation {
    fn offer(&mut self, tools: &Value, namespace: Option<&str>) {
        for tool in tools.as_array().into_iter().flatten() {
            let name = tool["name"].as_str().unwrap_or_default().to_owned();
            let namespace = namespace.map(str::to_owned);
            match tool["type"].as_str() {
                Some("function") => self.tools.push(Tool {
                    name,
                    schema: tool["parameters"].clone(),
                    namespace,
                }),
                Some("local_shell") => self.tools.push(Tool {
                    name: "local_shell".to_owned(),
                    schema: Value::Null,
                    namespace,
                }),
                Some("custom") => drop(self.custom.insert(name, namespace)),
                Some("namespace") => self.offer(&tool["tools"], Some(&name)),
                _ => {}
            }
        }
    }

    fn read(asked: &Value, known: &HashMap<String, Conversation>) -> Self {
        let mut this = Self::default();
        this.offer(&asked["tools"], None);
        let mut previous_was_output = false;
        for item in asked["input"].as_array().into_iter().flatten() {
            let kind = item["type"].as_str().unwrap_or_default();
            if kind == "additional_tools" {
                this.offer(&item["tools"], None);
            }
            let is_output = kind.ends_with("_call_output");
            // Parallel calls of one turn are answered in a row.
            this.results += usize::from(is_output && !previous_was_output);
            previous_was_output = is_output;
        }
        if let Some(before) = asked["previous_response_id"]
            .as_str()
            .and_then(|id| known.get(id))
        {
            this.results += before.results;
            if this.tools.is_empty() && this.custom.is_empty() {
                this.tools.clone_from(&before.tools);
                this.custom.clone_from(&before.custom);
            }
        }
        this
    }

    fn items(&self, turn: &Turn<'_>) -> Vec<Value> {
        let command = match turn {
            Turn::Say(text) => {
                return vec![json!({
                    "type": "message", "id": identifier("msg_"), "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}],
                })];
            }
            Turn::Run(command) => command,
        };
        let call = identifier("call_");
        let mut item = match (shell::find(&self.tools), self.custom.get("exec")) {
            (Some(tool), _) if tool.name == "local_shell" => json!({
                "type": "local_shell_call", "id": identifier("lsh_"), "call_id": call, "status": "completed",
                "action": {"type": "exec", "command": ["bash", "-lc", command], "env": {}},
            }),
            (Some(tool), _) => json!({
                "type": "function_call", "id": identifier("fc_"), "call_id": call, "name": tool.name, "status": "completed",
                "arguments": shell::input(tool, command).to_string(), "namespace": tool.namespace,
            }),
            // A tool that runs JavaScript from which the others are called.
            (None, Some(namespace)) => json!({
                "type": "custom_tool_call", "id": identifier("ctc_"), "call_id": call, "name": "exec", "status": "completed",
                "input": format!("const r = await tools.exec_command({}); text(typeof r === 'string' ? r : JSON.stringify(r));", json!({"cmd": command})),
                "namespace": namespace,
            }),
            (None, None) => return self.items(&Turn::Say("There is no shell here.")),
        };
        if item["namespace"].is_null() || item["namespace"] == "functions" {
            item.as_object_mut()
                .and_then(|item: &mut Map<String, Value>| item.remove("namespace"));
        }
        vec![item]
    }
}

/// The events of the answer, and the whole of it.
pub(super) fn answer(
    asked: &Value,
    script: &Script,
    known: &mut HashMap<String, Conversation>,
) -> (Vec<Value>, Value) {
    let conversation = Conversation::read(asked, known);
    let offers_tools = !(conversation.tools.is_empty() && conversation.custom.is_empty());
    // `generate: false` warms a connection up.
    let items = if asked["generate"] == false {
        Vec::new()
    } else {
        conversation.items(&script.turn(conversation.results, offers_tools))
    };
    let whole = json!({
        "id": identifier("resp_"), "object": "response", "created_at": 1_767_225_600, "status": "completed", "model": asked["model"],
        "output": items, "error": null, "incomplete_details": null, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "usage": {
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120,
        },
    });
    known.insert(
        whole["id"].as_str().unwrap_or_default().to_owned(),
        conversation,
    );

    let mut started = whole.clone();
    started["status"] = json!("in_progress");
    started["output"] = json!([]);
    started["usage"] = Value::Null;
    let mut events = vec![json!({"type": "response.created", "response": started})];
    for (index, item) in items.iter().enumerate() {
        item_events(index, item, &mut events);
    }
    events.push(json!({"type": "response.completed", "response": whole}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    (events, whole)
}

fn item_events(index: usize, item: &Value, events: &mut Vec<Value>) {
    let id = &item["id"];
    let mut opened = item.clone();
    let mut parts = Vec::new();
    match item["type"].as_str() {
        Some("message") => {
            opened["content"] = json!([]);
            opened["status"] = json!("in_progress");
            let content = &item["content"][0];
            let text = content["text"].as_str().unwrap_or_default();
            let at = |kind: &str| json!({"type": kind, "item_id": id, "output_index": index, "content_index": 0});
            let with = |kind: &str, key: &str, value: Value| {
                let mut event = at(kind);
                event[key] = value;
                event
            };
            parts.push(with(
                "response.content_part.added",
                "part",
                json!({"type": "output_text", "text": "", "annotations": []}),
            ));
            parts.extend(
                pieces(text).map(|piece| with("response.output_text.delta", "delta", json!(piece))),
            );
            parts.push(with("response.output_text.done", "text", json!(text)));
            parts.push(with("response.content_part.done", "part", content.clone()));
        }
        Some("function_call") => {
            opened["arguments"] = json!("");
            let arguments = &item["arguments"];
            parts.push(json!({"type": "response.function_call_arguments.delta", "item_id": id, "output_index": index, "delta": arguments}));
            parts.push(json!({"type": "response.function_call_arguments.done", "item_id": id, "output_index": index, "arguments": arguments}));
        }
        _ => {}
    }
    events
        .push(json!({"type": "response.output_item.added", "output_index": index, "item": opened}));
    events.append(&mut parts);
    events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
}
