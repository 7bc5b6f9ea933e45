//! Handles the record, the timer or the window that a function fails on.
//!
//! | file | content |
//! |---|---|
//! | `retry.rs` | Tries a failed item again (`on_fault = "retry"`). |
//! | `fault_policy.rs` | Applies the fault policy to an item that failed for the last time. |
//! | `dead_letter.rs`, `carried_attributes.rs` | The JSON of a dead letter. |
//! | `failed_record.rs` | The record that fails a job. |

mod carried_attributes;
pub mod dead_letter;
pub mod failed_record;
pub(super) mod fault_policy;
pub mod retry;
#[cfg(test)]
mod retry_tests;
