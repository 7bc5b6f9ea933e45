//! The part of the host's module `http` that reads bodies.

pub(crate) mod body;
