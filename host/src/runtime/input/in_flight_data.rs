//! What an unaligned checkpoint holds beside the state: the elements that its barrier has overtaken, and their file.
//!
//! Durable: all numbers of the header are little endian, the payload is the elements in postcard.
//!
//! ```text
//! "COFFFLOW" | version u32 | payload
//! ```
//!
//! Version 2 may hold batches of a second keyed input; else it is as version 1. Every byte is untrusted until [`InFlightData::decode`] has checked it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Result, checkpoint_corrupt, internal};
use crate::model::{Batch, Column, Fault, KeyGroup, Keys};
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::runtime::stream_element::Element;

const MAGIC: [u8; 8] = *b"COFFFLOW";
const VERSION: u32 = 2;

/// Elements on their way to one subtask, those of a channel in their order.
#[derive(Debug, Default)]
pub struct InFlightData {
    elements: Vec<(u32, Element)>,
}

/// How an element is stored. Its channel is an index into those of the subtask.
#[derive(Serialize, Deserialize)]
struct Stored {
    channel: u32,
    element: StoredElement,
}

#[derive(Serialize, Deserialize)]
enum StoredElement {
    /// Of the first input.
    Batch(StoredBatch),
    Rejected {
        value: Vec<u8>,
        timestamp: i64,
        fault: Fault,
    },
    Watermark(i64),
    Broadcast {
        values: StoredColumn,
        timestamps: Vec<i64>,
    },
    Second(StoredBatch),
}

#[derive(Serialize, Deserialize)]
struct StoredBatch {
    values: StoredColumn,
    timestamps: Vec<i64>,
    chosen_keys: Option<StoredColumn>,
    keys: Option<StoredKeys>,
}

#[derive(Serialize, Deserialize)]
struct StoredColumn {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
struct StoredKeys {
    distinct: StoredColumn,
    groups: Vec<KeyGroup>,
    key_of: Vec<u32>,
}

impl InFlightData {
    /// Adds a copy of an element. A barrier is none, and after a restore every sender is active until it says otherwise.
    pub(in crate::runtime) fn push(&mut self, channel: usize, element: &Element) {
        let copy = match element {
            Element::Batch(role, batch) => Element::Batch(*role, batch.clone()),
            Element::Rejected(rejected) => Element::Rejected(rejected.clone()),
            Element::Watermark(watermark) => Element::Watermark(*watermark),
            Element::Status { .. } | Element::Barrier(_) => return,
        };
        self.elements.push((channel as u32, copy));
    }

    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    pub(in crate::runtime) fn into_elements(self) -> impl Iterator<Item = (usize, Element)> {
        self.elements.into_iter().map(|(channel, element)| (channel as usize, element))
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let stored: Vec<Stored> = self
            .elements
            .iter()
            .filter_map(|(channel, element)| Some(Stored { channel: *channel, element: store(element)? }))
            .collect();
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_le_bytes());
        postcard::to_extend(&stored, file).map_err(|error| internal(format!("records in flight: {error}")))
    }

    /// Reads the bytes of the file `path`. Every error is `checkpoint-corrupt` and names the file.
    pub fn decode(path: &str, file: &[u8], max_parallelism: u32) -> Result<InFlightData> {
        let corrupt = |why: String| checkpoint_corrupt(format!("{path}: {why}"));
        let header = file.split_first_chunk::<8>().and_then(|(magic, rest)| Some((magic, rest.split_first_chunk()?)));
        let payload = match header {
            Some((magic, (version, payload))) if *magic == MAGIC => match u32::from_le_bytes(*version) {
                1..=VERSION => payload,
                other => return Err(corrupt(format!("records in flight of version {other}, above {VERSION}"))),
            },
            _ => return Err(corrupt("it does not hold records in flight".to_owned())),
        };
        let (stored, rest): (Vec<Stored>, _) =
            postcard::take_from_bytes(payload).map_err(|error| corrupt(format!("it cannot be decoded: {error}")))?;
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes follow behind the records", rest.len())));
        }
        let check = |stored: Stored| Ok((stored.channel, stored.element.checked(max_parallelism)?));
        let elements = stored.into_iter().map(check).collect::<Result<_, String>>().map_err(corrupt)?;
        Ok(InFlightData { elements })
    }

    /// Of what was on its way to subtask `from` of `old`, the part of subtask `to` where the parallelism has changed: records
    /// by their key group, others by the subtask's number. Broadcast records follow the broadcast state that they were to
    /// change, which `to` takes from one subtask. Watermarks come anew.
    pub(in crate::runtime) fn share(
        self,
        from: u32,
        old: u32,
        to: u32,
        parallelism: u32,
        groups: &Range<u32>,
    ) -> InFlightData {
        let by_number = from % parallelism == to;
        let mut elements = Vec::new();
        for (channel, element) in self.elements {
            match element {
                Element::Batch(role, batch) if batch.keys.is_some() => {
                    elements.extend(of_groups(&batch, groups).map(|part| (channel, Element::Batch(role, part))));
                }
                Element::Batch(InputRole::Broadcast, _) if to.checked_rem(old) == Some(from) => {
                    elements.push((channel, element));
                }
                Element::Batch(InputRole::First | InputRole::Second, _) | Element::Rejected(_) if by_number => {
                    elements.push((channel, element));
                }
                _ => {}
            }
        }
        InFlightData { elements }
    }

    /// Appends what was on its way to another subtask.
    pub(in crate::runtime) fn append(&mut self, mut other: InFlightData) {
        self.elements.append(&mut other.elements);
    }
}

/// The runs of records whose keys are in `groups`.
fn of_groups<'a>(batch: &'a Batch, groups: &'a Range<u32>) -> impl Iterator<Item = Batch> + 'a {
    let keys = batch.keys.as_deref();
    let is_in = move |record: usize| {
        keys.is_some_and(|keys| groups.contains(&u32::from(keys.groups[keys.key_of[record] as usize])))
    };
    let mut open: VecDeque<Range<usize>> = VecDeque::new();
    for record in (0..batch.len()).filter(|&record| is_in(record)) {
        match open.back_mut() {
            Some(run) if run.end == record => run.end += 1,
            _ => open.push_back(record..record + 1),
        }
    }
    open.into_iter().map(|run| batch.slice(run))
}

fn store(element: &Element) -> Option<StoredElement> {
    let column = |column: &Column| StoredColumn { bytes: column.bytes().to_vec(), offsets: column.offsets().to_vec() };
    Some(match element {
        Element::Batch(InputRole::Broadcast, batch) => {
            StoredElement::Broadcast { values: column(&batch.values), timestamps: batch.timestamps.clone() }
        }
        Element::Batch(role, batch) => {
            let stored = StoredBatch {
                values: column(&batch.values),
                timestamps: batch.timestamps.clone(),
                chosen_keys: batch.chosen_keys.as_ref().map(column),
                keys: batch.keys.as_ref().map(|keys| StoredKeys {
                    distinct: column(&keys.distinct),
                    groups: keys.groups.clone(),
                    key_of: keys.key_of.clone(),
                }),
            };
            if *role == InputRole::Second { StoredElement::Second(stored) } else { StoredElement::Batch(stored) }
        }
        Element::Rejected(rejected) => StoredElement::Rejected {
            value: rejected.value.clone(),
            timestamp: rejected.timestamp,
            fault: rejected.fault.clone(),
        },
        Element::Watermark(watermark) => StoredElement::Watermark(*watermark),
        Element::Status { .. } | Element::Barrier(_) => return None,
    })
}

impl StoredElement {
    fn checked(self, max_parallelism: u32) -> Result<Element, String> {
        Ok(match self {
            StoredElement::Batch(batch) => Element::Batch(InputRole::First, batch.checked(max_parallelism)?),
            StoredElement::Second(batch) => Element::Batch(InputRole::Second, batch.checked(max_parallelism)?),
            StoredElement::Rejected { value, timestamp, fault } => {
                Element::Rejected(Box::new(RejectedRecord { value, timestamp, fault }))
            }
            StoredElement::Watermark(watermark) => Element::Watermark(watermark),
            StoredElement::Broadcast { values, timestamps } => {
                let batch = StoredBatch { values, timestamps, chosen_keys: None, keys: None };
                Element::Batch(InputRole::Broadcast, batch.checked(max_parallelism)?)
            }
        })
    }
}

impl StoredBatch {
    fn checked(self, max_parallelism: u32) -> Result<Batch, String> {
        let values = self.values.checked()?;
        let records = values.len();
        let chosen_keys = self.chosen_keys.map(StoredColumn::checked).transpose()?;
        let keys = self.keys.map(|keys| keys.checked(records, max_parallelism)).transpose()?.map(Arc::new);
        let timestamps = self.timestamps;
        if timestamps.len() != records || chosen_keys.as_ref().is_some_and(|keys| keys.len() != records) {
            return Err(format!("a batch of {records} records has columns of other lengths"));
        }
        Ok(Batch { values, timestamps, chosen_keys, keys })
    }
}

impl StoredColumn {
    fn checked(self) -> Result<Column, String> {
        Column::from_parts(self.bytes, self.offsets).map_err(|defect| format!("in a column {defect}"))
    }
}

impl StoredKeys {
    fn checked(self, records: usize, max_parallelism: u32) -> Result<Keys, String> {
        let distinct = self.distinct.checked()?;
        let known = |&key: &u32| (key as usize) < distinct.len();
        if self.groups.len() != distinct.len() || self.key_of.len() != records || !self.key_of.iter().all(known) {
            return Err(format!("a batch of {records} records has keys that do not fit"));
        }
        if let Some(group) = self.groups.iter().find(|&&group| u32::from(group) >= max_parallelism) {
            return Err(format!("a key of group {group}, and there are {max_parallelism}"));
        }
        Ok(Keys { distinct, groups: self.groups, key_of: self.key_of })
    }
}

#[cfg(test)]
#[path = "in_flight_data_tests.rs"]
mod tests;
