//! The limit on a guest's memory: `limits.memory` of the operator.
//!
//! wasmtime calls it before a linear memory or a table grows.

use wasmtime::ResourceLimiter;

use crate::sandbox::engine::TABLE_ELEMENTS_MAX;

/// Limits the memory and the tables of one instance.
pub(in crate::sandbox) struct MemoryLimit {
    bytes_max: usize,
    /// Whether memory was refused since the last [`MemoryLimit::take_refused`].
    refused: bool,
}

impl MemoryLimit {
    /// Creates a limit of `bytes_max` bytes.
    pub(in crate::sandbox) fn new(bytes_max: usize) -> MemoryLimit {
        MemoryLimit { bytes_max, refused: false }
    }

    /// Returns whether memory was refused since the last call.
    pub(in crate::sandbox) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.refused |= desired > self.bytes_max;
        Ok(desired <= self.bytes_max)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
