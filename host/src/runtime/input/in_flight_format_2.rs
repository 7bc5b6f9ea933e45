//! In-flight data of versions 1 and 2, which are read but no longer written.
//!
//! Version 1 has no second input and is otherwise equal to version 2. Neither has schemas of rows or attributes.

use serde::Deserialize;

use super::stored_in_flight::{StoredBatch, StoredColumn, StoredElement, StoredInFlight, StoredKeys};
use crate::model::Fault;

/// The payload: a list of elements.
#[derive(Deserialize)]
pub(super) struct InFlightV2(Vec<InFlightElementV2>);

/// An element with the index of its channel.
#[derive(Deserialize)]
struct InFlightElementV2 {
    channel: u32,
    element: ElementV2,
}

#[derive(Deserialize)]
enum ElementV2 {
    First(BatchV2),
    Rejected { value: Vec<u8>, timestamp: i64, fault: Fault },
    Watermark(i64),
    Broadcast { values: StoredColumn, timestamps: Vec<i64> },
    Second(BatchV2),
}

#[derive(Deserialize)]
struct BatchV2 {
    values: StoredColumn,
    timestamps: Vec<i64>,
    chosen_keys: Option<StoredColumn>,
    keys: Option<StoredKeys>,
}

impl From<InFlightV2> for StoredInFlight {
    fn from(InFlightV2(elements): InFlightV2) -> StoredInFlight {
        let convert = |InFlightElementV2 { channel, element }| (channel, StoredElement::from(element));
        StoredInFlight { schemas: Vec::new(), elements: elements.into_iter().map(convert).collect() }
    }
}

impl From<ElementV2> for StoredElement {
    fn from(element: ElementV2) -> StoredElement {
        match element {
            ElementV2::First(batch) => StoredElement::Batch(0, batch.into()),
            ElementV2::Second(batch) => StoredElement::Batch(1, batch.into()),
            ElementV2::Broadcast { values, timestamps } => {
                StoredElement::Batch(2, BatchV2 { values, timestamps, chosen_keys: None, keys: None }.into())
            }
            ElementV2::Rejected { value, timestamp, fault } => {
                StoredElement::Rejected { value, schema: None, timestamp, fault }
            }
            ElementV2::Watermark(watermark) => StoredElement::Watermark(watermark),
        }
    }
}

impl From<BatchV2> for StoredBatch {
    fn from(batch: BatchV2) -> StoredBatch {
        let BatchV2 { values, timestamps, chosen_keys, keys } = batch;
        StoredBatch { values, timestamps, chosen_keys, keys, attributes: None, schema: None }
    }
}
