//! Aggregates that need no component: count, and sum, min, max, average and the top few of a number in each record.
//!
//! A [`Guest`] like any other, so that windows know nothing of it. Results are JSON: key, window and the aggregate. Whole numbers
//! stay whole as long as 64 bits hold them, and are floating from there on. What floating numbers do not hold is a fault: of the
//! record that takes a sum beyond them, or of the window whose parts do.

use std::cmp::Ordering;
use std::sync::Arc;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::error;
use crate::model::{Column, Fault, FaultCode, Windows};
use crate::pipeline::{Aggregate, NumericAggregate};
use crate::turn::{Guest, Turn, TurnFailure};

/// Finds a field of a record, as text; see `KeyExtractor`. The second argument is room for text that has to be unescaped.
pub type FieldExtractor = Arc<dyn for<'a> Fn(&'a [u8], &'a mut Vec<u8>) -> Option<&'a [u8]> + Send + Sync>;

/// The guest of a native aggregate. `extract` finds its field; a count needs none.
pub fn native_aggregate(aggregate: &Aggregate, extract: FieldExtractor) -> Box<dyn Guest> {
    match *aggregate {
        Aggregate::Count => Box::new(Counting),
        Aggregate::Numeric { function: what, .. } => Box::new(Numeric { what, extract }),
    }
}

/// How the accumulators of an aggregate are written; another text is another form.
pub(super) fn accumulator_schema(aggregate: &Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Numeric { function: NumericAggregate::Sum, .. } => "sum",
        Aggregate::Numeric { function: NumericAggregate::Min, .. } => "min",
        Aggregate::Numeric { function: NumericAggregate::Max, .. } => "max",
        Aggregate::Numeric { function: NumericAggregate::Average, .. } => "average",
        Aggregate::Numeric { function: NumericAggregate::Top(_), .. } => "top",
    }
}

/// The accumulator is the count, in 8 bytes.
struct Counting;

fn count_of(accumulator: &[u8]) -> Result<u64, TurnFailure> {
    match accumulator {
        [] => Ok(0),
        _ => accumulator.try_into().map(u64::from_le_bytes).map_err(|_| damaged()),
    }
}

fn damaged() -> TurnFailure {
    error::state_failed("an accumulator that is none").into()
}

impl Guest for Counting {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        _: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut counts = accumulators.iter().map(count_of).collect::<Result<Vec<u64>, TurnFailure>>()?;
        for &at in accumulator_of {
            counts[at as usize] = counts[at as usize].saturating_add(1);
        }
        Ok(counts.into_iter().map(u64::to_le_bytes).collect())
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        let sum = |(left, right)| Ok(count_of(left)?.saturating_add(count_of(right)?).to_le_bytes());
        left.iter().zip(right.iter()).map(sum).collect()
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let result = |(index, accumulator)| result(windows, index, "count", &count_of(accumulator)?);
        accumulators.iter().enumerate().map(result).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Num {
    Whole(i64),
    Float(f64),
}

impl Num {
    fn parse(text: &[u8]) -> Option<Num> {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        let float = || text.parse().ok().filter(|float: &f64| float.is_finite()).map(Num::Float);
        text.parse().ok().map(Num::Whole).or_else(float)
    }

    fn float(self) -> f64 {
        match self {
            Num::Whole(whole) => whole as f64,
            Num::Float(float) => float,
        }
    }

    fn plus(self, other: Num) -> Num {
        if let (Num::Whole(a), Num::Whole(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return Num::Whole(sum);
        }
        Num::Float(self.float() + other.float())
    }

    fn is_finite(self) -> bool {
        self.float().is_finite()
    }

    fn compare(self, other: Num) -> Ordering {
        match (self, other) {
            (Num::Whole(a), Num::Whole(b)) => a.cmp(&b),
            _ => self.float().total_cmp(&other.float()),
        }
    }

    fn write(self, bytes: &mut Vec<u8>) {
        let (form, number) = match self {
            Num::Whole(whole) => (0, whole.to_le_bytes()),
            Num::Float(float) => (1, float.to_le_bytes()),
        };
        bytes.push(form);
        bytes.extend_from_slice(&number);
    }

    fn read(bytes: &[u8]) -> Option<(Num, &[u8])> {
        let (form, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        match form {
            0 => Some((Num::Whole(i64::from_le_bytes(*number)), rest)),
            1 => Some((Num::Float(f64::from_le_bytes(*number)), rest)),
            _ => None,
        }
    }
}

/// What a window has of its records, as the aggregate needs it: a number and a count, or the top records with their numbers,
/// the largest first.
#[derive(Clone, Debug, Default)]
struct Folded {
    number: Option<Num>,
    count: u64,
    top: Vec<(Num, Vec<u8>)>,
}

impl Folded {
    fn read(bytes: &[u8]) -> Option<Folded> {
        if bytes.is_empty() {
            return Some(Folded::default());
        }
        let (count, mut rest) = bytes.split_first_chunk()?;
        let mut folded = Folded { count: u64::from_le_bytes(*count), ..Folded::default() };
        let (number, behind) = Num::read(rest)?;
        folded.number = Some(number);
        rest = behind;
        while !rest.is_empty() {
            let (number, behind) = Num::read(rest)?;
            let (length, behind) = behind.split_first_chunk()?;
            let (value, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            folded.top.push((number, value.to_vec()));
            rest = behind;
        }
        Some(folded)
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let Some(number) = self.number else { return };
        bytes.extend_from_slice(&self.count.to_le_bytes());
        number.write(bytes);
        for (number, value) in &self.top {
            number.write(bytes);
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

/// An aggregate of a number.
struct Numeric {
    what: NumericAggregate,
    extract: FieldExtractor,
}

impl Numeric {
    /// Adds a record of the input.
    fn add_record(&self, folded: &mut Folded, number: Num, value: &[u8]) -> Result<(), Fault> {
        let was_finite = folded.number.is_none_or(Num::is_finite);
        self.take(folded, number, 1, Some(value));
        match folded.number.is_none_or(Num::is_finite) || !was_finite {
            true => Ok(()),
            // The record does it, and the record is left out where the operator skips.
            false => Err(overflow()),
        }
    }

    fn take(&self, folded: &mut Folded, number: Num, count: u64, value: Option<&[u8]>) {
        let held = folded.number;
        folded.count = folded.count.saturating_add(count);
        folded.number = Some(match (held, self.what) {
            (None, _) => number,
            (Some(held), NumericAggregate::Sum | NumericAggregate::Average) => held.plus(number),
            (Some(held), NumericAggregate::Min) => {
                if number.compare(held).is_lt() {
                    number
                } else {
                    held
                }
            }
            (Some(held), NumericAggregate::Max | NumericAggregate::Top(_)) => {
                if number.compare(held).is_gt() {
                    number
                } else {
                    held
                }
            }
        });
        if let (NumericAggregate::Top(_), Some(value)) = (self.what, value) {
            self.rank(folded, number, value);
        }
    }

    /// Among equals the earlier one stands first.
    fn rank(&self, folded: &mut Folded, number: Num, value: &[u8]) {
        let NumericAggregate::Top(most) = self.what else { return };
        let place = folded.top.partition_point(|(other, _)| other.compare(number).is_ge());
        if place < most as usize {
            folded.top.insert(place, (number, value.to_vec()));
            folded.top.truncate(most as usize);
        }
    }

    fn read_all(accumulators: &Column) -> Result<Vec<Folded>, TurnFailure> {
        accumulators.iter().map(|accumulator| Folded::read(accumulator).ok_or_else(damaged)).collect()
    }

    fn write_all(folded: &[Folded]) -> Column {
        let mut column = Column::with_capacity(folded.len(), 0);
        folded.iter().for_each(|folded| column.push_with(|bytes| folded.write(bytes)));
        column
    }
}

impl Guest for Numeric {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut folded = Numeric::read_all(accumulators)?;
        let mut scratch = Vec::new();
        for (value, &at) in values.iter().zip(accumulator_of) {
            scratch.clear();
            let number = (self.extract)(value, &mut scratch).and_then(Num::parse).ok_or_else(|| {
                Fault::new(FaultCode::NumberMissing, "the record has no number where `aggregate` looks for one")
            })?;
            self.add_record(&mut folded[at as usize], number, value)?;
        }
        Ok(Numeric::write_all(&folded))
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        let mut merged = Numeric::read_all(left)?;
        for (left, right) in merged.iter_mut().zip(Numeric::read_all(right)?) {
            if let Some(number) = right.number {
                self.take(left, number, right.count, None);
            }
            right.top.iter().for_each(|(number, value)| self.rank(left, *number, value));
        }
        Ok(Numeric::write_all(&merged))
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let mut results = Column::with_capacity(windows.len(), 0);
        for (index, folded) in Numeric::read_all(accumulators)?.iter().enumerate() {
            // The sums of parts that are finite need not be.
            if !folded.number.is_none_or(Num::is_finite) {
                return Err(overflow().into());
            }
            let value = match (self.what, folded.number) {
                (NumericAggregate::Top(_), _) => {
                    let top =
                        folded.top.iter().map(|(_, value)| record(value)).collect::<Result<Vec<_>, TurnFailure>>()?;
                    result(windows, index, "top", &top)?
                }
                (what, None) => result(windows, index, name_of(what), &())?,
                (NumericAggregate::Average, Some(sum)) => {
                    result(windows, index, "average", &(sum.float() / folded.count as f64))?
                }
                (what, Some(Num::Whole(whole))) => result(windows, index, name_of(what), &whole)?,
                (what, Some(Num::Float(float))) => result(windows, index, name_of(what), &float)?,
            };
            results.push(&value);
        }
        Ok(results)
    }
}

fn overflow() -> Fault {
    Fault::new(FaultCode::NumberOverflow, "the sum is larger than a floating-point number can be")
}

fn name_of(what: NumericAggregate) -> &'static str {
    match what {
        NumericAggregate::Sum => "sum",
        NumericAggregate::Min => "min",
        NumericAggregate::Max => "max",
        NumericAggregate::Average => "average",
        NumericAggregate::Top(_) => "top",
    }
}

const HEX: &str = "hex";

/// A record in a result: as it is where it is a JSON object, else as text. One that looks like bytes in hex is shown as such.
fn record(value: &[u8]) -> Result<Box<RawValue>, TurnFailure> {
    let object = std::str::from_utf8(value).ok().filter(|text| text.trim_ascii_start().starts_with('{'));
    let raw = object.and_then(|text| serde_json::from_str::<Box<RawValue>>(text.trim_ascii()).ok());
    let Some(raw) = raw else { return json_of(&text(value)) };
    let parsed: Option<Value> = serde_json::from_str(raw.get()).ok();
    if parsed.as_ref().and_then(Value::as_object).is_some_and(|object| object.len() == 1 && object.contains_key(HEX)) {
        return json_of(&hex_of(value));
    }
    // A result is one line. Line ends stand between the parts of JSON only: within strings they are escaped.
    match raw.get().contains(['\n', '\r']) {
        true => RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).or_else(|_| json_of(&text(value))),
        false => Ok(raw),
    }
}

/// Text where the bytes are UTF-8, else `{"hex": "..."}`: no text looks the same.
fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| hex_of(bytes), Value::from)
}

fn hex_of(bytes: &[u8]) -> Value {
    json!({ HEX: hex::encode(bytes) })
}

fn json_of(value: &impl Serialize) -> Result<Box<RawValue>, TurnFailure> {
    to_raw_value(value).map_err(|cause| error::internal(format!("a result cannot be written as JSON: {cause}")).into())
}

/// The result of window `index`. A global window has no start and no end.
fn result(windows: &Windows, index: usize, name: &str, value: &impl Serialize) -> Result<Vec<u8>, TurnFailure> {
    let mut result = BTreeMap::from([(name, json_of(value)?)]);
    result.insert("key", json_of(&text(windows.keys.distinct.value(windows.keys.key_of[index] as usize)))?);
    if (windows.starts[index], windows.ends[index]) != (i64::MIN, i64::MAX) {
        result.insert("start", json_of(&windows.starts[index])?);
        result.insert("end", json_of(&windows.ends[index])?);
    }
    serde_json::to_vec(&result).map_err(|cause| error::internal(format!("a result cannot be written: {cause}")).into())
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
