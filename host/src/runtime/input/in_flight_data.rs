//! The elements that an unaligned barrier overtook: part of the checkpoint, beside the state.
//!
//! A restore puts them in front of everything that arrives. After a change of parallelism they are redistributed by key group.

use std::collections::VecDeque;
use std::ops::Range;

use crate::model::Batch;
use crate::pipeline::InputRole;
use crate::runtime::stream_element::StreamElement;

/// Elements on their way to one subtask. The elements of a channel are in their order.
#[derive(Debug, Default)]
pub struct InFlightData {
    /// Each element with the index of its channel among those of the subtask.
    pub(super) elements: Vec<(u32, StreamElement)>,
}

impl InFlightData {
    /// Adds a copy of an element. Barriers and idleness are left out: after a restore every sender is active until it says
    /// otherwise.
    pub(super) fn push(&mut self, channel: usize, element: &StreamElement) {
        let copy = match element {
            StreamElement::Batch(role, batch) => StreamElement::Batch(*role, batch.clone()),
            StreamElement::Rejected(rejected) => StreamElement::Rejected(rejected.clone()),
            StreamElement::Watermark(watermark) => StreamElement::Watermark(*watermark),
            StreamElement::Idleness { .. } | StreamElement::Barrier(_) => return,
        };
        self.elements.push((channel as u32, copy));
    }

    /// Returns whether the barrier overtook nothing.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Returns the elements, each with the index of its channel.
    pub(crate) fn into_elements(self) -> impl Iterator<Item = (usize, StreamElement)> {
        self.elements.into_iter().map(|(channel, element)| (channel as usize, element))
    }

    /// Returns what subtask `to` of `parallelism` takes over after a change of parallelism, from the in-flight data of subtask
    /// `from` of `old_parallelism`. `groups` are the key groups of `to`.
    ///
    /// Keyed records follow their key group, and other records the number of their subtask. Broadcast records follow the
    /// broadcast state, which `to` takes from one old subtask. Watermarks are dropped, because every sender sends its own again.
    pub(crate) fn redistribute(
        self,
        from: u32,
        old_parallelism: u32,
        to: u32,
        parallelism: u32,
        groups: &Range<u32>,
    ) -> InFlightData {
        let is_assigned_by_number = from % parallelism == to;
        let mut elements = Vec::new();
        for (channel, element) in self.elements {
            match element {
                StreamElement::Batch(role, batch) if batch.keys.is_some() => {
                    let runs = runs_in_groups(&batch, groups);
                    elements.extend(runs.map(|run| (channel, StreamElement::Batch(role, run))));
                }
                StreamElement::Batch(InputRole::Broadcast, _) if to.checked_rem(old_parallelism) == Some(from) => {
                    elements.push((channel, element));
                }
                StreamElement::Batch(InputRole::First | InputRole::Second, _) | StreamElement::Rejected(_)
                    if is_assigned_by_number =>
                {
                    elements.push((channel, element));
                }
                _ => {}
            }
        }
        InFlightData { elements }
    }

    /// Appends the in-flight data of another subtask.
    pub(crate) fn append(&mut self, mut other: InFlightData) {
        self.elements.append(&mut other.elements);
    }
}

/// Returns the runs of adjacent records whose keys are in `groups`.
fn runs_in_groups<'a>(batch: &'a Batch, groups: &'a Range<u32>) -> impl Iterator<Item = Batch> + 'a {
    let keys = batch.keys.as_deref();
    let is_in_groups = move |record: usize| {
        keys.is_some_and(|keys| groups.contains(&u32::from(keys.groups[keys.key_of[record] as usize])))
    };
    let mut runs: VecDeque<Range<usize>> = VecDeque::new();
    for record in (0..batch.len()).filter(|&record| is_in_groups(record)) {
        match runs.back_mut() {
            Some(run) if run.end == record => run.end += 1,
            _ => runs.push_back(record..record + 1),
        }
    }
    runs.into_iter().map(|run| batch.slice(run))
}
