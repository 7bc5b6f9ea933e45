//! Runs an operator whose key groups have reached different watermarks: one watermark after the other.
//!
//! A rescale can bring key groups of several subtasks together. A group goes on from its own watermark: what is late, which
//! windows have fired and which timers are due is decided by it, and never by that of another group. The work is divided here,
//! so that operators know one watermark only. Costs nothing once the subtask has caught up with all of its groups.

use super::turns::{OperatorFailure, Turning};
use crate::model::{Batch, TimeDomain};
use crate::turn::{OutputBatch, SelectedGroups};

/// Handles a batch of an input, the records of each watermark together. Records of one key keep their order.
pub(super) fn process<T: Turning>(
    operator: &mut T,
    input: u32,
    batch: &Batch,
    outputs: &mut Vec<OutputBatch>,
) -> Result<(), OperatorFailure> {
    let subtask = operator.turns().watermark;
    let watermarks = operator.turns_mut().turn.group_watermarks().clone();
    for watermark in watermarks.distinct(subtask) {
        let reached = |record: &usize| match &batch.keys {
            Some(keys) => watermarks.of(keys.groups[keys.key_of[*record] as usize], subtask) == watermark,
            None => subtask == watermark,
        };
        let records: Vec<usize> = (0..batch.len()).filter(reached).collect();
        if records.is_empty() {
            continue;
        }
        let part = batch.select(&records);
        at(operator, watermark, |operator| operator.take(input, part, outputs))?;
        operator.turns_mut().counters.records_in += records.len() as u64;
    }
    Ok(())
}

/// Fires timers of a clock that has reached `now`, as many as one turn takes. Returns whether there may be more. Event time has
/// advanced for the groups that have reached the watermark of the subtask, and no more; processing time for all.
pub(super) fn fire<T: Turning>(
    operator: &mut T,
    domain: TimeDomain,
    now: i64,
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    let subtask = operator.turns().watermark;
    let watermarks = operator.turns_mut().turn.group_watermarks();
    let watermarks = match domain {
        _ if watermarks.is_empty() => return operator.fire(domain, now, outputs),
        TimeDomain::Event => vec![subtask],
        TimeDomain::Processing => watermarks.distinct(subtask),
    };
    for watermark in watermarks {
        let selected = SelectedGroups { subtask, watermark, interrupted_only: false };
        if fire_selected(operator, domain, now, selected, outputs)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Goes on with the timers that were being fired when the snapshot was taken from which the groups were restored, as many as one
/// turn takes. Returns whether there may be more.
pub(super) fn resume<T: Turning>(operator: &mut T, outputs: &mut Vec<OutputBatch>) -> Result<bool, OperatorFailure> {
    let subtask = operator.turns().watermark;
    for watermark in operator.turns().turn.interrupted_watermarks(subtask) {
        let selected = SelectedGroups { subtask, watermark, interrupted_only: true };
        if fire_selected(operator, TimeDomain::Event, watermark, selected, outputs)? {
            return Ok(true);
        }
    }
    operator.turns_mut().turn.clear_interrupted_groups();
    Ok(false)
}

fn fire_selected<T: Turning>(
    operator: &mut T,
    domain: TimeDomain,
    now: i64,
    selected: SelectedGroups,
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    at(operator, selected.watermark, |operator| {
        operator.turns_mut().turn.select_groups(Some(selected));
        let fired = operator.fire(domain, now, outputs);
        operator.turns_mut().turn.select_groups(None);
        fired
    })
}

/// Does some work as if the subtask had reached `watermark`.
fn at<T: Turning, R>(operator: &mut T, watermark: i64, work: impl FnOnce(&mut T) -> R) -> R {
    let subtask = std::mem::replace(&mut operator.turns_mut().watermark, watermark);
    let result = work(operator);
    operator.turns_mut().watermark = subtask;
    result
}
