//! The file format of in-flight data.
//!
//! Durable. Numbers of the header are little endian. The payload holds the elements in postcard.
//!
//! ```text
//! "COFFFLOW" | version u32 | payload
//! ```
//!
//! Version 2 may hold batches of a second keyed input, and is otherwise equal to version 1. The bytes are untrusted until
//! [`InFlightData::decode`] has checked them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::in_flight_data::InFlightData;
use crate::error::{Result, checkpoint_corrupt, internal};
use crate::model::{Batch, Column, Fault, KeyGroup, Keys};
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::runtime::stream_element::StreamElement;

const MAGIC: [u8; 8] = *b"COFFFLOW";
const VERSION: u32 = 2;

/// An element with the index of its channel among those of the subtask.
#[derive(Serialize, Deserialize)]
struct StoredInFlight {
    channel: u32,
    element: StoredElement,
}

#[derive(Serialize, Deserialize)]
enum StoredElement {
    /// A batch of the first input.
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
    /// A batch of the second input.
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
    /// Returns the bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let stored: Vec<StoredInFlight> = self
            .elements
            .iter()
            .filter_map(|(channel, element)| Some(StoredInFlight { channel: *channel, element: to_stored(element)? }))
            .collect();
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&VERSION.to_le_bytes());
        postcard::to_extend(&stored, file).map_err(|error| internal(format!("in-flight data: {error}")))
    }

    /// Decodes the bytes of the file `path`. Every error has the code `checkpoint-corrupt` and names the file.
    pub fn decode(path: &str, file: &[u8], max_parallelism: u32) -> Result<InFlightData> {
        let corrupt = |reason: String| checkpoint_corrupt(format!("{path}: {reason}"));
        let header = file.split_first_chunk::<8>().and_then(|(magic, rest)| Some((magic, rest.split_first_chunk()?)));
        let payload = match header {
            Some((magic, (version, payload))) if *magic == MAGIC => match u32::from_le_bytes(*version) {
                1..=VERSION => payload,
                other => {
                    let reason =
                        format!("in-flight data has version {other}; the newest supported version is {VERSION}");
                    return Err(corrupt(reason));
                }
            },
            _ => return Err(corrupt("the file does not hold in-flight data".to_owned())),
        };
        let (stored, rest): (Vec<StoredInFlight>, _) = postcard::take_from_bytes(payload)
            .map_err(|error| corrupt(format!("the elements cannot be decoded: {error}")))?;
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes follow the last element", rest.len())));
        }
        let check = |stored: StoredInFlight| Ok((stored.channel, stored.element.checked(max_parallelism)?));
        let elements = stored.into_iter().map(check).collect::<Result<_, String>>().map_err(corrupt)?;
        Ok(InFlightData { elements })
    }
}

/// Returns the stored form of an element, or `None` for those that are not stored.
fn to_stored(element: &StreamElement) -> Option<StoredElement> {
    let column = |column: &Column| StoredColumn { bytes: column.bytes().to_vec(), offsets: column.offsets().to_vec() };
    Some(match element {
        StreamElement::Batch(InputRole::Broadcast, batch) => {
            StoredElement::Broadcast { values: column(&batch.values), timestamps: batch.timestamps.clone() }
        }
        StreamElement::Batch(role, batch) => {
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
        StreamElement::Rejected(rejected) => StoredElement::Rejected {
            value: rejected.value.clone(),
            timestamp: rejected.timestamp,
            fault: rejected.fault.clone(),
        },
        StreamElement::Watermark(watermark) => StoredElement::Watermark(*watermark),
        StreamElement::Idleness { .. } | StreamElement::Barrier(_) => return None,
    })
}

impl StoredElement {
    /// Returns the element, or why it is invalid.
    fn checked(self, max_parallelism: u32) -> Result<StreamElement, String> {
        Ok(match self {
            StoredElement::Batch(batch) => StreamElement::Batch(InputRole::First, batch.checked(max_parallelism)?),
            StoredElement::Second(batch) => StreamElement::Batch(InputRole::Second, batch.checked(max_parallelism)?),
            StoredElement::Rejected { value, timestamp, fault } => {
                StreamElement::Rejected(Box::new(RejectedRecord { value, timestamp, fault }))
            }
            StoredElement::Watermark(watermark) => StreamElement::Watermark(watermark),
            StoredElement::Broadcast { values, timestamps } => {
                let batch = StoredBatch { values, timestamps, chosen_keys: None, keys: None };
                StreamElement::Batch(InputRole::Broadcast, batch.checked(max_parallelism)?)
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
            return Err(format!("a batch of {records} records has columns of different lengths"));
        }
        Ok(Batch { values, timestamps, chosen_keys, keys, attributes: None })
    }
}

impl StoredColumn {
    fn checked(self) -> Result<Column, String> {
        Column::from_parts(self.bytes, self.offsets).map_err(|defect| format!("invalid column: {defect}"))
    }
}

impl StoredKeys {
    fn checked(self, records: usize, max_parallelism: u32) -> Result<Keys, String> {
        let distinct = self.distinct.checked()?;
        let is_known = |&key: &u32| (key as usize) < distinct.len();
        if self.groups.len() != distinct.len() || self.key_of.len() != records || !self.key_of.iter().all(is_known) {
            return Err(format!("the keys of a batch of {records} records are inconsistent"));
        }
        if let Some(group) = self.groups.iter().find(|&&group| u32::from(group) >= max_parallelism) {
            return Err(format!("key group {group} is not below max_parallelism {max_parallelism}"));
        }
        Ok(Keys { distinct, groups: self.groups, key_of: self.key_of })
    }
}
