//! Shows the records that pass a node of a running job.

use std::sync::Arc;

use serde_json::Value;

use super::handle::JobHandle;
use super::view::{TapRecord, TapSummary};
use crate::access::SecretStore;
use crate::error::{self, Result};
use crate::escape;
use crate::model::row;
use crate::runtime::{TapReader, TapSettings, TapSide, TappedRecord};
use crate::turn::{FIRST_INPUT, OutputId};

/// Largest value that is shown completely, in bytes of its JSON text.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// Which records are asked for.
#[derive(Clone, Copy, Debug)]
pub struct TapRequest {
    /// By default the output of sources and operators, and the input of sinks.
    pub side: Option<TapSide>,
    /// One of this many records.
    pub every: u64,
    /// Largest number of records per second.
    pub rate: u64,
}

/// An open tap of a job. It ends when this is dropped.
pub struct RecordTap {
    job: Arc<JobHandle>,
    reader: TapReader,
    /// The names of the outputs of the node's function, by their index.
    outputs: Vec<String>,
    secrets: SecretStore,
    shown: u64,
}

impl RecordTap {
    /// Opens a tap. Errors: `job-state` if the job has ended, `request-not-found` if it has no such node, `request-invalid` for a side
    /// that the node does not have.
    pub fn open(job: Arc<JobHandle>, node: &str, request: TapRequest, secrets: SecretStore) -> Result<RecordTap> {
        let detail = job.detail();
        let name = &detail.summary.name;
        if detail.summary.status.is_final() {
            return Err(error::job_state(format!("job `{name}` has ended, so that no records pass")));
        }
        // A job that was just submitted has a graph, but no operators yet.
        let nodes: Vec<(String, String)> = match job.graph() {
            Some(graph) => graph.nodes.into_iter().map(|node| (node.id, node.kind)).collect(),
            None => detail.operators.iter().map(|node| (node.id.clone(), node.kind.clone())).collect(),
        };
        let Some((_, kind)) = nodes.iter().find(|(id, _)| id == node) else {
            let known: Vec<&str> = nodes.iter().map(|(id, _)| id.as_str()).collect();
            return Err(error::request_not_found(format!("job `{name}` has no operator `{node}`"))
                .hint(format!("its nodes are {}", known.join(", "))));
        };
        let side = match (kind.as_str(), request.side) {
            ("source", Some(TapSide::In)) => {
                return Err(error::request_invalid(format!("`{node}` is a source: only its output can be shown")));
            }
            ("sink", Some(TapSide::Out)) => {
                return Err(error::request_invalid(format!("`{node}` is a sink: only its input can be shown")));
            }
            ("sink", None) => TapSide::In,
            (_, side) => side.unwrap_or(TapSide::Out),
        };
        let settings = TapSettings { side, every: request.every.max(1), rate: request.rate.max(1) };
        let tap = job.taps.node(node);
        Ok(RecordTap { outputs: tap.outputs(), reader: TapReader::open(tap, settings), job, secrets, shown: 0 })
    }

    /// Waits for the next record. Can be dropped while it waits, without a loss.
    pub async fn next(&mut self) -> TapRecord {
        let record = self.reader.next().await;
        self.view(record)
    }

    /// Returns the next record if it has been taken already.
    pub fn try_next(&mut self) -> Option<TapRecord> {
        self.reader.try_next().map(|record| self.view(record))
    }

    /// Returns what the tap has seen.
    pub fn summary(&self) -> TapSummary {
        let counts = self.reader.counts();
        TapSummary { passed: counts.passed, shown: self.shown, dropped: counts.dropped }
    }

    /// Returns whether the job has ended, so that no records follow.
    pub fn has_ended(&self) -> bool {
        self.job.status().is_final()
    }

    fn view(&mut self, record: TappedRecord) -> TapRecord {
        self.shown += 1;
        let (value, is_cut) = shown_value(&record);
        TapRecord {
            subtask: record.route.subtask,
            input: record.route.input.map(|input| if input == FIRST_INPUT { "input" } else { "second" }.to_owned()),
            output: record.route.output.map(|output| self.output_name(output)),
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref().map(escape::shown).map(|key| self.secrets.redact(&key).into_owned()),
            value: redacted(&self.secrets, value),
            is_cut,
            bytes: record.value_bytes as u64,
        }
    }

    fn output_name(&self, output: OutputId) -> String {
        match output {
            OutputId::MAIN => "main".to_owned(),
            OutputId::Late => "late".to_owned(),
            OutputId::DeadLetter => "dead-letter".to_owned(),
            OutputId::Declared(index) => self.outputs.get(index).cloned().unwrap_or_else(|| index.to_string()),
        }
    }
}

/// Returns a value as JSON, and whether it is cut off.
fn shown_value(record: &TappedRecord) -> (Value, bool) {
    let cut = |text: &str| match text.len() <= SHOWN_BYTES_MAX {
        true => (Value::String(text.to_owned()), false),
        false => (Value::String(format!("{}…", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)])), true),
    };
    if let Some(schema) = record.schema.as_deref().filter(|_| !record.is_cut()) {
        let mut json = Vec::new();
        let written = row::write_json(schema, &record.value, &mut json);
        if let Some(text) = written.ok().and_then(|()| std::str::from_utf8(&json).ok()) {
            return match serde_json::from_str(text) {
                Ok(value) if text.len() <= SHOWN_BYTES_MAX => (value, false),
                _ => cut(text),
            };
        }
    }
    let is_text = |error: &std::str::Utf8Error| record.is_cut() && error.error_len().is_none();
    let (value, is_cut) = match std::str::from_utf8(&record.value) {
        Ok(text) => cut(text),
        // The copy has split a character of a text.
        Err(error) if is_text(&error) => {
            cut(std::str::from_utf8(&record.value[..error.valid_up_to()]).unwrap_or_default())
        }
        Err(_) => cut(&format!("hex:{}", hex::encode(&record.value))),
    };
    (value, is_cut || record.is_cut())
}

/// Replaces the values of secrets, also where a number is one.
fn redacted(secrets: &SecretStore, value: Value) -> Value {
    let text = value.to_string();
    match secrets.redact(&text) {
        std::borrow::Cow::Borrowed(_) => value,
        std::borrow::Cow::Owned(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runtime::RecordRoute;

    fn record(value: &[u8], value_bytes: usize) -> TappedRecord {
        TappedRecord {
            route: RecordRoute { subtask: 0, input: None, output: None },
            timestamp_ms: None,
            key: None,
            value: value.into(),
            value_bytes,
            schema: None,
        }
    }

    #[test]
    fn values_are_text_or_hex_and_are_cut() {
        let shown = |value: &[u8]| shown_value(&record(value, value.len()));
        assert_eq!(shown(b"{\"a\": 1}"), (json!("{\"a\": 1}"), false));
        assert_eq!(shown(&[0xff, 1]), (json!("hex:ff01"), false));
        let long = "ä".repeat(SHOWN_BYTES_MAX);
        let (value, is_cut) = shown(long.as_bytes());
        assert!(
            is_cut && value.as_str().unwrap().len() <= SHOWN_BYTES_MAX + 3 && value.as_str().unwrap().ends_with('…')
        );
        // The copy ends within a character.
        let (value, is_cut) = shown_value(&record(&long.as_bytes()[..5], long.len()));
        assert_eq!((value, is_cut), (json!("ää"), true));
    }
}
