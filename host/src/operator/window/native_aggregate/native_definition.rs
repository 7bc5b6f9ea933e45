//! The definition of a native aggregate: what it computes, where its number is, and the rows of its results.

use super::aggregate_result::{AggregateKey, AggregateResult};
use super::count::CountGuest;
use super::number_field::{FieldExtractor, NumberField};
use super::numeric::{NumericGuest, result_type};
use crate::model::row::{FieldType, RowSchema, SchemaDefect};
use crate::pipeline::{Aggregate, NumericAggregate};
use crate::turn::Guest;

/// A native aggregate of a pipeline.
#[derive(Clone)]
pub struct NativeAggregate {
    function: NativeFunction,
    result: AggregateResult,
}

#[derive(Clone)]
enum NativeFunction {
    Count,
    Numeric(NumericAggregate, NumberField),
}

impl NativeAggregate {
    /// An aggregate of records that are not rows. `extract` finds its field; a count does not use it.
    pub fn of_text(
        aggregate: &Aggregate,
        extract: FieldExtractor,
        key: AggregateKey,
        has_bounds: bool,
    ) -> NativeAggregate {
        let function = match aggregate {
            Aggregate::Count => NativeFunction::Count,
            Aggregate::Numeric { function, .. } => NativeFunction::Numeric(*function, NumberField::Text(extract)),
        };
        NativeAggregate { function, result: AggregateResult::new(key, has_bounds) }
    }

    /// An aggregate of rows with the field at `path`, which a count does not use. Error: there is no such field, or it cannot be
    /// aggregated.
    pub fn of_rows(
        aggregate: &Aggregate,
        rows: &RowSchema,
        path: &str,
        key: AggregateKey,
        has_bounds: bool,
    ) -> Result<NativeAggregate, String> {
        let function = match aggregate {
            Aggregate::Count => NativeFunction::Count,
            Aggregate::Numeric { function, .. } => {
                NativeFunction::Numeric(*function, NumberField::of_rows(*function, rows, path)?)
            }
        };
        Ok(NativeAggregate { function, result: AggregateResult::new(key, has_bounds) })
    }

    /// Returns the schema of the results. Error: a field of the key has the name of another field.
    pub fn result_schema(&self) -> Result<RowSchema, SchemaDefect> {
        match &self.function {
            NativeFunction::Count => self.result.schema("count", FieldType::U64),
            NativeFunction::Numeric(function, field) => {
                self.result.schema(aggregate_name(*function), result_type(*function, field))
            }
        }
    }

    /// Returns the guest of a subtask.
    pub fn guest(&self) -> Box<dyn Guest> {
        let result = self.result.clone();
        match &self.function {
            NativeFunction::Count => Box::new(CountGuest { result }),
            NativeFunction::Numeric(function, field) => {
                Box::new(NumericGuest { function: *function, field: field.clone(), result })
            }
        }
    }
}

/// The schema of an aggregate's accumulators. Accumulators with different schemas have different encodings.
pub fn accumulator_schema(aggregate: &Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Numeric { function, .. } => aggregate_name(*function),
    }
}

/// The name of an aggregate: the field of its result, and the schema of its accumulators.
fn aggregate_name(function: NumericAggregate) -> &'static str {
    match function {
        NumericAggregate::Sum => "sum",
        NumericAggregate::Min => "min",
        NumericAggregate::Max => "max",
        NumericAggregate::Average => "average",
        NumericAggregate::Top(_) => "top",
    }
}
