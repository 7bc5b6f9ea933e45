//! The replays of a job. The job adds them; the subtasks look at them between two batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The letters of one replay.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplayOrder {
    /// Number of the replay, unique within the job and the jobs that it started from.
    pub id: u64,
    /// Id of the operator.
    pub operator: String,
    /// The files of letters, in order.
    pub parts: Vec<PathBuf>,
    /// Number of letters in all parts.
    pub letters: u64,
}

/// The replays of one attempt, shared by the job and the subtasks.
#[derive(Clone, Default)]
pub struct ReplayBoard(Arc<BoardState>);

#[derive(Default)]
struct BoardState {
    /// Number of changes.
    version: AtomicU64,
    orders: Mutex<Vec<Arc<ReplayOrder>>>,
}

impl ReplayBoard {
    /// Adds a replay. The subtasks must be woken afterwards. Does nothing if the replay is known.
    pub fn add(&self, order: ReplayOrder) {
        let mut orders = self.0.orders.lock();
        if orders.iter().all(|known| known.id != order.id) {
            orders.push(Arc::new(order));
            self.0.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns a number that changes when replays are added.
    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    /// Returns the replays of an operator, oldest first.
    pub(super) fn orders_of(&self, operator: &str) -> Vec<Arc<ReplayOrder>> {
        self.0.orders.lock().iter().filter(|order| order.operator == operator).cloned().collect()
    }
}
