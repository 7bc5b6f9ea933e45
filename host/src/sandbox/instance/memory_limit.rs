//! The limit on a guest's memory: `limits.memory` of the operator. It applies to all memories of an instance together.
//!
//! wasmtime calls it before a linear memory or a table grows.

use wasmtime::ResourceLimiter;

use crate::sandbox::engine::TABLE_ELEMENTS_MAX;

/// Limits the memories and the tables of one instance.
pub(in crate::sandbox) struct MemoryLimit {
    bytes_max: usize,
    /// Size of all memories.
    bytes: usize,
    /// By how much the latest growth enlarged a memory.
    latest_growth: usize,
    /// Whether memory was refused since the last [`MemoryLimit::take_refused`].
    refused: bool,
}

impl MemoryLimit {
    /// Creates a limit of `bytes_max` bytes.
    pub(in crate::sandbox) fn new(bytes_max: usize) -> MemoryLimit {
        MemoryLimit { bytes_max, bytes: 0, latest_growth: 0, refused: false }
    }

    /// Returns whether memory was refused since the last call.
    pub(in crate::sandbox) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let bytes = self.bytes.saturating_add(growth);
        if bytes > self.bytes_max {
            self.refused = true;
            return Ok(false);
        }
        (self.bytes, self.latest_growth) = (bytes, growth);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut self.latest_growth));
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_together_stay_within_the_limit() {
        let mut limit = MemoryLimit::new(100);
        let mut grow = |current, desired| limit.memory_growing(current, desired, None).unwrap();
        assert!(grow(0, 60) && grow(0, 30));
        assert!(!grow(30, 41), "101 bytes in all");
        assert!(grow(60, 70));
        assert!(!grow(0, 1));
        limit.memory_grow_failed(wasmtime::format_err!("no memory")).unwrap();
        assert!(limit.memory_growing(60, 70, None).unwrap(), "the growth that failed does not count");
        assert!(limit.take_refused() && !limit.take_refused());
    }
}
