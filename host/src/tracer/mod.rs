//! Traces: what the host did for a submit, a checkpoint or a restore, as trees of spans that are exported to an OpenTelemetry collector.
//!
//! - `span` is one step of a trace, open or ended.
//! - `span_queue` holds ended spans until they are exported. It is bounded and drops the oldest ones.
//! - `exporter` sends them to the collector, on a thread of its own.
//! - `otlp_json` writes them as OTLP/JSON.
//! - `collector` is the address of the collector.
//!
//! Invariant: a traced step never waits for the collector. Without a collector a span is nothing but an empty value.

mod collector;
mod exporter;
mod otlp_json;
mod span;
mod span_queue;
#[cfg(test)]
mod tracer_tests;

use std::sync::Arc;
use std::time::Duration;

pub use collector::Collector;
pub use span::{EndedSpan, OpenSpan, SpanValue};
use span_queue::SpanQueue;

use crate::clock::SharedClock;
use crate::error::Result;

/// Begins traces. Clones belong together.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<SpanQueue>>);

/// Numbers of exported and dropped spans of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that the collector has accepted.
    pub exported: u64,
    /// Spans that were dropped because the collector did not take them in time.
    pub dropped: u64,
}

impl Tracer {
    /// Starts to export traces. Error: `internal` if the thread cannot be started.
    pub fn start(collector: Collector, clock: SharedClock) -> Result<Tracer> {
        let queue = Arc::new(SpanQueue::new(clock));
        exporter::start(queue.clone(), collector)?;
        Ok(Tracer(Some(queue)))
    }

    /// Begins a trace with its first span.
    pub fn begin(&self, name: &'static str) -> OpenSpan {
        match &self.0 {
            Some(queue) => OpenSpan::root(queue, name),
            None => OpenSpan::default(),
        }
    }

    /// Returns whether traces are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the numbers of exported and dropped spans.
    pub fn counts(&self) -> SpanCounts {
        self.0.as_ref().map(|queue| queue.counts()).unwrap_or_default()
    }

    /// Waits until all spans are exported or dropped, but not longer than `time`. Then no more spans are exported.
    pub fn finish(&self, time: Duration) {
        if let Some(queue) = &self.0 {
            queue.finish(time);
        }
    }
}
