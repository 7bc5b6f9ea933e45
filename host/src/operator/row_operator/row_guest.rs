//! Runs a filter and a selection as a native function.

use std::sync::Arc;

use super::predicate::RowPredicate;
use super::selection::RowSelection;
use crate::model::row::{RowSchema, read_json};
use crate::model::{Batch, Column, Fault, FaultCode};
use crate::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};

/// Metric: number of records that a filter has left out.
const FILTERED: &str = "numRecordsFiltered";

/// A compiled filter and selection, shared by all subtasks.
#[derive(Debug)]
pub struct RowProgram {
    /// The filter, if any, and how it reads the records.
    pub filter: Option<(RowPredicate, FilteredFormat)>,
    /// The selection, if any. The records are then rows.
    pub select: Option<RowSelection>,
}

/// The format of the records that a filter reads.
#[derive(Debug)]
pub enum FilteredFormat {
    /// Rows.
    Rows,
    /// JSON, of which these fields are read.
    Json(RowSchema),
}

/// Filters and selects the records of one subtask.
#[derive(Debug)]
pub struct RowGuest {
    program: Arc<RowProgram>,
    /// The fields of a JSON record.
    row: Vec<u8>,
}

impl RowGuest {
    /// Creates the guest of a subtask.
    pub fn new(program: Arc<RowProgram>) -> RowGuest {
        RowGuest { program, row: Vec::new() }
    }

    /// Returns the indexes of the records that pass the filter.
    fn passing(&mut self, values: &Column) -> Result<Option<Vec<usize>>, Fault> {
        let Some((predicate, format)) = &self.program.filter else { return Ok(None) };
        let mut passing = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let row = match format {
                FilteredFormat::Rows => value,
                FilteredFormat::Json(schema) => {
                    self.row.clear();
                    read_json(schema, value, &mut self.row).map_err(invalid)?;
                    &self.row[..]
                }
            };
            if predicate.is_true(row).map_err(invalid)? {
                passing.push(index);
            }
        }
        Ok((passing.len() < values.len()).then_some(passing))
    }

    fn selected(&self, values: &Column, passing: Option<&[usize]>) -> Result<Option<Column>, Fault> {
        let Some(select) = &self.program.select else { return Ok(None) };
        let mut selected = Column::with_capacity(values.len(), values.bytes().len());
        let mut write = |value: &[u8]| selected.try_push_with(|bytes| select.write(value, bytes)).map_err(invalid);
        match passing {
            Some(passing) => passing.iter().try_for_each(|&index| write(values.value(index)))?,
            None => values.iter().try_for_each(write)?,
        }
        Ok(Some(selected))
    }
}

impl Guest for RowGuest {
    fn process(&mut self, turn: &mut Turn, _input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let passing = self.passing(&batch.values)?;
        let selected = self.selected(&batch.values, passing.as_deref())?;
        let mut output = match &passing {
            Some(passing) => {
                turn.count(FILTERED, (batch.len() - passing.len()) as u64);
                batch.select(passing)
            }
            None => batch.clone(),
        };
        output.keys = None;
        if let (Some(values), Some(select)) = (selected, &self.program.select) {
            output.values = values;
            output.schema = Some(select.output().clone());
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: output }])
    }
}

#[cold]
fn invalid(why: impl std::fmt::Display) -> Fault {
    Fault::new(FaultCode::RecordInvalid, why.to_string())
}
