//! The part of the host's module `runtime::input` that stores records in flight.

pub(super) mod in_flight_data;
mod in_flight_format;
mod in_flight_format_2;
mod stored_in_flight;
