//! The bridge between an asynchronous client and the thread of its source: tasks on a tokio runtime fill a bounded channel with batches, and
//! the source drains it.
//!
//! A position is that behind the last batch of a split, and the number of records that were taken from the batch after it. After a restore
//! the client asks its peer for the records behind that position and drops the ones that were taken.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::context::ConnectorContext;
use super::source::{Poll, SplitId};
use crate::error::{Result, internal};
use crate::model::Batch;
use crate::wakeup::Wakeup;

/// Records of one split that a client has received.
pub struct PumpedBatch<P> {
    /// The split.
    pub split: SplitId,
    /// The records, in order. At most about 1 MiB, as for [`Source::poll`].
    ///
    /// [`Source::poll`]: super::Source::poll
    pub batch: Batch,
    /// The position behind the last record.
    pub behind: P,
}

/// How far a split has been read. Durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PumpPosition<P> {
    /// The position of the client behind the last batch that was read completely.
    pub behind: P,
    /// Number of records that were read since.
    pub taken: u64,
}

/// The end of a client: `Some` once its task has ended.
type ClientEnd = Arc<Mutex<Option<Result<()>>>>;

/// The source's side.
pub struct Pump<P> {
    receiver: mpsc::Receiver<PumpedBatch<P>>,
    paused: watch::Sender<Vec<SplitId>>,
    /// Batches that were received and not read completely, with the number of records that were taken: the current one, and those of paused
    /// splits. In the order in which they were received.
    received: VecDeque<(PumpedBatch<P>, usize)>,
    positions: BTreeMap<SplitId, PumpPosition<P>>,
    /// The split of the last poll, its position before, and the number of records.
    last_poll: Option<(SplitId, PumpPosition<P>, usize)>,
    end: ClientEnd,
    task: AbortHandle,
}

/// The client's side. Clones feed the same source.
pub struct PumpSender<P> {
    sender: mpsc::Sender<PumpedBatch<P>>,
    paused: watch::Receiver<Vec<SplitId>>,
    wakeup: Wakeup,
}

impl<P> Clone for PumpSender<P> {
    fn clone(&self) -> PumpSender<P> {
        PumpSender { sender: self.sender.clone(), paused: self.paused.clone(), wakeup: self.wakeup.clone() }
    }
}

/// The source has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PumpClosed;

impl<P> PumpSender<P> {
    /// Sends a batch. Waits while its split is paused and while the channel is full, so that a client which awaits this stops asking its
    /// peer. Use a clone in a task of its own for each split, unless one connection delivers all of them.
    pub async fn send(&mut self, batch: PumpedBatch<P>) -> Result<(), PumpClosed> {
        self.paused.wait_for(|paused| !paused.contains(&batch.split)).await.map_err(|_| PumpClosed)?;
        self.sender.send(batch).await.map_err(|_| PumpClosed)?;
        self.wakeup.wake();
        Ok(())
    }
}

/// Stores how the client's task ends, and wakes the subtask.
struct ClientGuard {
    end: ClientEnd,
    wakeup: Wakeup,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.end.lock().get_or_insert_with(|| Err(internal("the client of a source has panicked")));
        self.wakeup.wake();
    }
}

impl<P: Clone + Send + 'static> Pump<P> {
    /// Starts a client. `positions` are those of the splits that are open from the beginning (see [`Pump::open_split`]), and `capacity` is the number of batches that wait
    /// to be read. The source ends when the client and all its senders have ended, and fails if the client returns an error.
    ///
    /// Fails with `internal` if the context has no runtime.
    pub fn start<F>(
        context: &ConnectorContext,
        positions: BTreeMap<SplitId, PumpPosition<P>>,
        capacity: usize,
        client: impl FnOnce(PumpSender<P>) -> F,
    ) -> Result<Pump<P>>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let runtime = context.runtime.as_ref().ok_or_else(|| internal("a client has no runtime"))?;
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let (paused, is_paused) = watch::channel(Vec::new());
        let end = ClientEnd::default();
        let guard = ClientGuard { end: end.clone(), wakeup: context.wakeup.clone() };
        let client = client(PumpSender { sender, paused: is_paused, wakeup: context.wakeup.clone() });
        let task = runtime.spawn(async move {
            let guard = guard;
            let ended = client.await;
            *guard.end.lock() = Some(ended);
        });
        let task = task.abort_handle();
        Ok(Pump { receiver, paused, received: VecDeque::new(), positions, last_poll: None, end, task })
    }

    /// Sets the position of a split that has been opened since. Call this before the client sends its first records.
    pub fn open_split(&mut self, split: SplitId, position: PumpPosition<P>) {
        self.positions.insert(split, position);
    }

    /// Returns the position of a split, or `None` if it is not open.
    pub fn position(&self, split: SplitId) -> Option<&PumpPosition<P>> {
        self.positions.get(&split)
    }

    /// Stops reading these splits. See [`Source::pause`].
    ///
    /// [`Source::pause`]: super::Source::pause
    pub fn pause(&mut self, paused: &[SplitId]) {
        self.paused.send_replace(paused.to_vec());
    }

    /// Implements [`Source::poll`].
    ///
    /// [`Source::poll`]: super::Source::poll
    pub fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        // Read first: what the client has sent before its end is in the channel.
        let end = self.end.lock().clone();
        let Some((pumped, taken)) = self.next_batch() else {
            return match end {
                None => Ok(Poll::Pending(Duration::MAX)),
                Some(_) if !self.received.is_empty() => Ok(Poll::Pending(Duration::MAX)),
                Some(Ok(())) => Ok(Poll::End),
                Some(Err(error)) => Err(error),
            };
        };
        let split = pumped.split;
        let count = records.min(pumped.batch.len() - taken);
        let Some(before) = self.positions.get(&split).cloned() else {
            return Err(internal("a client has sent records of a split that is not open"));
        };
        if taken + count == pumped.batch.len() {
            self.positions.insert(split, PumpPosition { behind: pumped.behind, taken: 0 });
            append(batch, if taken == 0 { pumped.batch } else { pumped.batch.slice(taken..taken + count) });
        } else {
            let behind = PumpPosition { behind: before.behind.clone(), taken: before.taken + count as u64 };
            self.positions.insert(split, behind);
            append(batch, pumped.batch.slice(taken..taken + count));
            self.received.push_front((pumped, taken + count));
        }
        self.last_poll = Some((split, before, count));
        Ok(Poll::Records(split))
    }

    /// Returns the next batch that may be read, and the number of records that were taken from it.
    fn next_batch(&mut self) -> Option<(PumpedBatch<P>, usize)> {
        let is_paused = |split: SplitId| self.paused.borrow().contains(&split);
        if let Some(place) = self.received.iter().position(|(batch, _)| !is_paused(batch.split)) {
            return self.received.remove(place);
        }
        loop {
            let batch = self.receiver.try_recv().ok()?;
            if is_paused(batch.split) {
                self.received.push_back((batch, 0));
            } else if !batch.batch.is_empty() {
                return Some((batch, 0));
            }
        }
    }

    /// Implements [`Source::give_back`]: the position moves back. The records themselves are not returned again.
    ///
    /// [`Source::give_back`]: super::Source::give_back
    pub fn give_back(&mut self, records: usize) {
        if let Some((split, mut before, count)) = self.last_poll.take() {
            before.taken += count.saturating_sub(records) as u64;
            self.positions.insert(split, before);
        }
    }
}

impl<P> Drop for Pump<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Appends records. A batch that the caller has just created is replaced without a copy.
fn append(batch: &mut Batch, records: Batch) {
    if batch.is_empty() {
        *batch = records;
        return;
    }
    for (value, timestamp) in records.values.iter().zip(&records.timestamps) {
        batch.push(value, *timestamp);
    }
    for (to, from) in [(&mut batch.chosen_keys, &records.chosen_keys), (&mut batch.attributes, &records.attributes)] {
        if let (Some(to), Some(from)) = (to, from) {
            from.iter().for_each(|value| to.push(value));
        }
    }
}
