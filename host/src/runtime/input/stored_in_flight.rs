//! The payload of in-flight data: the schemas of rows as text, and the elements. A batch of rows names its schema by its index.
//!
//! The types, with their fields in this order, are the current durable format.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::in_flight_data::InFlightData;
use crate::model::row::RowSchema;
use crate::model::{Batch, Column, Fault, KeyGroup, Keys};
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::runtime::stream_element::StreamElement;

/// The payload.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct StoredInFlight {
    /// The distinct schemas of the rows, as text.
    pub schemas: Vec<String>,
    /// Each element with the index of its channel among those of the subtask.
    pub elements: Vec<(u32, StoredElement)>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum StoredElement {
    /// A batch of an input: 0 is the first one, 1 the second one, 2 the broadcast input.
    Batch(u8, StoredBatch),
    Rejected {
        value: Vec<u8>,
        /// Index of the schema if the value is a row.
        schema: Option<u32>,
        timestamp: i64,
        fault: Fault,
    },
    Watermark(i64),
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredBatch {
    pub values: StoredColumn,
    pub timestamps: Vec<i64>,
    pub chosen_keys: Option<StoredColumn>,
    pub keys: Option<StoredKeys>,
    pub attributes: Option<StoredColumn>,
    /// Index of the schema if the values are rows.
    pub schema: Option<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredColumn {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredKeys {
    distinct: StoredColumn,
    groups: Vec<KeyGroup>,
    key_of: Vec<u32>,
}

/// The inputs of a node. The index of an input is part of the format.
const ROLES: [InputRole; 3] = [InputRole::First, InputRole::Second, InputRole::Broadcast];

impl StoredInFlight {
    /// Returns the stored form of in-flight data.
    pub fn of(in_flight: &InFlightData) -> StoredInFlight {
        let mut stored = StoredInFlight::default();
        for (channel, element) in &in_flight.elements {
            let element = stored.element(element);
            stored.elements.extend(element.map(|element| (*channel, element)));
        }
        stored
    }

    /// Returns the stored form of an element, or `None` for those that are not stored.
    fn element(&mut self, element: &StreamElement) -> Option<StoredElement> {
        Some(match element {
            StreamElement::Batch(role, batch) => {
                StoredElement::Batch(ROLES.iter().position(|other| other == role)? as u8, self.batch(batch))
            }
            StreamElement::Rejected(rejected) => StoredElement::Rejected {
                value: rejected.value.clone(),
                schema: self.schema(rejected.schema.as_deref()),
                timestamp: rejected.timestamp,
                fault: rejected.fault.clone(),
            },
            StreamElement::Watermark(watermark) => StoredElement::Watermark(*watermark),
            StreamElement::Idleness { .. } | StreamElement::Barrier(_) => return None,
        })
    }

    fn batch(&mut self, batch: &Batch) -> StoredBatch {
        StoredBatch {
            values: StoredColumn::of(&batch.values),
            timestamps: batch.timestamps.clone(),
            chosen_keys: batch.chosen_keys.as_ref().map(StoredColumn::of),
            keys: batch.keys.as_ref().map(|keys| StoredKeys {
                distinct: StoredColumn::of(&keys.distinct),
                groups: keys.groups.clone(),
                key_of: keys.key_of.clone(),
            }),
            attributes: batch.attributes.as_ref().map(StoredColumn::of),
            schema: self.schema(batch.schema.as_deref()),
        }
    }

    /// Returns the index of a schema in the table. Adds it if needed.
    fn schema(&mut self, schema: Option<&RowSchema>) -> Option<u32> {
        let text = schema?.to_string();
        let index = self.schemas.iter().position(|known| *known == text).unwrap_or_else(|| {
            self.schemas.push(text);
            self.schemas.len() - 1
        });
        Some(index as u32)
    }

    /// Returns the elements, or why they are invalid.
    pub fn checked(self, max_parallelism: u32) -> Result<InFlightData, String> {
        let parse = |text: &String| text.parse().map(Arc::new).map_err(|defect| format!("a schema of rows: {defect}"));
        let schemas = self.schemas.iter().map(parse).collect::<Result<Vec<Arc<RowSchema>>, String>>()?;
        let checks = ElementChecks { schemas, max_parallelism };
        let check = |(channel, element)| Ok((channel, checks.element(element)?));
        Ok(InFlightData { elements: self.elements.into_iter().map(check).collect::<Result<_, String>>()? })
    }
}

/// Checks stored elements against the table of schemas and the number of key groups.
struct ElementChecks {
    schemas: Vec<Arc<RowSchema>>,
    max_parallelism: u32,
}

impl ElementChecks {
    fn element(&self, element: StoredElement) -> Result<StreamElement, String> {
        Ok(match element {
            StoredElement::Batch(role, batch) => {
                let role = ROLES.get(usize::from(role)).ok_or_else(|| format!("there is no input {role}"))?;
                StreamElement::Batch(*role, self.batch(batch)?)
            }
            StoredElement::Rejected { value, schema, timestamp, fault } => {
                let schema = self.schema(schema)?;
                StreamElement::Rejected(Box::new(RejectedRecord { value, schema, timestamp, fault }))
            }
            StoredElement::Watermark(watermark) => StreamElement::Watermark(watermark),
        })
    }

    fn batch(&self, batch: StoredBatch) -> Result<Batch, String> {
        let values = batch.values.checked()?;
        let records = values.len();
        let chosen_keys = batch.chosen_keys.map(StoredColumn::checked).transpose()?;
        let attributes = batch.attributes.map(StoredColumn::checked).transpose()?;
        let keys = batch.keys.map(|keys| keys.checked(records, self.max_parallelism)).transpose()?.map(Arc::new);
        let timestamps = batch.timestamps;
        let mut columns = chosen_keys.iter().chain(&attributes);
        if timestamps.len() != records || columns.any(|column| column.len() != records) {
            return Err(format!("a batch of {records} records has columns of different lengths"));
        }
        Ok(Batch { values, timestamps, chosen_keys, keys, attributes, schema: self.schema(batch.schema)? })
    }

    fn schema(&self, index: Option<u32>) -> Result<Option<Arc<RowSchema>>, String> {
        let Some(index) = index else { return Ok(None) };
        let schema = self.schemas.get(index as usize);
        schema.cloned().map(Some).ok_or_else(|| format!("there is no schema {index}"))
    }
}

impl StoredColumn {
    fn of(column: &Column) -> StoredColumn {
        StoredColumn { bytes: column.bytes().to_vec(), offsets: column.offsets().to_vec() }
    }

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
