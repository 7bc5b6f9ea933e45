//! The newest lines of all operators of a job, read in pages.
//!
//! One lock orders the lines of all subtasks, so that a reader that continues behind a line misses none. It is held for a page of
//! bounded size at most. The rate of lines is limited before, so that subtasks hardly ever wait for each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::line_memory::LineMemory;
use super::line_ring::{KeptLine, LineRing};
use crate::model::LogLevel;

/// Largest size of the texts of a page, in bytes.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Which lines a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct LineQuery<'a> {
    /// Only lines of this operator.
    pub node: Option<&'a str>,
    /// Only lines that this level admits.
    pub level: LogLevel,
    /// Only lines behind this one, oldest first. `None` asks for the newest lines.
    pub after: Option<u64>,
    /// Largest number of lines.
    pub limit: usize,
}

/// Lines of a job, oldest first.
#[derive(Debug, Default)]
pub struct LinePage {
    /// The lines with their operators. Lines about the whole job have an empty one.
    pub lines: Vec<(Arc<str>, KeptLine)>,
    /// Where the next page begins.
    pub next: u64,
    /// Whether lines behind the requested one are not kept any more.
    pub has_gap: bool,
}

/// The newest lines of all operators of a job.
pub struct KeptLines {
    memory: &'static LineMemory,
    rings: Mutex<LineRings>,
}

#[derive(Default)]
struct LineRings {
    /// Number of the newest line.
    newest: u64,
    by_node: BTreeMap<Arc<str>, LineRing>,
}

impl KeptLines {
    pub fn new(memory: &'static LineMemory) -> KeptLines {
        KeptLines { memory, rings: Mutex::default() }
    }

    /// Keeps a line of an operator, and gives it its number.
    pub fn push(&self, node: &str, mut line: KeptLine) {
        let mut rings = self.rings.lock();
        // Numbers grow with time, so that they go on where an earlier process stopped.
        let at_us = u64::try_from(line.at_ms).unwrap_or(0).saturating_mul(1000);
        rings.newest = at_us.max(rings.newest + 1);
        line.number = rings.newest;
        if let Some(ring) = rings.by_node.get_mut(node) {
            return ring.push(line, self.memory);
        }
        let mut ring = LineRing::default();
        ring.push(line, self.memory);
        rings.by_node.insert(node.into(), ring);
    }

    /// Returns a page of lines.
    pub fn page(&self, query: &LineQuery<'_>) -> LinePage {
        let rings = self.rings.lock();
        let wanted = rings.by_node.iter().filter(|(node, _)| query.node.is_none_or(|wanted| wanted == &***node));
        let is_admitted = |line: &&KeptLine| query.level.admits(line.level);
        let (mut found, mut has_gap) = (Vec::new(), false);
        for (node, ring) in wanted {
            let with_node = |line| (node, line);
            match query.after {
                Some(after) => {
                    has_gap |= ring.has_dropped_behind(after);
                    found.extend(ring.behind(after).filter(is_admitted).take(query.limit).map(with_node));
                }
                None => found.extend(ring.newest_first().filter(is_admitted).take(query.limit).map(with_node)),
            }
        }
        found.sort_unstable_by_key(|(_, line)| line.number);
        if query.after.is_none() {
            found.reverse();
        }
        let (found_lines, mut bytes) = (found.len(), 0);
        let fits = |(_, line): &(&Arc<str>, &KeptLine)| {
            bytes += line.bytes();
            bytes <= PAGE_BYTES_MAX
        };
        let page = found.into_iter().take(query.limit).take_while(fits);
        let mut lines: Vec<(Arc<str>, KeptLine)> = page.map(|(node, line)| (node.clone(), line.clone())).collect();
        let next = match query.after {
            // More lines may follow.
            Some(_) if lines.len() < found_lines || lines.len() == query.limit => {
                lines.last().map_or(query.after.unwrap_or(0), |(_, line)| line.number)
            }
            Some(after) => rings.newest.max(after),
            None => rings.newest,
        };
        if query.after.is_none() {
            lines.reverse();
        }
        LinePage { lines, next, has_gap }
    }

    /// Drops the oldest lines of each operator until at most this many lines and bytes are left.
    pub fn truncate(&self, lines_max: usize, bytes_max: usize) {
        let mut rings = self.rings.lock();
        let bytes_max = bytes_max / rings.by_node.len().max(1);
        rings.by_node.values_mut().for_each(|ring| ring.truncate(lines_max, bytes_max, self.memory));
    }
}

impl Drop for KeptLines {
    fn drop(&mut self) {
        self.truncate(0, 0);
    }
}
