//! Runs an operator whose key groups have reached different watermarks: once per watermark, in ascending order.
//!
//! A rescale can bring together key groups of several subtasks. Each group continues from its own watermark, which alone decides
//! what is late, which windows have fired and which timers are due. The work is divided here, so that an operator sees one
//! watermark at a time. It costs nothing once the subtask has caught up with all of its groups.

use super::turn_driven::TurnDriven;
use crate::model::{Batch, TimeDomain};
use crate::operator::failure::OperatorFailure;
use crate::turn::{OutputBatch, SelectedGroups};

/// Processes a batch of an input: all records of one watermark together. Records of one key keep their order.
pub(super) fn process_batch<T: TurnDriven>(
    operator: &mut T,
    input: u32,
    batch: &Batch,
    outputs: &mut Vec<OutputBatch>,
) -> Result<(), OperatorFailure> {
    let subtask = operator.runner().watermark;
    let watermarks = operator.runner_mut().turn.group_watermarks().clone();
    for watermark in watermarks.distinct(subtask) {
        let has_watermark = |record: &usize| match &batch.keys {
            Some(keys) => watermarks.of(keys.groups[keys.key_of[*record] as usize], subtask) == watermark,
            None => subtask == watermark,
        };
        let records: Vec<usize> = (0..batch.len()).filter(has_watermark).collect();
        if records.is_empty() {
            continue;
        }
        let selected = batch.select(&records);
        at_watermark(operator, watermark, |operator| operator.process_batch(input, selected, outputs))?;
        operator.runner_mut().note_handled(input, records.len());
    }
    Ok(())
}

/// Fires the timers of a clock that has reached `now`, at most as many as one turn handles. Returns whether more may be due.
///
/// In event time, only the groups that have reached exactly the subtask's watermark are due. In processing time, all are.
pub(super) fn fire_timers<T: TurnDriven>(
    operator: &mut T,
    domain: TimeDomain,
    now: i64,
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    let subtask = operator.runner().watermark;
    let watermarks = operator.runner_mut().turn.group_watermarks();
    let watermarks = match domain {
        _ if watermarks.is_empty() => return operator.fire_timers(domain, now, outputs),
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

/// Resumes the timers that were being fired when the restored snapshot was taken, at most as many as one turn handles. Returns
/// whether more may be due.
pub(super) fn resume_interrupted<T: TurnDriven>(
    operator: &mut T,
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    let subtask = operator.runner().watermark;
    for watermark in operator.runner().turn.interrupted_watermarks(subtask) {
        let selected = SelectedGroups { subtask, watermark, interrupted_only: true };
        if fire_selected(operator, TimeDomain::Event, watermark, selected, outputs)? {
            return Ok(true);
        }
    }
    operator.runner_mut().turn.clear_interrupted_groups();
    Ok(false)
}

fn fire_selected<T: TurnDriven>(
    operator: &mut T,
    domain: TimeDomain,
    now: i64,
    selected: SelectedGroups,
    outputs: &mut Vec<OutputBatch>,
) -> Result<bool, OperatorFailure> {
    at_watermark(operator, selected.watermark, |operator| {
        operator.runner_mut().turn.select_groups(Some(selected));
        let fired = operator.fire_timers(domain, now, outputs);
        operator.runner_mut().turn.select_groups(None);
        fired
    })
}

/// Runs `work` as if the subtask had reached `watermark`.
fn at_watermark<T: TurnDriven, R>(operator: &mut T, watermark: i64, work: impl FnOnce(&mut T) -> R) -> R {
    let subtask = std::mem::replace(&mut operator.runner_mut().watermark, watermark);
    let result = work(operator);
    operator.runner_mut().watermark = subtask;
    result
}
