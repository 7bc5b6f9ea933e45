//! Helpers for the tests of connectors.

use std::path::Path;
use std::sync::Arc;

use super::context::ConnectorContext;
use super::source::{Poll, Source};
use crate::access::AccessPolicy;
use crate::clock::ManualClock;
use crate::model::{Batch, Interrupt};
use crate::wakeup::Wakeup;

/// Returns the context of the only subtask of node `delays` of job `0123456789abcdef`.
pub(super) fn context(base_dir: &Path) -> ConnectorContext {
    ConnectorContext {
        job_id: "0123456789abcdef".to_owned(),
        node: "delays".to_owned(),
        subtask: 0,
        parallelism: 1,
        clock: Arc::new(ManualClock::default()),
        base_dir: base_dir.to_owned(),
        policy: AccessPolicy::default(),
        seed: 1,
        interrupt: Interrupt::default(),
        wakeup: Wakeup::default(),
    }
}

/// Returns the same context for another subtask.
pub(super) fn subtask_of(context: ConnectorContext, subtask: u32, parallelism: u32) -> ConnectorContext {
    ConnectorContext { subtask, parallelism, ..context }
}

/// Reads a source to its end, in polls of 3 records.
pub(super) fn drain(source: &mut dyn Source) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let mut batch = Batch::default();
        match source.poll(&mut batch, 3).unwrap() {
            Poll::Records => assert!((1..=3).contains(&batch.len()) && batch.timestamps.len() == batch.len()),
            Poll::Pending(_) => assert!(batch.is_empty()),
            Poll::End => return all,
        }
        all.extend(batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
    }
}
