//! The log of a job, with its operators.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::kept_lines::{KeptLines, LinePage, LineQuery};
use super::line_memory::{LineMemory, PROCESS_LINES};
use super::line_ring::KeptLine;
use super::node_log::{JobLineLimit, NodeLog, shown};
use crate::access::SecretStore;
use crate::log_limit::LogLimit;
use crate::model::LogLevel;
use crate::namespace_usage::NamespaceLog;

/// The functions of a job may write this many seconds' worth of lines at once.
const BURST_SECONDS: u64 = 10;

/// How many lines and bytes the functions of a job may write per second, all together.
#[derive(Clone, Copy, Debug)]
pub struct LineRate {
    /// Lines per second.
    pub lines: u64,
    /// Bytes per second.
    pub bytes: u64,
}

/// The log of a job, over all its attempts. It is as old as the process at most.
pub struct JobLog {
    lines: Arc<KeptLines>,
    limit: OnceLock<Arc<JobLineLimit>>,
    namespace: Arc<NamespaceLog>,
    nodes: Mutex<BTreeMap<String, Arc<NodeLog>>>,
}

impl JobLog {
    pub(super) fn with_memory(memory: &'static LineMemory) -> JobLog {
        let (lines, namespace) = (Arc::new(KeptLines::new(memory)), Arc::default());
        JobLog { lines, limit: OnceLock::new(), namespace, nodes: Mutex::default() }
    }

    /// Returns the log of a job whose lines count for a namespace.
    pub fn of_namespace(namespace: Arc<NamespaceLog>) -> JobLog {
        JobLog { namespace, ..JobLog::default() }
    }

    /// Returns the log of an operator for an attempt. `level` is the one of the pipeline file. The first `rate` of the job applies.
    pub fn open_node(
        &self,
        node: &str,
        level: Option<LogLevel>,
        rate: LineRate,
        secrets: &SecretStore,
    ) -> Arc<NodeLog> {
        let limit = self.limit.get_or_init(|| {
            let limit = |per_second: u64| LogLimit::new(per_second.saturating_mul(BURST_SECONDS), per_second);
            let namespace = self.namespace.clone();
            Arc::new(JobLineLimit { lines: limit(rate.lines), bytes: limit(rate.bytes), namespace })
        });
        let mut nodes = self.nodes.lock();
        let new = || Arc::new(NodeLog::new(node, self.lines.clone(), Some(limit.clone()), secrets.clone()));
        let log = nodes.entry(node.to_owned()).or_insert_with(new).clone();
        log.configure(level);
        log
    }

    /// Returns the log of an operator, if an attempt has opened it.
    pub fn node(&self, node: &str) -> Option<Arc<NodeLog>> {
        self.nodes.lock().get(node).cloned()
    }

    /// Keeps a line of the host about the job, or about one of its nodes. The text contains no secrets.
    pub fn note(&self, at_ms: i64, level: LogLevel, node: Option<&str>, text: &str) {
        let line = KeptLine { at_ms, level, message: shown(text), ..KeptLine::default() };
        self.lines.push(node.unwrap_or_default(), line);
    }

    /// Returns a page of the kept lines.
    pub fn page(&self, query: &LineQuery<'_>) -> LinePage {
        self.lines.page(query)
    }

    /// Drops the oldest lines of each operator until at most this many lines, and bytes of all operators together, are left.
    pub(super) fn truncate(&self, lines_max: usize, bytes_max: usize) {
        self.lines.truncate(lines_max, bytes_max);
    }
}

impl Default for JobLog {
    fn default() -> JobLog {
        JobLog::with_memory(&PROCESS_LINES)
    }
}
