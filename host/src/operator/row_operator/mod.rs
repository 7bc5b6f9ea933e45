//! Operators without a component: `filter` and `select` on the fields of rows.
//!
//! | file | content |
//! |---|---|
//! | `predicate.rs` | [`RowPredicate`]: a filter expression bound to the fields of a schema. |
//! | `comparand.rs` | One side of a comparison, and how values are compared. |
//! | `selection.rs` | [`RowSelection`]: the fields that pass, with their new names. |
//! | `row_guest.rs` | [`RowGuest`]: runs both as a native function, so that faults are handled as those of any function. |

mod comparand;
mod predicate;
#[cfg(test)]
mod predicate_tests;
mod row_guest;
mod selection;
#[cfg(test)]
mod selection_tests;

pub use predicate::RowPredicate;
pub use row_guest::{FilteredFormat, RowGuest, RowProgram};
pub use selection::RowSelection;
