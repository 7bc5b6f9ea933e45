//! Sum, min, max, average and top records by a number in each record.

use std::sync::Arc;

use super::json_result::{damaged_accumulator, record_json, result_json};
use super::numeric_value::NumericValue;
use crate::model::{Column, Fault, FaultCode, Windows};
use crate::pipeline::NumericAggregate;
use crate::turn::{Guest, Turn, TurnFailure};

/// Finds a field of a record, as text. The second argument is a buffer for text that must be unescaped.
pub type FieldExtractor = Arc<dyn for<'a> Fn(&'a [u8], &'a mut Vec<u8>) -> Option<&'a [u8]> + Send + Sync>;

/// The accumulator of a numeric aggregate.
#[derive(Clone, Debug, Default)]
struct NumericAccumulator {
    /// The sum, the minimum or the maximum. Not set if no record was added.
    number: Option<NumericValue>,
    count: u64,
    /// The top records with their numbers, the largest number first.
    top: Vec<(NumericValue, Vec<u8>)>,
}

impl NumericAccumulator {
    fn decode(bytes: &[u8]) -> Option<NumericAccumulator> {
        if bytes.is_empty() {
            return Some(NumericAccumulator::default());
        }
        let (count, rest) = bytes.split_first_chunk()?;
        let (number, mut rest) = NumericValue::decode(rest)?;
        let mut top = Vec::new();
        while !rest.is_empty() {
            let (number, after) = NumericValue::decode(rest)?;
            let (length, after) = after.split_first_chunk()?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            top.push((number, value.to_vec()));
            rest = after;
        }
        Some(NumericAccumulator { number: Some(number), count: u64::from_le_bytes(*count), top })
    }

    /// Appends the stored form. Nothing is stored if no record was added.
    fn encode(&self, bytes: &mut Vec<u8>) {
        let Some(number) = self.number else { return };
        bytes.extend_from_slice(&self.count.to_le_bytes());
        number.encode(bytes);
        for (number, value) in &self.top {
            number.encode(bytes);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

/// The guest of a numeric aggregate.
pub struct NumericGuest {
    pub function: NumericAggregate,
    pub extract: FieldExtractor,
}

impl NumericGuest {
    /// Adds a record. Error: `number-overflow` if it makes a sum overflow.
    fn add_record(
        &self,
        accumulator: &mut NumericAccumulator,
        number: NumericValue,
        value: &[u8],
    ) -> Result<(), Fault> {
        let was_finite = accumulator.number.is_none_or(NumericValue::is_finite);
        self.combine(accumulator, number, 1, Some(value));
        match accumulator.number.is_none_or(NumericValue::is_finite) || !was_finite {
            true => Ok(()),
            false => Err(overflow()),
        }
    }

    /// Combines the number of a record, or of another accumulator over `count` records, with an accumulator.
    fn combine(&self, accumulator: &mut NumericAccumulator, number: NumericValue, count: u64, record: Option<&[u8]>) {
        let current = accumulator.number;
        accumulator.count = accumulator.count.saturating_add(count);
        accumulator.number = Some(match (current, self.function) {
            (None, _) => number,
            (Some(current), NumericAggregate::Sum | NumericAggregate::Average) => current.plus(number),
            (Some(current), NumericAggregate::Min) if number.compare(current).is_lt() => number,
            (Some(current), NumericAggregate::Max | NumericAggregate::Top(_)) if number.compare(current).is_gt() => {
                number
            }
            (Some(current), _) => current,
        });
        if let (NumericAggregate::Top(_), Some(record)) = (self.function, record) {
            self.rank(accumulator, number, record);
        }
    }

    /// Inserts a record into the top records. Among records with equal numbers, the earlier one comes first.
    fn rank(&self, accumulator: &mut NumericAccumulator, number: NumericValue, record: &[u8]) {
        let NumericAggregate::Top(limit) = self.function else { return };
        let rank = accumulator.top.partition_point(|(other, _)| other.compare(number).is_ge());
        if rank < limit as usize {
            accumulator.top.insert(rank, (number, record.to_vec()));
            accumulator.top.truncate(limit as usize);
        }
    }

    fn decode_all(accumulators: &Column) -> Result<Vec<NumericAccumulator>, TurnFailure> {
        let decode = |bytes| NumericAccumulator::decode(bytes).ok_or_else(damaged_accumulator);
        accumulators.iter().map(decode).collect()
    }

    fn encode_all(accumulators: &[NumericAccumulator]) -> Column {
        let mut column = Column::with_capacity(accumulators.len(), 0);
        accumulators.iter().for_each(|accumulator| column.push_with(|bytes| accumulator.encode(bytes)));
        column
    }

    /// The result of window `index`.
    fn result(
        &self,
        windows: &Windows,
        index: usize,
        accumulator: &NumericAccumulator,
    ) -> Result<Vec<u8>, TurnFailure> {
        let name = aggregate_name(self.function);
        match (self.function, accumulator.number) {
            (NumericAggregate::Top(_), _) => {
                let records = accumulator.top.iter().map(|(_, value)| record_json(value));
                result_json(windows, index, name, &records.collect::<Result<Vec<_>, TurnFailure>>()?)
            }
            (_, None) => result_json(windows, index, name, &()),
            (NumericAggregate::Average, Some(sum)) => {
                result_json(windows, index, name, &(sum.to_float() / accumulator.count as f64))
            }
            (_, Some(NumericValue::Whole(whole))) => result_json(windows, index, name, &whole),
            (_, Some(NumericValue::Float(float))) => result_json(windows, index, name, &float),
        }
    }
}

impl Guest for NumericGuest {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut accumulators = NumericGuest::decode_all(accumulators)?;
        let mut scratch = Vec::new();
        for (value, &accumulator) in values.iter().zip(accumulator_of) {
            scratch.clear();
            let number = (self.extract)(value, &mut scratch).and_then(NumericValue::parse).ok_or_else(|| {
                Fault::new(FaultCode::NumberMissing, "the record has no number in the field that `aggregate` names")
            })?;
            self.add_record(&mut accumulators[accumulator as usize], number, value)?;
        }
        Ok(NumericGuest::encode_all(&accumulators))
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        let mut merged = NumericGuest::decode_all(left)?;
        for (left, right) in merged.iter_mut().zip(NumericGuest::decode_all(right)?) {
            if let Some(number) = right.number {
                self.combine(left, number, right.count, None);
            }
            right.top.iter().for_each(|(number, value)| self.rank(left, *number, value));
        }
        Ok(NumericGuest::encode_all(&merged))
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let mut results = Column::with_capacity(windows.len(), 0);
        for (index, accumulator) in NumericGuest::decode_all(accumulators)?.iter().enumerate() {
            // Finite sums can overflow when they are merged.
            if !accumulator.number.is_none_or(NumericValue::is_finite) {
                return Err(overflow().into());
            }
            results.push(&self.result(windows, index, accumulator)?);
        }
        Ok(results)
    }
}

fn overflow() -> Fault {
    Fault::new(FaultCode::NumberOverflow, "the sum is too large for a floating-point number")
}

/// The name of an aggregate: the field of its result, and the schema of its accumulators.
pub fn aggregate_name(function: NumericAggregate) -> &'static str {
    match function {
        NumericAggregate::Sum => "sum",
        NumericAggregate::Min => "min",
        NumericAggregate::Max => "max",
        NumericAggregate::Average => "average",
        NumericAggregate::Top(_) => "top",
    }
}
