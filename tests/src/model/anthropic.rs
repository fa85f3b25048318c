//! The Messages API of Anthropic.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::shell::{self, Tool};
use super::{Script, Turn, identifier, json_response, named, pieces, server_sent};
use crate::server::Body;

pub(super) fn answer(asked: &Value, script: &Script) -> Response<Body> {
    let tools: Vec<Tool> = asked["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| {
            Some(Tool {
                name: tool["name"].as_str()?.to_owned(),
                schema: tool["input_schema"].clone(),
                namespace: None,
            })
        })
        .collect();
    let holds_result = |message: &&Value| {
        message["content"]
            .as_array()
            .is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "tool_result"))
    };
    let results = asked["messages"]
        .as_array()
        .map_or(0, |messages| messages.iter().filter(holds_result).count());

    let mut content = Vec::new();
    let stop = match (script.turn(results, !tools.is_empty()), shell::find(&tools)) {
        (Turn::Run(command), Some(tool)) => {
            content.push(json!({"type": "text", "text": "Running the next step."}));
            content.push(json!({"type": "tool_use", "id": identifier("toolu_"), "name": tool.name, "input": shell::input(tool, command)}));
            "tool_use"
        }
        (Turn::Run(_), None) => {
            content.push(json!({"type": "text", "text": "There is no shell here."}));
            "end_turn"
        }
        (Turn::Say(text), _) => {
            content.push(json!({"type": "text", "text": text}));
            "end_turn"
        }
    };
    let usage = json!({"input_tokens": 100, "output_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0});
    let mut message = json!({
        "id": identifier("msg_"), "type": "message", "role": "assistant", "model": asked["model"], "content": content,
        "stop_reason": stop, "stop_sequence": null, "usage": usage,
    });
    if asked["stream"] != true {
        return json_response(StatusCode::OK, &message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    let mut events = vec![json!({"type": "message_start", "message": message})];
    for (index, block) in content.iter().enumerate() {
        let (empty, deltas): (Value, Vec<Value>) = if block["type"] == "text" {
            let text = block["text"].as_str().unwrap_or_default();
            (
                json!({"type": "text", "text": ""}),
                pieces(text)
                    .map(|text| json!({"type": "text_delta", "text": text}))
                    .collect(),
            )
        } else {
            let mut empty = block.clone();
            empty["input"] = json!({});
            let deltas = pieces(&block["input"].to_string())
                .map(|part| json!({"type": "input_json_delta", "partial_json": part}));
            (empty, deltas.collect())
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
        events.extend(
            deltas.into_iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null}, "usage": usage}));
    events.push(json!({"type": "message_stop"}));
    server_sent(named(events))
}
