//! The sending side of a subtask.
//!
//! - `result_partition` writes to one edge: forward, rebalance, broadcast or keyed.
//! - `keyed_exchange` partitions records by key, and keeps one open batch for each receiver.
//! - `partition_error` says why a write fails.
//! - `output_channels` holds the channels of one edge.
//!
//! Must not depend on operators or on the subtask loop.

pub(super) mod keyed_exchange;
#[cfg(test)]
mod keyed_exchange_tests;
mod output_channels;
pub(super) mod partition_error;
pub(super) mod result_partition;
