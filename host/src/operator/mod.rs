//! What a subtask runs between its input and its outputs: a function, and what happens to the records it fails on.

mod dead_letter;
mod function;

pub use dead_letter::Position;
pub use function::{FunctionOperator, FunctionSettings, OperatorFailure, Rejected};
