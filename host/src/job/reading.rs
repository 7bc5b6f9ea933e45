//! Who reads a job's checkpoints: one that is being read is not removed, and no reader holds the job up.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::inspect::StateImages;

/// The checkpoints of one job that are being read, by id.
#[derive(Default)]
pub(super) struct Readers(Mutex<Vec<u64>>);

/// The state in a checkpoint, which stays until this is dropped.
pub struct JobState {
    images: StateImages,
    _reader: Reader,
}

struct Reader {
    readers: Arc<Readers>,
    checkpoint: u64,
}

impl Readers {
    /// Opens the checkpoint that `choose` finds. Nothing is removed between its finding and its being held.
    pub(super) fn open(self: &Arc<Self>, choose: impl FnOnce() -> Result<(u64, StateImages)>) -> Result<JobState> {
        let mut held = self.0.lock();
        let (checkpoint, images) = choose()?;
        held.push(checkpoint);
        Ok(JobState { images, _reader: Reader { readers: self.clone(), checkpoint } })
    }

    /// Removes old checkpoints, apart from those that it is given. Not now where somebody is just choosing one: the next
    /// checkpoint does it, and the job does not wait.
    pub(super) fn retire(&self, remove: impl FnOnce(&[u64])) {
        if let Some(held) = self.0.try_lock() {
            remove(&held);
        }
    }
}

impl Deref for JobState {
    type Target = StateImages;

    fn deref(&self) -> &StateImages {
        &self.images
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut held = self.readers.0.lock();
        if let Some(place) = held.iter().position(|checkpoint| *checkpoint == self.checkpoint) {
            held.swap_remove(place);
        }
    }
}
