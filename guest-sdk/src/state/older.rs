//! Older forms of a state's values, and how they become the current form.

use super::StateCodec;
use crate::FunctionError;
use crate::shape::{Shape, StateType};
use std::marker::PhantomData;

/// A form that values of a state once had.
pub struct OlderForm {
    pub(crate) fingerprint: fn() -> String,
    /// Reads a value of the older form and appends it in the current form.
    pub(crate) rewrite: fn(&[u8], &mut Vec<u8>) -> Result<(), FunctionError>,
}

/// From an `Old` written by `OldC` to a `T` written by `C`.
pub(super) struct Migration<Old, OldC, T, C>(PhantomData<(Old, OldC, T, C)>);

impl<Old: StateType, OldC: StateCodec<Old>, T: From<Old>, C: StateCodec<T>> Migration<Old, OldC, T, C> {
    pub(super) const FORM: &'static OlderForm = &OlderForm {
        fingerprint: || Shape::fingerprint::<Old>(OldC::NAME),
        rewrite: |bytes, to| C::write(&T::from(OldC::read(bytes)?), to),
    };
}
