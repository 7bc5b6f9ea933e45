//! The sending side of an edge: partitions records by key and closes their batches.

pub(super) mod result_partition;
