//! Begins traces.

use std::sync::Arc;
use std::time::Duration;

use super::collector::Collector;
use super::exporter;
use super::span::OpenSpan;
use super::span_queue::{SpanCounts, SpanQueue};
use crate::clock::SharedClock;
use crate::error::Result;

/// Begins traces. Clones belong together.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<SpanQueue>>);

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
