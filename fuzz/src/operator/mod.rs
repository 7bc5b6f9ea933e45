//! The part of the host's module `operator` that is stored with records in flight.

mod rejected_record;

pub use rejected_record::RejectedRecord;
