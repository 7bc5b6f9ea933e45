//! Filter expressions: the text of the setting `filter`, such as `dep_delay > 10 and (carrier = 'UA' or origin is null)`.
//!
//! `expression` defines the syntax tree, `tokens` splits the text, and `parser` builds the tree. The plan of the job binds the
//! tree to the fields of a stream.

mod expression;
mod parser;
#[cfg(test)]
mod parser_tests;
mod tokens;

pub use expression::{Comparison, FilterExpression, FilterOperand, FilterTerm};
pub(super) use parser::parse;
