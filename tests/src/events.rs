//! The record of a sandbox, as `wardian events NAME --json` gives it.

use serde_json::Value;

use crate::host::Host;

#[derive(Debug, Clone)]
pub struct Events(Vec<Value>);

impl Events {
    #[track_caller]
    pub fn read(host: &Host, sandbox: &str) -> Self {
        let listed = host.wardian(&["events", sandbox, "--json"]).success();
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
        };
        let records: Vec<Value> = listed.text().lines().map(parse).collect();
        assert!(!records.is_empty(), "no events of {sandbox}");
        // The event may stand in its record or beside the record's fields.
        Self(
            records
                .into_iter()
                .map(|record: Value| record.get("event").cloned().unwrap_or(record))
                .collect(),
        )
    }

    pub fn all(&self) -> &[Value] {
        &self.0
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0
            .iter()
            .filter(|event| event["kind"] == kind)
            .collect()
    }

    /// Refusals of any kind that the program met with. What the self-probe provokes before it starts does not count.
    pub fn denied(&self) -> Vec<&Value> {
        let probe = self
            .0
            .iter()
            .position(|event| event["kind"] == "self_probe");
        self.0[probe.unwrap_or(0)..]
            .iter()
            .filter(|event| event["verdict"] == "denied" || event["kind"] == "protocol_error")
            .collect()
    }

    /// Exactly one refusal on the whole record, with a reason; returns its reason.
    #[track_caller]
    pub fn only_refusal(&self) -> &str {
        let denied = self.denied();
        assert_eq!(denied.len(), 1, "wanted one refusal: {denied:#?}");
        reason(denied[0])
    }

    /// Exactly one refusal on the whole record, for one of these reasons.
    #[track_caller]
    pub fn one_refusal(&self, reasons: &[&str]) {
        let reason = self.only_refusal();
        assert!(
            reasons.contains(&reason),
            "refused for {reason:?}, wanted one of {reasons:?}"
        );
    }

    /// Refusals of one kind, by their reasons.
    pub fn reasons(&self, kind: &str) -> Vec<&str> {
        self.denied()
            .into_iter()
            .filter(|event| event["kind"] == kind)
            .map(reason)
            .collect()
    }
}

#[track_caller]
fn reason(event: &Value) -> &str {
    let reason = event["reason"].as_str().unwrap_or_default();
    let is_name = !reason.is_empty()
        && reason
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    assert!(
        is_name,
        "a refusal needs a reason with a snake_case name: {event}"
    );
    reason
}
