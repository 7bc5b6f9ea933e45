//! Joins the records of two inputs that have the same key and lie close to each other in event time, as Flink's
//! `IntervalJoinOperator` does.
//!
//! 1. A late record, or one without a timestamp, takes no part.
//! 2. Every other record is stored under its key, in order of time (`join_state.rs`).
//! 3. An arriving record is paired with the stored records of the other side within the interval (`matched_pairs.rs`).
//! 4. The guest processes the pairs in calls of bounded size (`join_operator.rs`).
//! 5. A record is removed once the watermark shows that nothing can join it any more (`expiry.rs`).
//!
//! Invariant: each key with stored records has a registered timer that is due no later than its first record expires.
//! The guest sees pairs only, never the stored records.

mod expiry;
#[cfg(test)]
mod interval_join_tests;
mod join_operator;
mod join_state;
mod matched_pairs;

pub use join_operator::IntervalJoin;
pub use join_state::join_states;
