//! Readers of a job's checkpoints. A checkpoint that is being read is not removed, and a reader does not delay the job.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::state_reader::StateReader;

/// The readers of one job's checkpoints.
#[derive(Default)]
pub struct CheckpointReaders(Mutex<Vec<CheckpointSpan>>);

/// A range of checkpoint ids that a reader needs: the checkpoint that it has opened, or all candidates while it chooses
/// one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CheckpointSpan {
    first: u64,
    last: u64,
}

/// The state in a checkpoint of a job. The checkpoint is not removed until this is dropped.
pub struct JobState {
    state: StateReader,
    _guard: ReaderGuard,
}

/// Registers a span until it is dropped.
struct ReaderGuard {
    readers: Arc<CheckpointReaders>,
    span: CheckpointSpan,
}

impl CheckpointReaders {
    /// Opens the checkpoint that `choose` returns with its id. `newest` is the id of the newest complete checkpoint
    /// before the search; neither it nor a newer checkpoint is removed during the search.
    pub fn open(
        self: &Arc<Self>,
        newest: u64,
        choose: impl FnOnce() -> Result<(u64, StateReader)>,
    ) -> Result<JobState> {
        let mut guard = ReaderGuard::new(self, CheckpointSpan { first: newest, last: u64::MAX });
        let (checkpoint, state) = choose()?;
        guard.narrow(CheckpointSpan { first: checkpoint, last: checkpoint });
        Ok(JobState { state, _guard: guard })
    }

    /// Returns the ids up to `newest` that must not be removed. `newest` itself is never removed.
    pub fn spared(&self, newest: u64) -> Vec<u64> {
        let spans = self.0.lock();
        spans.iter().flat_map(|span| span.first..=span.last.min(newest)).collect()
    }
}

impl ReaderGuard {
    fn new(readers: &Arc<CheckpointReaders>, span: CheckpointSpan) -> ReaderGuard {
        readers.0.lock().push(span);
        ReaderGuard { readers: readers.clone(), span }
    }

    fn narrow(&mut self, span: CheckpointSpan) {
        let mut spans = self.readers.0.lock();
        if let Some(own) = spans.iter_mut().find(|other| **other == self.span) {
            *own = span;
            self.span = span;
        }
    }
}

impl Deref for JobState {
    type Target = StateReader;

    fn deref(&self) -> &StateReader {
        &self.state
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        let mut spans = self.readers.0.lock();
        if let Some(index) = spans.iter().position(|span| *span == self.span) {
            spans.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;

    #[test]
    fn old_checkpoints_can_be_removed_while_readers_choose_and_read() {
        let readers = Arc::<CheckpointReaders>::default();
        let mut first = ReaderGuard::new(&readers, CheckpointSpan { first: 7, last: u64::MAX });
        let opened = readers.open(8, || {
            assert_eq!(readers.spared(9), [7, 8, 9, 8, 9], "all candidates, and nothing older");
            Err(error::internal("none"))
        });
        assert!(opened.is_err());
        first.narrow(CheckpointSpan { first: 8, last: 8 });
        assert_eq!(readers.spared(20), [8]);
        drop(first);
        assert!(readers.spared(20).is_empty());
    }
}
