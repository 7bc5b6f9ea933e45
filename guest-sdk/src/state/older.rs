//! Other forms of a state's values: how they become the current form, and how the current form becomes an older one.

use super::StateCodec;
use crate::FunctionError;
use crate::bindings::exports::cofferdam::function::guest::{Form, ReadableForm};
use crate::shape::StateType;
use std::marker::PhantomData;

/// How values of one form become values of another.
pub struct Rewriting {
    pub(crate) from: fn() -> Form,
    pub(crate) to: fn() -> Form,
    /// Reads a value of the form `from` and appends it in the form `to`.
    pub(crate) rewrite: fn(&[u8], &mut Vec<u8>) -> Result<(), FunctionError>,
}

impl Rewriting {
    /// The form that is read, for the description of the state.
    pub(crate) fn readable(&self) -> ReadableForm {
        ReadableForm { form: (self.from)(), with_keys: false, with_sub_keys: false }
    }
}

/// From an `A` written by `AC` to a `B` written by `BC`.
pub(super) struct Migration<A, AC, B, BC>(PhantomData<(A, AC, B, BC)>);

impl<A: StateType, AC: StateCodec<A>, B: From<A> + StateType, BC: StateCodec<B>> Migration<A, AC, B, BC> {
    pub(super) const REWRITING: &'static Rewriting =
        &Rewriting { from: AC::form, to: BC::form, rewrite: |bytes, to| BC::write(&B::from(AC::read(bytes)?), to) };
}
