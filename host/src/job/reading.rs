//! Who reads a job's checkpoints: one that is being read is not removed, and no reader holds the job or another reader up.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::state_reader::StateReader;

/// The readers of one job's checkpoints.
#[derive(Default)]
pub(super) struct Readers(Mutex<Vec<Span>>);

/// Ids of checkpoints that a reader needs: one that it has opened, or while it chooses all from the newest on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
}

/// The state in a checkpoint, which stays until this is dropped.
pub struct JobState {
    images: StateReader,
    _reader: Reader,
}

struct Reader {
    readers: Arc<Readers>,
    span: Span,
}

impl Readers {
    /// Opens the checkpoint that `choose` finds, the newest. It stays, although old ones may be removed meanwhile: `newest`
    /// is the newest complete one when the search begins, and nothing from there on is removed.
    pub(super) fn open(
        self: &Arc<Self>,
        newest: u64,
        choose: impl FnOnce() -> Result<(u64, StateReader)>,
    ) -> Result<JobState> {
        let mut reader = Reader::new(self, Span { first: newest, last: u64::MAX });
        let (checkpoint, images) = choose()?;
        reader.narrow(Span { first: checkpoint, last: checkpoint });
        Ok(JobState { images, _reader: reader })
    }

    /// The checkpoints up to `newest`, which is never removed, that must stay.
    pub(super) fn spared(&self, newest: u64) -> Vec<u64> {
        let spans = self.0.lock();
        spans.iter().flat_map(|span| span.first..=span.last.min(newest)).collect()
    }
}

impl Reader {
    fn new(readers: &Arc<Readers>, span: Span) -> Reader {
        readers.0.lock().push(span);
        Reader { readers: readers.clone(), span }
    }

    fn narrow(&mut self, span: Span) {
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
        &self.images
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut spans = self.readers.0.lock();
        if let Some(place) = spans.iter().position(|span| *span == self.span) {
            spans.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;

    #[test]
    fn old_checkpoints_are_removed_while_readers_choose_and_read() {
        let readers = Arc::<Readers>::default();
        let mut first = Reader::new(&readers, Span { first: 7, last: u64::MAX });
        let seen = readers.open(8, || {
            assert_eq!(readers.spared(9), [7, 8, 9, 8, 9], "whatever may be chosen, and nothing older");
            Err(error::internal("none"))
        });
        assert!(seen.is_err());
        first.narrow(Span { first: 8, last: 8 });
        assert_eq!(readers.spared(20), [8]);
        drop(first);
        assert!(readers.spared(20).is_empty());
    }
}
