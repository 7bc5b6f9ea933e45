//! Traces: what the host did for a submit, a checkpoint or a restore, as trees of spans that are exported to an OpenTelemetry collector.
//!
//! - `handle` begins traces.
//! - `span` is one step of a trace in progress, `ended_span` one that has ended.
//! - `span_queue` holds ended spans until they are exported. It is bounded and drops the oldest ones.
//! - `exporter` sends them to the collector, on a thread of its own.
//! - `otlp_json` writes them as OTLP/JSON.
//! - `collector` is the address of the collector.
//!
//! Invariant: a traced step never waits for the collector. Without a collector a span is nothing but an empty value.

mod collector;
mod ended_span;
mod exporter;
mod handle;
mod otlp_json;
mod span;
mod span_queue;
#[cfg(test)]
mod tracer_tests;

pub use collector::Collector;
pub use ended_span::{EndedSpan, SpanValue};
pub use handle::Tracer;
pub use span::OpenSpan;
pub use span_queue::SpanCounts;
