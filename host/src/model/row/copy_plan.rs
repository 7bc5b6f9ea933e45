//! Copy plans: rows of one schema rewritten as rows of another.
//!
//! A plan is compiled once per edge or restore. To copy a row, it walks over the producer's fields up to the last one that is
//! needed, notes where each begins, and then copies runs of fields in the consumer's order. Most plans have a [`QuickCopy`],
//! which takes all valid rows. Everything else is done by [`RecordPlan`].

use std::fmt;

use smallvec::SmallVec;

use super::encoding::{RowBytes, RowDefect, ValueLayout, write_unsigned};
use super::field_type::{ElementType, Field, FieldType};
use super::json_read::read_json_value;
use super::nearest::did_you_mean;
use super::quick_copy::{QuickCopy, QuickStarts, RowPart};
use super::schema::RowSchema;
use crate::escape::shown;
use crate::model::column::append;

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
    quick: Option<Box<QuickCopy>>,
    record: RecordPlan,
}

/// The plan of a record or of a nested record.
#[derive(Clone, Debug)]
struct RecordPlan {
    /// The layouts of the producer's fields.
    layouts: Box<[ValueLayout]>,
    /// Number of the producer's fields up to the last that is needed.
    needed: usize,
    /// What to write, in the consumer's order.
    writes: Vec<WriteStep>,
}

#[derive(Clone, Debug)]
enum WriteStep {
    /// Copies fields as they are, from one up to another.
    Run { from: usize, to: usize },
    /// Writes these bytes: the flag of a value, null, or a default.
    Constant(Box<[u8]>),
    /// Rewrites the value of a field.
    Convert { field: usize, conversion: ValueConversion },
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
        Ok(Some(CopyPlan { quick: record.quick().map(Box::new), record }))
    }

    /// Returns a copier, for many rows.
    pub fn copier(&self) -> RowCopier<'_> {
        RowCopier { plan: self, quick: self.quick.as_deref(), starts: QuickStarts::default() }
    }

    /// Appends the row in the consumer's schema to `to`. If it fails, `to` may have got a part of it.
    ///
    /// Does not read the fields behind the last that the consumer needs.
    pub fn copy(&self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        self.copier().copy(row, to)
    }
}

/// Copies rows by a plan.
pub struct RowCopier<'a> {
    plan: &'a CopyPlan,
    quick: Option<&'a QuickCopy>,
    starts: QuickStarts,
}

impl RowCopier<'_> {
    /// Does what [`CopyPlan::copy`] does.
    #[inline(always)]
    pub fn copy(&mut self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        if let Some(quick) = self.quick
            && quick.copy(row, &mut self.starts, to)
        {
            return Ok(());
        }
        self.plan.record.copy(row, to)
    }
}

impl RecordPlan {
    fn compile(from: &[Field], to: &[Field], path: &str) -> Result<RecordPlan, String> {
        // For each of the consumer's fields: the producer's field and how to rewrite it, or constant bytes.
        let sources =
            to.iter().map(|field| FieldSource::compile(from, field, path)).collect::<Result<Vec<_>, String>>()?;
        let mut needed = 0;
        let mut writes = Vec::new();
        for run in runs(&sources) {
            writes.push(match run {
                FieldRun::Constant(bytes) => WriteStep::Constant(bytes),
                FieldRun::Fields { first, last, conversion } => {
                    needed = needed.max(last + 1);
                    match conversion {
                        None => WriteStep::Run { from: first, to: last + 1 },
                        Some(conversion) => WriteStep::Convert { field: first, conversion },
                    }
                }
            });
        }
        let layouts: Box<[_]> = from.iter().map(ValueLayout::of_field).collect();
        Ok(RecordPlan { layouts, needed, writes })
    }

    /// Returns the quick copy that does the same, if the plan rewrites no values.
    fn quick(&self) -> Option<QuickCopy> {
        let mut parts = Vec::new();
        for step in &self.writes {
            match step {
                WriteStep::Run { from, to } => parts.push(RowPart::Fields { from: *from, to: *to }),
                WriteStep::Constant(bytes) => parts.push(RowPart::Constant(bytes)),
                WriteStep::Convert { field, conversion } => match conversion {
                    ValueConversion::Flagged(value) if matches!(**value, ValueConversion::Same(_)) => {
                        parts.push(RowPart::Constant(&[1]));
                        parts.push(RowPart::Fields { from: *field, to: *field + 1 });
                    }
                    _ => return None,
                },
            }
        }
        QuickCopy::new(&self.layouts[..self.needed], &parts, self.needed == self.layouts.len())
    }

    /// Does what [`CopyPlan::copy`] does.
    #[inline(never)]
    fn copy(&self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        let end = self.copy_needed(row, to)?;
        if end < row.len() && self.needed == self.layouts.len() {
            return Err(RowDefect::TrailingBytes);
        }
        Ok(())
    }

    /// Returns the length of the producer's fields up to the last that is needed.
    fn copy_needed(&self, row: &[u8], to: &mut Vec<u8>) -> Result<usize, RowDefect> {
        let mut starts = SmallVec::<[usize; 32]>::from_slice(&[0]);
        let mut bytes = RowBytes::new(row);
        for layout in &self.layouts[..self.needed] {
            layout.skip(&mut bytes)?;
            starts.push(row.len() - bytes.rest.len());
        }
        for step in &self.writes {
            match step {
                WriteStep::Run { from, to: end } => append(to, &row[starts[*from]..starts[*end]]),
                WriteStep::Constant(bytes) => append(to, bytes),
                WriteStep::Convert { field, conversion } => {
                    conversion.convert(&mut RowBytes::new(&row[starts[*field]..starts[*field + 1]]), to)?;
                }
            }
        }
        Ok(row.len() - bytes.rest.len())
    }

    /// Returns the length of the producer's record.
    fn copy_whole(&self, row: &[u8], to: &mut Vec<u8>) -> Result<usize, RowDefect> {
        let end = self.copy_needed(row, to)?;
        let mut bytes = RowBytes::new(&row[end..]);
        self.layouts[self.needed..].iter().try_for_each(|layout| layout.skip(&mut bytes))?;
        Ok(row.len() - bytes.rest.len())
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
                let length = plan.copy_whole(row.rest, to)?;
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
