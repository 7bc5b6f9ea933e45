//! Writes spans as the body of an OTLP/HTTP request, in JSON.
//!
//! Ids are hexadecimal and 64-bit numbers are strings, as the OpenTelemetry specification requires.

use serde_json::{Value, json};

use super::ended_span::{EndedSpan, SpanValue};

/// A span within the process.
const KIND_INTERNAL: u8 = 1;
/// The status of a failed span.
const STATUS_ERROR: u8 = 2;

/// Returns the body of a request with these spans. `instance` identifies the process.
pub(super) fn request(instance: &str, spans: &[EndedSpan]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", "cofferdam"), ("service.version", version), ("service.instance.id", instance)];
    let resource: Vec<Value> =
        resource.iter().map(|(name, value)| attribute(name, &SpanValue::Text((*value).to_owned()))).collect();
    let spans: Vec<Value> = spans.iter().map(span_json).collect();
    let body = json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "cofferdam", "version": version }, "spans": spans }],
        }],
    });
    body.to_string().into_bytes()
}

fn span_json(span: &EndedSpan) -> Value {
    let EndedSpan { trace, id, parent, name, begin_ns, end_ns, attributes, failure } = span;
    let attributes: Vec<Value> = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut json = json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{id:016x}"),
        "name": name,
        "kind": KIND_INTERNAL,
        "startTimeUnixNano": begin_ns.to_string(),
        "endTimeUnixNano": end_ns.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(code) = failure {
        json["status"] = json!({ "code": STATUS_ERROR, "message": code });
    }
    json
}

fn attribute(name: &str, value: &SpanValue) -> Value {
    let value = match value {
        SpanValue::Text(text) => json!({ "stringValue": text }),
        SpanValue::Number(number) => json!({ "intValue": number.to_string() }),
        SpanValue::Millis(ms) => json!({ "doubleValue": ms }),
        SpanValue::Flag(flag) => json!({ "boolValue": flag }),
    };
    json!({ "key": name, "value": value })
}
