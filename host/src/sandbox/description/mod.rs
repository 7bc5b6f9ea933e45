//! The description of a component: its functions, inputs, outputs and states.
//!
//! | file | owns |
//! |---|---|
//! | `component_description.rs` | the checked description |
//! | `check.rs` | checks what `describe` returned, function by function |
//! | `port_check.rs`, `state_check.rs` | the same for inputs and outputs, and for states |
//! | `text_limits.rs` | limits on names and texts |
//!
//! Invariant: a checked description contains only what this version can run.

mod check;
mod component_description;
mod port_check;
mod state_check;
mod text_limits;

#[cfg(test)]
mod description_tests;

pub(super) use check::check;
pub use component_description::{ComponentDescription, FunctionDescription, FunctionKind, PortDescription};
