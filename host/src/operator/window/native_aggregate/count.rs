//! Counts the records of a window. The accumulator is the count, in 8 bytes, little-endian.

use super::aggregate_result::{AggregateResult, damaged_accumulator};
use crate::model::row::write_unsigned;
use crate::model::{Column, Windows};
use crate::turn::{Guest, Turn, TurnFailure};

/// The guest of the aggregate `count`.
pub struct CountGuest {
    pub result: AggregateResult,
}

fn decode_count(accumulator: &[u8]) -> Result<u64, TurnFailure> {
    match accumulator {
        [] => Ok(0),
        _ => accumulator.try_into().map(u64::from_le_bytes).map_err(|_| damaged_accumulator()),
    }
}

impl Guest for CountGuest {
    fn add(
        &mut self,
        _: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        _: &Column,
        _: &[i64],
    ) -> Result<Column, TurnFailure> {
        let mut counts = accumulators.iter().map(decode_count).collect::<Result<Vec<u64>, TurnFailure>>()?;
        for &accumulator in accumulator_of {
            counts[accumulator as usize] = counts[accumulator as usize].saturating_add(1);
        }
        Ok(counts.into_iter().map(u64::to_le_bytes).collect())
    }

    fn merge(&mut self, _: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        let sum = |(left, right)| Ok(decode_count(left)?.saturating_add(decode_count(right)?).to_le_bytes());
        left.iter().zip(right.iter()).map(sum).collect()
    }

    fn finish(&mut self, _: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        let (mut results, mut row) = (Column::with_capacity(windows.len(), 0), Vec::new());
        for (index, accumulator) in accumulators.iter().enumerate() {
            row.clear();
            self.result.write_window(windows, index, &mut row)?;
            write_unsigned(&mut row, decode_count(accumulator)?);
            results.push(&row);
        }
        Ok(results)
    }
}
