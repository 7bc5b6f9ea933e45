//! The dead letters of a chain: those that the host keeps are written and replayed here.
//!
//! Letters of records that come straight from the chain's source wait until the source loop has found the records in the input.
//! Only bad records cost this search.

use std::iter::repeat;

use super::chained_node::{KeptLetters, NodeTask};
use super::operator_chain::OperatorChain;
use super::unlocated_letters::{UnlocatedLetters, push_located, record_indexes};
use crate::connector::RecordLocation;
use crate::model::{Batch, Column};
use crate::runtime::replay::replay_feed::{ReplayFeed, ReplayStep};
use crate::runtime::subtask_failure::SubtaskError;
use crate::turn::{OutputBatch, OutputId};

/// Largest number of replayed records in one step.
const RECORDS_PER_STEP: usize = 1024;

impl OperatorChain {
    /// Takes a batch of dead letters that must wait or that the host keeps. Returns any other output.
    pub(super) fn hold_or_keep_letters(
        &mut self,
        node: usize,
        output: OutputBatch,
    ) -> Result<Option<OutputBatch>, SubtaskError> {
        let is_kept = self.nodes[node].letters.as_ref().is_some_and(|letters| letters.output == output.output);
        if !is_kept && output.output != OutputId::DeadLetter {
            return Ok(Some(output));
        }
        if output.output == OutputId::DeadLetter
            && self.is_fed_by_source_at(node)
            && let Some(unlocated) = &mut self.unlocated
        {
            unlocated.letters.push((node, output));
            return Ok(None);
        }
        let output = OutputBatch { batch: Batch { attributes: None, ..output.batch }, ..output };
        let Some(KeptLetters { sink, .. }) = self.nodes[node].letters.as_deref_mut().filter(|_| is_kept) else {
            return Ok(Some(output));
        };
        match sink.write(&output.batch) {
            Ok(()) => Ok(None),
            Err(error) => Err(self.error_in(node, error)),
        }
    }

    /// Holds the letters that nodes emit for records of the source, until [`OperatorChain::release_letters`].
    pub(super) fn hold_letters(&mut self) {
        self.unlocated = Some(UnlocatedLetters { letters: Vec::new(), are_indexes_known: true });
    }

    /// Emits the letters that were held. `locate` finds records of the source's batch, which it gets in ascending order.
    pub(super) fn release_letters(
        &mut self,
        locate: impl FnOnce(&[usize]) -> Vec<Option<RecordLocation>>,
    ) -> Result<(), SubtaskError> {
        let Some(UnlocatedLetters { letters, are_indexes_known }) = self.unlocated.take() else { return Ok(()) };
        if letters.is_empty() {
            return Ok(());
        }
        let known = |index: &usize| *index < usize::MAX;
        let mut indexes: Vec<usize> =
            letters.iter().flat_map(|(_, letters)| record_indexes(&letters.batch)).filter(known).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let locations = if are_indexes_known { locate(&indexes) } else { Vec::new() };
        for (node, mut output) in letters {
            let mut values = Column::with_capacity(output.batch.len(), 2 * output.batch.values.bytes().len());
            for (json, index) in output.batch.values.iter().zip(record_indexes(&output.batch).chain(repeat(usize::MAX)))
            {
                let place = indexes.binary_search(&index).ok();
                match place.and_then(|place| locations.get(place)) {
                    Some(Some(location)) => push_located(&mut values, json, location),
                    _ => values.push(json),
                }
            }
            output.batch.values = values;
            self.route(node, output)?;
        }
        Ok(())
    }

    /// Returns whether letters are left to replay.
    pub(super) fn has_letters_to_replay(&mut self) -> bool {
        let mut feeds = self.nodes.iter_mut().filter_map(|node| node.letters.as_mut()?.replay.as_mut());
        feeds.any(ReplayFeed::has_letters)
    }

    /// Replays one step of letters of each node.
    pub(super) fn replay_letters(&mut self) -> Result<(), SubtaskError> {
        for node in 0..self.nodes.len() {
            let Some(letters) = &mut self.nodes[node].letters else { continue };
            let Some(feed) = &mut letters.replay else { continue };
            if !feed.has_letters() {
                continue;
            }
            let step = match feed.next_step(RECORDS_PER_STEP) {
                Ok(step) => step,
                Err(error) => return Err(self.error_in(node, error)),
            };
            self.has_unpublished_stats = true;
            match step {
                ReplayStep::Records { input, batch, failed_before } => {
                    self.set_failed_before(node, failed_before);
                    self.process(node, input, batch)?;
                    self.set_failed_before(node, 0);
                }
                ReplayStep::Rejected { record, failed_before } => {
                    self.set_failed_before(node, failed_before);
                    self.reject(node, record)?;
                    self.set_failed_before(node, 0);
                }
                ReplayStep::Kept(json) => {
                    let batch =
                        Batch { values: [json].iter().collect::<Column>(), timestamps: vec![0], ..Batch::default() };
                    self.route(node, OutputBatch { output: OutputId::DeadLetter, batch })?;
                }
                ReplayStep::Nothing => {}
            }
        }
        Ok(())
    }

    fn set_failed_before(&mut self, node: usize, times: u32) {
        if let NodeTask::Operator(operator) = &mut self.nodes[node].task {
            operator.set_failed_before(times);
        }
    }
}
