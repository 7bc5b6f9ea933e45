//! Native aggregates, which need no component: count, and sum, min, max, average and the top records by a number in each record.
//!
//! A native aggregate is a [`Guest`](crate::turn::Guest) like any other, so that windows do not depend on it. Results are JSON
//! objects with the key, the window and the aggregate (`json_result.rs`). The encoding of accumulators is part of the durable
//! format.
//!
//! Whole numbers stay whole as long as 64 bits can hold them; after that they become floating-point numbers. A number that is too
//! large for those is a fault: of the record that makes a sum overflow, or of the window in which merged sums do.

mod count;
mod json_result;
#[cfg(test)]
mod native_aggregate_tests;
mod native_guest;
mod numeric;
mod numeric_value;

pub use native_guest::{accumulator_schema, native_aggregate};
pub use numeric::FieldExtractor;
