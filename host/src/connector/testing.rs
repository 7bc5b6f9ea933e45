//! Helpers for the tests of connectors.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::context::ConnectorContext;
use super::health::{HealthBoard, HealthReporter};
use super::sink::{OutputFiles, Prepared, Recovered, SinkOutput};
use super::sink_progress::SinkProgress;
use super::source::{Poll, Source};
use crate::access::{AccessPolicy, SecretStore};
use crate::clock::{ManualClock, SharedClock, SystemClock};
use crate::error::{Result, checkpoint_corrupt};
use crate::model::{Batch, Interrupt};
use crate::pipeline::{NodeKind, PipelineSpec, SourceConfig};
use crate::wakeup::Wakeup;

/// Returns the context of the only subtask of node `delays` of job `0123456789abcdef`.
pub(crate) fn context(base_dir: &Path) -> ConnectorContext {
    let clock: SharedClock = Arc::new(ManualClock::default());
    ConnectorContext {
        health: HealthReporter::new(
            &HealthBoard::default(),
            ("job", "delays"),
            Some(0),
            &clock,
            &SecretStore::default(),
        ),
        job_id: "0123456789abcdef".to_owned(),
        node: "delays".to_owned(),
        subtask: 0,
        parallelism: 1,
        clock,
        base_dir: base_dir.to_owned(),
        working_dir: base_dir.join("working"),
        progress: SinkProgress::default(),
        policy: AccessPolicy::default(),
        seed: 1,
        interrupt: Interrupt::default(),
        runtime: None,
        ingest: None,
        wakeup: Wakeup::default(),
    }
}

/// Returns the connector of a source whose settings are the lines of `settings`.
pub(crate) fn source_config(settings: &str) -> SourceConfig {
    let text =
        format!("name = \"n\"\n[source.in]\n{settings}\n[sink.out]\ninput = \"in\"\nconnector = \"blackhole\"\n");
    let pipeline = PipelineSpec::parse(&text, "pipeline.toml").unwrap();
    match &pipeline.nodes[0].kind {
        NodeKind::Source(source) => source.connector.clone(),
        _ => panic!("the first node is the source"),
    }
}

/// Returns a context with a board that shows its health.
pub(super) fn observed(context: ConnectorContext) -> (ConnectorContext, HealthBoard) {
    let board = HealthBoard::default();
    let name = (context.job_id.as_str(), context.node.as_str());
    let health = HealthReporter::new(&board, name, Some(context.subtask), &context.clock, &SecretStore::default());
    (ConnectorContext { health, ..context }, board)
}

/// Calls `attempt` until it returns a value, for a minute at most.
pub(super) fn wait_until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::shared();
    let deadline_ns = clock.monotonic_ns() + 60_000_000_000;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(clock.monotonic_ns() < deadline_ns, "in vain for a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
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
            Poll::Records(_) => assert!((1..=3).contains(&batch.len()) && batch.timestamps.len() == batch.len()),
            Poll::Pending(_) => assert!(batch.is_empty()),
            Poll::End => return all,
        }
        all.extend(batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
    }
}

/// Finishes prepared output as an upload does. Returns the committable.
pub(super) fn finished(prepared: Prepared) -> Option<Vec<u8>> {
    if let Some(finish) = prepared.finish {
        finish().unwrap();
    }
    prepared.committable
}

/// Returns the output of a checkpoint of the job of [`context`], without files.
pub(super) fn output(checkpoint: u64, committables: &[Vec<u8>]) -> SinkOutput<'static> {
    SinkOutput { job_id: "0123456789abcdef", checkpoint, committables: committables.to_vec(), files: &NoTestFiles }
}

/// The result of a recovery that misses nothing.
pub(super) fn no_missing() -> Recovered {
    Recovered::Done { missing: Vec::new() }
}

struct NoTestFiles;

impl OutputFiles for NoTestFiles {
    fn open(&self, name: &str) -> Result<File> {
        Err(checkpoint_corrupt(format!("there is no file `{name}`")))
    }
}
