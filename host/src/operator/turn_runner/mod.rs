//! Runs the turns of an operator.
//!
//! | file | content |
//! |---|---|
//! | `runner.rs` | [`runner::TurnRunner`]: runs one turn after another and searches for the item that a guest fails on. |
//! | `bad_item_search.rs` | Divides a batch on which a guest fails, at a bounded cost. |
//! | `retrying.rs` | Tries an item again on which a guest has failed. |
//! | `turn_driven.rs` | The trait of operators driven by a `TurnRunner`. |
//! | `group_watermarks.rs` | Runs such an operator once per watermark if its key groups have reached different ones. |
//! | `operator_impl.rs` | Implements `Operator` for every operator driven by a `TurnRunner`. |

mod bad_item_search;
mod group_watermarks;
mod operator_impl;
mod retrying;
pub mod runner;
pub(super) mod turn_driven;
