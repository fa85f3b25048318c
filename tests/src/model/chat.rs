//! The Chat Completions API, as OpenAI and many others speak it.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::shell::{self, Tool};
use super::{Script, Turn, identifier, json_response, pieces, server_sent};
use crate::server::Body;

pub(super) fn answer(asked: &Value, script: &Script) -> Response<Body> {
    let functions = asked["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| &tool["function"]);
    let tools: Vec<Tool> = functions
        .filter_map(|function| {
            Some(Tool {
                name: function["name"].as_str()?.to_owned(),
                schema: function["parameters"].clone(),
                namespace: None,
            })
        })
        .collect();
    let mut results = 0;
    let mut previous_was_tool = false;
    for message in asked["messages"].as_array().into_iter().flatten() {
        let is_tool = message["role"] == "tool";
        results += usize::from(is_tool && !previous_was_tool);
        previous_was_tool = is_tool;
    }
    let (text, calls) = match (script.turn(results, !tools.is_empty()), shell::find(&tools)) {
        (Turn::Run(command), Some(tool)) => {
            let arguments = shell::input(tool, command).to_string();
            let call = json!({"id": identifier("call_"), "type": "function", "function": {"name": tool.name, "arguments": arguments}});
            ("Running the next step.", vec![call])
        }
        (Turn::Run(_), None) => ("There is no shell here.", Vec::new()),
        (Turn::Say(text), _) => (text, Vec::new()),
    };
    let finish = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120});
    let id = identifier("chatcmpl-");
    if asked["stream"] != true {
        let mut message = json!({"role": "assistant", "content": text});
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        let choices = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        let whole = json!({"id": id, "object": "chat.completion", "created": 1_767_225_600, "model": asked["model"], "usage": usage, "choices": choices});
        return json_response(StatusCode::OK, &whole);
    }
    let chunk = |choices: Value| json!({"id": id, "object": "chat.completion.chunk", "created": 1_767_225_600, "model": asked["model"], "choices": choices});
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]))
    };
    let mut chunks = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    chunks.extend(pieces(text).map(|piece| delta(json!({"content": piece}), Value::Null)));
    for (index, call) in calls.iter().enumerate() {
        let mut call = call.clone();
        call["index"] = json!(index);
        chunks.push(delta(json!({"tool_calls": [call]}), Value::Null));
    }
    chunks.push(delta(json!({}), json!(finish)));
    let mut last = chunk(json!([]));
    last["usage"] = usage;
    chunks.push(last);
    let mut events: Vec<String> = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    events.push("data: [DONE]\n\n".to_owned());
    server_sent(events)
}
