//! The open taps of one node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use super::open_tap::{OpenTap, TapSide};
use super::tapped_record::RecordRoute;
use crate::model::Batch;

/// The open taps of one node.
#[derive(Default)]
pub struct NodeTap {
    /// The sides that have an open tap, one bit each. Subtasks read it for every batch.
    open_sides: AtomicU8,
    taps: Mutex<Vec<Arc<OpenTap>>>,
    /// The names of the outputs of the node's function, by their index.
    outputs: Mutex<Vec<String>>,
}

impl NodeTap {
    pub(super) fn add(&self, tap: Arc<OpenTap>) {
        let mut taps = self.taps.lock();
        taps.push(tap);
        self.note_sides(&taps);
    }

    /// Returns the names of the outputs of the node's function. Empty before its first attempt, and for other nodes.
    pub fn outputs(&self) -> Vec<String> {
        self.outputs.lock().clone()
    }

    /// Sets the names of the outputs of the node's function.
    pub(crate) fn set_outputs(&self, names: Vec<String>) {
        *self.outputs.lock() = names;
    }

    pub(super) fn remove(&self, tap: &Arc<OpenTap>) {
        let mut taps = self.taps.lock();
        taps.retain(|other| !Arc::ptr_eq(other, tap));
        self.note_sides(&taps);
    }

    fn note_sides(&self, taps: &[Arc<OpenTap>]) {
        let sides = taps.iter().fold(0, |sides, tap| sides | tap.settings.side.bit());
        self.open_sides.store(sides, Ordering::Relaxed);
    }

    /// Returns whether anyone looks at this side.
    #[inline]
    pub(crate) fn is_open(&self, side: TapSide) -> bool {
        self.open_sides.load(Ordering::Relaxed) & side.bit() != 0
    }

    /// Shows a batch to the open taps of a side. Never waits.
    #[cold]
    pub(crate) fn offer(&self, side: TapSide, route: RecordRoute, batch: &Batch, now_ns: u64) {
        let taps = self.taps.lock();
        taps.iter().filter(|tap| tap.settings.side == side).for_each(|tap| tap.offer(route, batch, now_ns));
    }
}
