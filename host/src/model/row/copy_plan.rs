//! Copy plans: rows of one schema rewritten as rows of another.
//!
//! A plan is compiled once per edge or restore. To copy a row, it walks over the producer's fields up to the last one that is
//! needed, notes the bounds of the needed runs of fields, and then copies runs in the consumer's order.

use std::fmt;

use super::encoding::{RowBytes, RowDefect, ValueLayout, write_unsigned};
use super::field_type::{ElementType, Field, FieldType};
use super::json_read::read_json_value;
use super::nearest::did_you_mean;
use super::schema::RowSchema;
use crate::escape::shown;
use crate::model::column::append;

/// Number of bounds of fields for which a copy needs no memory of its own.
const BOUNDS_MAX: usize = 16;

/// Why rows of a producer cannot be rewritten as rows of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaMismatch {
    /// The field at fault, and why.
    pub reason: String,
    /// The producer's schema as text.
    pub from: String,
    /// The consumer's schema as text.
    pub to: String,
}

impl fmt::Display for SchemaMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the producer has {}, the consumer reads {}", self.reason, self.from, self.to)
    }
}

impl std::error::Error for SchemaMismatch {}

/// Rewrites rows of one schema as rows of another: fields are reordered and removed, and missing fields are added.
#[derive(Clone, Debug)]
pub struct CopyPlan {
    record: RecordPlan,
}

/// The plan of a record or of a nested record.
#[derive(Clone, Debug)]
struct RecordPlan {
    /// How to walk over the producer's fields.
    walk: Vec<WalkStep>,
    /// What to write, in the consumer's order.
    writes: Vec<WriteStep>,
    /// Layouts of the producer's fields behind the last needed one.
    tail: Box<[ValueLayout]>,
    /// Number of bounds that the walk notes.
    bounds: usize,
}

#[derive(Clone, Debug)]
enum WalkStep {
    /// Skips a value.
    Skip(ValueLayout),
    /// Notes the position as the next bound.
    Note,
}

#[derive(Clone, Debug)]
enum WriteStep {
    /// Copies the bytes between two bounds.
    Run { from: usize, to: usize },
    /// Writes these bytes: the flag of a value, null, or a default.
    Constant(Box<[u8]>),
    /// Rewrites the value between two bounds.
    Convert { from: usize, to: usize, conversion: ValueConversion },
}

/// How a value with nested records is rewritten.
#[derive(Clone, Debug)]
enum ValueConversion {
    Same(ValueLayout),
    Record(Box<RecordPlan>),
    /// The flag stays, and the value behind it is rewritten.
    Nullable(Box<ValueConversion>),
    /// The value becomes nullable.
    Flagged(Box<ValueConversion>),
    List(Box<ValueConversion>),
    Map(Box<ValueConversion>),
}

impl CopyPlan {
    /// Returns the plan that rewrites rows of `from` as rows of `to`, or `None` if both are the same.
    ///
    /// Fields are found by name and then by alias. Fields may be reordered and removed. A field may become nullable. A field
    /// that the producer lacks is null, or its default. Everything else is a mismatch.
    pub fn compile(from: &RowSchema, to: &RowSchema) -> Result<Option<CopyPlan>, SchemaMismatch> {
        if from == to {
            return Ok(None);
        }
        let mismatch = |reason| SchemaMismatch { reason, from: from.to_string(), to: to.to_string() };
        let record = RecordPlan::compile(from.fields(), to.fields(), "").map_err(mismatch)?;
        Ok(Some(CopyPlan { record }))
    }

    /// Appends the row in the consumer's schema to `to`. If it fails, `to` may have got a part of it.
    #[inline]
    pub fn copy(&self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        let rest = self.record.copy(row, to)?;
        if rest == row.len() { Ok(()) } else { Err(RowDefect::TrailingBytes) }
    }
}

impl RecordPlan {
    fn compile(from: &[Field], to: &[Field], path: &str) -> Result<RecordPlan, String> {
        // For each of the consumer's fields: the producer's field and how to rewrite it, or constant bytes.
        let sources =
            to.iter().map(|field| FieldSource::compile(from, field, path)).collect::<Result<Vec<_>, String>>()?;
        let mut edges = vec![false; from.len() + 1];
        let mut needed = 0;
        let runs = runs(&sources);
        for run in &runs {
            if let FieldRun::Fields { first, last, .. } = run {
                edges[*first] = true;
                edges[*last + 1] = true;
                needed = needed.max(*last + 1);
            }
        }
        let mut walk = Vec::new();
        let mut bound_of = vec![0; from.len() + 1];
        let mut bounds = 0;
        for index in 0..=needed {
            if edges[index] {
                bound_of[index] = bounds;
                bounds += 1;
                walk.push(WalkStep::Note);
            }
            if index < needed {
                push_skip(&mut walk, ValueLayout::of_field(&from[index]));
            }
        }
        let writes = runs
            .into_iter()
            .map(|run| match run {
                FieldRun::Constant(bytes) => WriteStep::Constant(bytes),
                FieldRun::Fields { first, last, conversion } => {
                    let (from, to) = (bound_of[first], bound_of[last + 1]);
                    match conversion {
                        None => WriteStep::Run { from, to },
                        Some(conversion) => WriteStep::Convert { from, to, conversion },
                    }
                }
            })
            .collect();
        let tail = from[needed..].iter().map(ValueLayout::of_field).collect();
        Ok(RecordPlan { walk, writes, tail, bounds })
    }

    /// Returns the length of the producer's record.
    #[inline]
    fn copy(&self, row: &[u8], to: &mut Vec<u8>) -> Result<usize, RowDefect> {
        if self.bounds <= BOUNDS_MAX {
            self.copy_with(row, &mut [0; BOUNDS_MAX], to)
        } else {
            self.copy_with(row, &mut vec![0; self.bounds], to)
        }
    }

    #[inline]
    fn copy_with(&self, row: &[u8], bounds: &mut [usize], to: &mut Vec<u8>) -> Result<usize, RowDefect> {
        let mut bytes = RowBytes::new(row);
        let mut free = bounds.iter_mut();
        for step in &self.walk {
            match step {
                WalkStep::Skip(layout) => layout.skip(&mut bytes)?,
                WalkStep::Note => {
                    if let Some(bound) = free.next() {
                        *bound = row.len() - bytes.rest.len();
                    }
                }
            }
        }
        self.tail.iter().try_for_each(|layout| layout.skip(&mut bytes))?;
        for step in &self.writes {
            match step {
                WriteStep::Run { from, to: end } => append(to, &row[bounds[*from]..bounds[*end]]),
                WriteStep::Constant(bytes) => append(to, bytes),
                WriteStep::Convert { from, to: end, conversion } => {
                    conversion.convert(&mut RowBytes::new(&row[bounds[*from]..bounds[*end]]), to)?;
                }
            }
        }
        Ok(row.len() - bytes.rest.len())
    }
}

/// Adjacent values of fixed size are skipped at once.
fn push_skip(walk: &mut Vec<WalkStep>, layout: ValueLayout) {
    match (walk.last_mut(), layout) {
        (Some(WalkStep::Skip(ValueLayout::Fixed(count))), ValueLayout::Fixed(more)) => *count += more,
        (_, layout) => walk.push(WalkStep::Skip(layout)),
    }
}

/// Where a consumer's field comes from.
enum FieldSource {
    Same(usize),
    Converted(usize, ValueConversion),
    Constant(Vec<u8>),
}

/// Consecutive fields of the consumer that are written in one step.
enum FieldRun {
    Fields { first: usize, last: usize, conversion: Option<ValueConversion> },
    Constant(Box<[u8]>),
}

/// Joins fields that are adjacent on both sides.
fn runs(sources: &[FieldSource]) -> Vec<FieldRun> {
    let mut runs: Vec<FieldRun> = Vec::new();
    for source in sources {
        match (runs.last_mut(), source) {
            (Some(FieldRun::Fields { last, conversion: None, .. }), FieldSource::Same(index))
                if *last + 1 == *index =>
            {
                *last = *index;
            }
            (_, FieldSource::Same(index)) => {
                runs.push(FieldRun::Fields { first: *index, last: *index, conversion: None });
            }
            (_, FieldSource::Converted(index, conversion)) => {
                runs.push(FieldRun::Fields { first: *index, last: *index, conversion: Some(conversion.clone()) });
            }
            (Some(FieldRun::Constant(bytes)), FieldSource::Constant(more)) => {
                *bytes = [bytes, more.as_slice()].concat().into();
            }
            (_, FieldSource::Constant(bytes)) => runs.push(FieldRun::Constant(bytes.as_slice().into())),
        }
    }
    runs
}

impl FieldSource {
    fn compile(from: &[Field], field: &Field, path: &str) -> Result<FieldSource, String> {
        let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        let named = |name: &str| from.iter().position(|candidate| candidate.name == name);
        if let Some(index) = field.names().find_map(named) {
            let producer = &from[index];
            if (&producer.value, producer.nullable) == (&field.value, field.nullable) {
                return Ok(FieldSource::Same(index));
            }
            let conversion =
                ValueConversion::compile((&producer.value, producer.nullable), (&field.value, field.nullable), &path)?;
            return Ok(FieldSource::Converted(index, conversion));
        }
        if let Some(default) = &field.default {
            let mut bytes = Vec::new();
            return match read_json_value(&field.value, field.nullable, default.as_bytes(), &mut bytes) {
                Ok(()) => Ok(FieldSource::Constant(bytes)),
                Err(defect) => Err(format!("the default of the field `{}`: {defect}", shown(path.as_bytes()))),
            };
        }
        if field.nullable {
            return Ok(FieldSource::Constant(vec![0]));
        }
        let hint = did_you_mean(&field.name, from.iter().map(|candidate| candidate.name.as_str()));
        Err(format!("the producer has no field `{}`{hint}", shown(path.as_bytes())))
    }
}

impl ValueConversion {
    fn compile(from: (&FieldType, bool), to: (&FieldType, bool), path: &str) -> Result<ValueConversion, String> {
        let differ = || {
            let sign = |nullable| if nullable { "?" } else { "" };
            Err(format!(
                "the field `{}` is `{}{}` in the producer, and `{}{}` in the consumer",
                shown(path.as_bytes()),
                from.0,
                sign(from.1),
                to.0,
                sign(to.1)
            ))
        };
        let inner = |from: &ElementType, to: &ElementType| {
            ValueConversion::compile((&from.value, from.nullable), (&to.value, to.nullable), path).map(Box::new)
        };
        if from.1 && !to.1 {
            return differ();
        }
        let value = match (from.0, to.0) {
            (one, other) if one == other => ValueConversion::Same(ValueLayout::new(one, false)),
            (FieldType::Record(from), FieldType::Record(to)) => {
                ValueConversion::Record(Box::new(RecordPlan::compile(from, to, path)?))
            }
            (FieldType::List(from), FieldType::List(to)) => ValueConversion::List(inner(from, to)?),
            (FieldType::Map(from), FieldType::Map(to)) => ValueConversion::Map(inner(from, to)?),
            _ => return differ(),
        };
        Ok(match (from.1, to.1) {
            (true, _) => ValueConversion::Nullable(Box::new(value)),
            (false, true) => ValueConversion::Flagged(Box::new(value)),
            (false, false) => value,
        })
    }

    fn convert(&self, row: &mut RowBytes<'_>, to: &mut Vec<u8>) -> Result<(), RowDefect> {
        match self {
            ValueConversion::Same(layout) => to.extend_from_slice(row.value(layout)?),
            ValueConversion::Record(plan) => {
                let length = plan.copy(row.rest, to)?;
                row.take(length)?;
            }
            ValueConversion::Nullable(value) => match row.flag()? {
                false => to.push(0),
                true => {
                    to.push(1);
                    value.convert(row, to)?;
                }
            },
            ValueConversion::Flagged(value) => {
                to.push(1);
                value.convert(row, to)?;
            }
            ValueConversion::List(element) => {
                let count = row.unsigned(u64::MAX)?;
                write_unsigned(to, count);
                for _ in 0..count {
                    element.convert(row, to)?;
                }
            }
            ValueConversion::Map(value) => {
                let count = row.unsigned(u64::MAX)?;
                write_unsigned(to, count);
                for _ in 0..count {
                    let before = row.rest;
                    row.bytes()?;
                    to.extend_from_slice(&before[..before.len() - row.rest.len()]);
                    value.convert(row, to)?;
                }
            }
        }
        Ok(())
    }
}
