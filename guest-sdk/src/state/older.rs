//! Older forms of a state's values, and how they become the form of today.
//!
//! Invariant: what is here is a matter of types alone, so that a handle that names older forms stays a const.

use super::StateCodec;
use crate::FunctionError;
use crate::shape::{Shape, StateType};
use std::marker::PhantomData;

/// Older forms that one state may name.
const FORMS_MAX: usize = 8;

/// A form that values of a state once had.
pub struct OlderForm {
    pub(crate) fingerprint: fn() -> String,
    /// Appends a value of that form, anew in the form of today.
    pub(crate) rewrite: fn(&[u8], &mut Vec<u8>) -> Result<(), FunctionError>,
}

/// The older forms that a handle names.
#[derive(Clone, Copy)]
pub(super) struct OlderForms {
    forms: [Option<&'static OlderForm>; FORMS_MAX],
}

impl OlderForms {
    pub(super) const NONE: Self = OlderForms { forms: [None; FORMS_MAX] };

    /// These and one more. Fails the build where there is no room for it.
    pub(super) const fn and(mut self, form: &'static OlderForm) -> Self {
        let mut place = 0;
        while self.forms[place].is_some() {
            place += 1;
            assert!(place < FORMS_MAX, "a state names more than 8 older forms");
        }
        self.forms[place] = Some(form);
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static OlderForm> {
        self.forms.into_iter().flatten()
    }
}

/// From an `Old` written by `OldC` to a `T` written by `C`.
pub(super) struct Migration<Old, OldC, T, C>(PhantomData<(Old, OldC, T, C)>);

impl<Old: StateType, OldC: StateCodec<Old>, T: From<Old>, C: StateCodec<T>> Migration<Old, OldC, T, C> {
    pub(super) const FORM: &'static OlderForm = &OlderForm {
        fingerprint: || Shape::fingerprint::<Old>(OldC::NAME),
        rewrite: |bytes, to| C::write(&T::from(OldC::read(bytes)?), to),
    };
}
