//! The part of the host's module `runtime` that stores records in flight.

mod barrier;
mod input;
mod stream_element;

pub use input::in_flight_data::InFlightData;
