//! Native aggregates, which need no component: count, and sum, min, max, average and the top records by a number in each record.
//!
//! A native aggregate is a [`Guest`](crate::turn::Guest) like any other, so that windows do not depend on it. It reads rows, or finds
//! its number in text (`number_field.rs`). Results are rows with the key, the window and the aggregate (`aggregate_result.rs`). The
//! encoding of accumulators is part of the durable format.
//!
//! A sum of whole numbers is exact: if it leaves the 64 bits of its type, that is a fault of the record that makes it overflow, or of
//! the window in which merged sums do. Numbers in text have no type. They stay whole as long as 64 bits can hold them; after that they
//! become floating-point numbers, of which only those that are too large are a fault.

mod aggregate_result;
mod count;
#[cfg(test)]
mod native_aggregate_tests;
mod native_definition;
mod number_field;
mod numeric;
mod numeric_value;
mod result_json;

pub use aggregate_result::AggregateKey;
pub use native_definition::{NativeAggregate, accumulator_schema};
pub use number_field::FieldExtractor;
