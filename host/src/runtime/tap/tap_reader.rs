//! The reader of a tap.

use std::sync::Arc;

use tokio::sync::mpsc::Receiver;

use super::node_tap::NodeTap;
use super::open_tap::{OpenTap, TapCounts, TapSettings};
use super::tapped_record::TappedRecord;

/// The reader of a tap, which is open as long as this exists.
pub struct TapReader {
    node: Arc<NodeTap>,
    tap: Arc<OpenTap>,
    queue: Receiver<TappedRecord>,
}

impl TapReader {
    /// Opens a tap of a node.
    pub fn open(node: Arc<NodeTap>, settings: TapSettings) -> TapReader {
        let (tap, queue) = OpenTap::new(settings);
        node.add(tap.clone());
        TapReader { node, tap, queue }
    }

    /// Waits for the next record. Can be dropped while it waits, without a loss.
    pub async fn next(&mut self) -> TappedRecord {
        match self.queue.recv().await {
            Some(record) => record,
            // The tap has a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Returns the next record if it is in the queue.
    pub fn try_next(&mut self) -> Option<TappedRecord> {
        self.queue.try_recv().ok()
    }

    /// Returns what the tap has seen until now.
    pub fn counts(&self) -> TapCounts {
        self.tap.counts()
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        self.node.remove(&self.tap);
    }
}
