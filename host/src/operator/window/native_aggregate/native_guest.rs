//! Creates the guest of a native aggregate, and names the encoding of its accumulators.

use super::count::CountGuest;
use super::numeric::{FieldExtractor, NumericGuest, aggregate_name};
use crate::pipeline::Aggregate;
use crate::turn::Guest;

/// The guest of a native aggregate. `extract` finds its field; a count does not use it.
pub fn native_aggregate(aggregate: &Aggregate, extract: FieldExtractor) -> Box<dyn Guest> {
    match *aggregate {
        Aggregate::Count => Box::new(CountGuest),
        Aggregate::Numeric { function, .. } => Box::new(NumericGuest { function, extract }),
    }
}

/// The schema of an aggregate's accumulators. Accumulators with different schemas have different encodings.
pub fn accumulator_schema(aggregate: &Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Numeric { function, .. } => aggregate_name(*function),
    }
}
