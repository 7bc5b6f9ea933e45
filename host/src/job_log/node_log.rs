//! The log of one operator: its level, its suppressed lines, and where its lines are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::kept_lines::KeptLines;
use super::line_memory::PROCESS_LINES;
use super::line_ring::{KEPT_LINE_BYTES_MAX, KeptLine};
use crate::access::SecretStore;
use crate::escape;
use crate::log_limit::LogLimit;
use crate::model::LogLevel;
use crate::namespace_usage::NamespaceLog;

/// The level of functions whose level is not set.
static DEFAULT_LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Marks a level that is not set at run time.
const NOT_SET: u8 = u8::MAX;

/// Sets the level of functions whose level is not set. Called once, before any job starts.
pub fn set_default_level(level: LogLevel) {
    DEFAULT_LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Returns the level of functions whose level is not set.
pub fn default_level() -> LogLevel {
    LogLevel::from_number(DEFAULT_LEVEL.load(Ordering::Relaxed))
}

/// The lines and bytes of all functions of a job, per second.
pub(super) struct JobLineLimit {
    pub(super) lines: LogLimit,
    pub(super) bytes: LogLimit,
    /// The lines of all jobs of the namespace.
    pub(super) namespace: Arc<NamespaceLog>,
}

/// The log of one operator, over all attempts.
pub struct NodeLog {
    node: String,
    lines: Arc<KeptLines>,
    limit: Option<Arc<JobLineLimit>>,
    secrets: SecretStore,
    /// The level that was set at run time, or [`NOT_SET`].
    chosen: AtomicU8,
    /// The level of the pipeline file, or else the default one.
    configured: AtomicU8,
    /// The level that applies. Functions ask for it often.
    level: AtomicU8,
    suppressed: AtomicU64,
}

impl NodeLog {
    pub(super) fn new(
        node: &str,
        lines: Arc<KeptLines>,
        limit: Option<Arc<JobLineLimit>>,
        secrets: SecretStore,
    ) -> NodeLog {
        NodeLog {
            node: node.to_owned(),
            lines,
            limit,
            secrets,
            chosen: AtomicU8::new(NOT_SET),
            configured: AtomicU8::new(default_level() as u8),
            level: AtomicU8::new(default_level() as u8),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Returns whether lines of this severity are written.
    #[inline]
    pub fn is_enabled(&self, line: LogLevel) -> bool {
        self.level().admits(line)
    }

    /// Returns the level that applies.
    #[inline]
    pub fn level(&self) -> LogLevel {
        LogLevel::from_number(self.level.load(Ordering::Relaxed))
    }

    /// Sets the level until the process ends. `None` returns to the one of the pipeline file, or else the default one.
    pub fn set_level(&self, level: Option<LogLevel>) {
        self.chosen.store(level.map_or(NOT_SET, |level| level as u8), Ordering::Relaxed);
        self.apply();
    }

    /// Returns whether the level was set at run time.
    pub fn is_level_set(&self) -> bool {
        self.chosen.load(Ordering::Relaxed) != NOT_SET
    }

    pub(super) fn configure(&self, level: Option<LogLevel>) {
        self.configured.store(level.unwrap_or_else(default_level) as u8, Ordering::Relaxed);
        self.apply();
    }

    fn apply(&self) {
        let chosen = Some(self.chosen.load(Ordering::Relaxed)).filter(|chosen| *chosen != NOT_SET);
        let level = chosen.unwrap_or_else(|| self.configured.load(Ordering::Relaxed));
        self.level.store(level, Ordering::Relaxed);
    }

    /// Returns whether the limits of the job and of its namespace admit a line of this length.
    pub fn admit(&self, bytes: usize, now_ns: u64) -> bool {
        let Some(limit) = &self.limit else { return true };
        limit.lines.take_tokens(1, now_ns)
            && limit.bytes.take_tokens(bytes as u64, now_ns)
            && limit.namespace.admit(bytes, now_ns)
    }

    /// Counts lines that were suppressed.
    pub fn note_suppressed(&self) {
        self.suppressed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of lines that were suppressed since the process started the job.
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Keeps a line, without secrets and characters that could control a terminal. The text may be longer than
    /// [`KEPT_LINE_BYTES_MAX`].
    pub fn keep(&self, line: KeptLine, text: &str) {
        self.lines.push(&self.node, KeptLine { message: shown(&self.secrets.redact(text)), ..line });
    }
}

/// Returns a text as it is kept: cut off, and with control characters other than line breaks made visible.
pub(super) fn shown(text: &str) -> Box<str> {
    let cut = &text[..text.floor_char_boundary(KEPT_LINE_BYTES_MAX)];
    let mark = if cut.len() < text.len() { "…" } else { "" };
    match escape::lines(cut) {
        // Escapes are longer than what they replace.
        escaped if escaped.len() > KEPT_LINE_BYTES_MAX => {
            format!("{}…", &escaped[..escaped.floor_char_boundary(KEPT_LINE_BYTES_MAX)]).into()
        }
        escaped => format!("{escaped}{mark}").into(),
    }
}

/// A log for functions that run outside of a job.
impl Default for NodeLog {
    fn default() -> NodeLog {
        NodeLog::new("", Arc::new(KeptLines::new(&PROCESS_LINES)), None, SecretStore::default())
    }
}
