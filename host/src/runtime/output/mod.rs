//! The sending side of a subtask.
//!
//! | file | owns |
//! |---|---|
//! | `result_partition` | writes to one edge: forward, rebalance, broadcast or keyed |
//! | `keyed_exchange` | the partitioning of records by key, with one open batch for each receiver |
//! | `output_channels` | the channels of one edge |

pub(super) mod keyed_exchange;
#[cfg(test)]
mod keyed_exchange_tests;
mod output_channels;
pub(super) mod result_partition;
