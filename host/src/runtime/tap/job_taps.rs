//! The taps of a job, over all its attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::node_tap::NodeTap;

/// The taps of each node of a job, by its id.
#[derive(Default)]
pub struct JobTaps {
    nodes: Mutex<BTreeMap<String, Arc<NodeTap>>>,
}

impl JobTaps {
    /// Returns the taps of a node. All its subtasks and all attempts share them.
    pub fn node(&self, id: &str) -> Arc<NodeTap> {
        self.nodes.lock().entry(id.to_owned()).or_default().clone()
    }
}
