//! One step of a trace while it is in progress.

use std::sync::Arc;

use parking_lot::Mutex;

use super::ended_span::{EndedSpan, SpanValue};
use super::span_queue::SpanQueue;
use crate::clock;
use crate::error::Result;

/// A step in progress. It ends when it is dropped. Empty if traces are not exported.
#[derive(Default)]
pub struct OpenSpan(Option<SpanInProgress>);

struct SpanInProgress {
    queue: Arc<SpanQueue>,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    /// When it began, by the monotonic clock.
    begin_ns: u64,
    end: Mutex<SpanEnd>,
}

#[derive(Default)]
struct SpanEnd {
    /// When it ended, if that is not now.
    at_ns: Option<u64>,
    attributes: Vec<(&'static str, SpanValue)>,
    failure: Option<String>,
}

impl OpenSpan {
    pub(super) fn root(queue: &Arc<SpanQueue>, name: &'static str) -> OpenSpan {
        let trace = u128::from(clock::random_u64()) << 64 | u128::from(clock::random_u64());
        OpenSpan::new(queue, trace, None, name, queue.clock.monotonic_ns())
    }

    fn new(queue: &Arc<SpanQueue>, trace: u128, parent: Option<u64>, name: &'static str, begin_ns: u64) -> OpenSpan {
        // Zero is not a valid id.
        let (trace, id) = (trace.max(1), clock::random_u64().max(1));
        let (queue, end) = (queue.clone(), Mutex::default());
        OpenSpan(Some(SpanInProgress { queue, trace, id, parent, name, begin_ns, end }))
    }

    /// Begins a step that is part of this one.
    pub fn child(&self, name: &'static str) -> OpenSpan {
        let Some(span) = &self.0 else { return OpenSpan::default() };
        OpenSpan::new(&span.queue, span.trace, Some(span.id), name, span.queue.clock.monotonic_ns())
    }

    /// Does a step that is part of this one. An error is its failure.
    pub fn within<T>(&self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let span = self.child(name);
        span.note(step())
    }

    /// Notes the failure if a result is an error.
    pub fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.fail(error.code);
        }
        result
    }

    /// Notes that the step has failed with this code. Messages are not exported, because they may contain data.
    pub fn fail(&self, code: &str) {
        if let Some(span) = &self.0 {
            span.end.lock().failure = Some(code.to_owned());
        }
    }

    /// Adds an attribute.
    pub fn set(&self, name: &'static str, value: impl Into<SpanValue>) {
        if let Some(span) = &self.0 {
            span.end.lock().attributes.push((name, value.into()));
        }
    }

    /// Adds a text as an attribute.
    pub fn set_text(&self, name: &'static str, text: &str) {
        if self.0.is_some() {
            self.set(name, SpanValue::Text(text.to_owned()));
        }
    }

    /// Sets when a step that is over began and ended, by the monotonic clock.
    #[must_use]
    pub fn between(mut self, begin_ns: u64, end_ns: u64) -> OpenSpan {
        if let Some(span) = &mut self.0 {
            span.begin_ns = begin_ns;
            span.end.get_mut().at_ns = Some(end_ns.max(begin_ns));
        }
        self
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(SpanInProgress { queue, trace, id, parent, name, begin_ns, end }) = self.0.take() else { return };
        let SpanEnd { at_ns, attributes, failure } = end.into_inner();
        let now_ns = queue.clock.monotonic_ns();
        let now_unix_ns = u64::try_from(queue.clock.wall_ms()).unwrap_or(0).saturating_mul(1_000_000);
        let unix_ns = |at_ns: u64| now_unix_ns.saturating_sub(now_ns.saturating_sub(at_ns));
        let (begin_ns, end_ns) = (unix_ns(begin_ns), unix_ns(at_ns.unwrap_or(now_ns)));
        queue.push(EndedSpan { trace, id, parent, name, begin_ns, end_ns, attributes, failure });
    }
}
