//! The publications of one attempt. Each sink publishes on a thread of its own, which exists only while it has something to publish.
//!
//! A checkpoint contains everything that its sinks have prepared and not published. So a thread always takes the newest one, and the
//! earlier ones are published with it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;

use super::committers::SinkCommitters;
use super::output_reader::PublishableCheckpoint;
use super::prepared_output::{committables, prepared_bytes};
use crate::checkpoint::CheckpointStorage;
use crate::error::{self, Result};
use crate::job::message::AttemptSender;
use crate::model::Interrupt;

/// Publishes complete checkpoints.
pub struct Publications {
    committers: Arc<SinkCommitters>,
    storage: CheckpointStorage,
    /// Reports the end of each publication.
    sender: AttemptSender,
    /// Ends publications that wait for a peer. The committers were opened with it.
    interrupt: Interrupt,
    queues: BTreeMap<String, SinkQueue>,
}

/// The publications of one sink.
#[derive(Default)]
struct SinkQueue {
    next: Arc<Mutex<NextPublication>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct NextPublication {
    newest: Option<PublishableCheckpoint>,
    is_running: bool,
}

impl Publications {
    /// Creates the publications of an attempt. `interrupt` is that of the committers.
    pub fn new(
        committers: Arc<SinkCommitters>,
        storage: CheckpointStorage,
        sender: AttemptSender,
        interrupt: Interrupt,
    ) -> Publications {
        Publications { committers, storage, sender, interrupt, queues: BTreeMap::new() }
    }

    /// Begins to publish a complete checkpoint. Returns the sinks that have something to publish; each sends a message when it is done.
    pub fn begin(&mut self, checkpoint: &PublishableCheckpoint) -> Result<BTreeSet<String>> {
        let sinks: Vec<String> = committables(&checkpoint.metadata).into_keys().map(str::to_owned).collect();
        let sinks: BTreeSet<String> = sinks.into_iter().filter(|sink| self.committers.has(sink)).collect();
        for sink in &sinks {
            self.begin_sink(sink, checkpoint)?;
        }
        Ok(sinks)
    }

    fn begin_sink(&mut self, sink: &str, checkpoint: &PublishableCheckpoint) -> Result<()> {
        let queue = self.queues.entry(sink.to_owned()).or_default();
        let mut next = queue.next.lock();
        let id = checkpoint.metadata.checkpoint_id;
        if next.newest.as_ref().is_none_or(|newest| newest.metadata.checkpoint_id < id) {
            next.newest = Some(checkpoint.clone());
            self.committers.set_backlog(sink, prepared_bytes(&checkpoint.metadata, sink));
        }
        if std::mem::replace(&mut next.is_running, true) {
            return Ok(());
        }
        drop(next);
        let worker = PublishWorker {
            sink: sink.to_owned(),
            next: queue.next.clone(),
            committers: self.committers.clone(),
            storage: self.storage.clone(),
            sender: self.sender.clone(),
        };
        let thread = thread::Builder::new().name(format!("publish {sink}")).spawn(move || worker.run());
        let thread = thread.map_err(|cause| error::internal(format!("cannot start a thread for a sink: {cause}")))?;
        // The thread before it, if any, has nothing left to do.
        queue.thread = Some(thread);
        Ok(())
    }

    /// Ends the publications that wait for a peer, and waits for the threads. What is not published is published by the next attempt.
    pub fn end(&mut self) {
        self.interrupt.set();
        for queue in self.queues.values_mut() {
            if let Some(thread) = queue.thread.take() {
                // The thread reports a panic of its own.
                let _ = thread.join();
            }
        }
    }
}

/// What the thread of a sink works with.
struct PublishWorker {
    sink: String,
    next: Arc<Mutex<NextPublication>>,
    committers: Arc<SinkCommitters>,
    storage: CheckpointStorage,
    sender: AttemptSender,
}

impl PublishWorker {
    /// Publishes until there is nothing left.
    fn run(self) {
        loop {
            let mut next = self.next.lock();
            let Some(checkpoint) = next.newest.take() else {
                next.is_running = false;
                return;
            };
            drop(next);
            let commit = || self.committers.commit_sink(&self.sink, &checkpoint, &self.storage);
            let published = std::panic::catch_unwind(AssertUnwindSafe(commit)).unwrap_or_else(|_| {
                Err(error::internal("a publication panicked; the log has the location of the panic"))
            });
            let next = self.next.lock();
            if next.newest.is_none() && published.is_ok() {
                self.committers.set_backlog(&self.sink, 0);
            }
            drop(next);
            self.sender.published(&self.sink, checkpoint.metadata.checkpoint_id, published);
        }
    }
}
