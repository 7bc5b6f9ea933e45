//! What a source and a sink of Avro know of schemas, and how they ask a schema registry for more.

use std::fmt;
use std::sync::Arc;

use super::schema::AvroSchema;
use crate::model::Interrupt;

/// How a source reads records of Avro.
#[derive(Clone, Debug)]
pub struct AvroReading {
    /// The schema that the pipeline was planned with. Without a registry all records have it.
    pub schema: Arc<AvroSchema>,
    /// Finds the schema of a record by the id in front of it. `None` if records have no id.
    pub writers: Option<Arc<dyn WriterSchemas>>,
}

/// The schemas of a registry by their ids.
pub trait WriterSchemas: fmt::Debug + Send + Sync {
    /// Returns the schema. May wait for the registry, until `interrupt` is set.
    fn schema(&self, id: u32, interrupt: &Interrupt) -> Result<Arc<AvroSchema>, SchemaLookupError>;
}

/// The ids of schemas in a registry.
pub trait SchemaIds: fmt::Debug + Send + Sync {
    /// Returns the id of the schema with this text. May wait for the registry.
    fn id(&self, schema: &str) -> Result<u32, SchemaLookupError>;
}

/// Why a schema or its id is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaLookupError {
    /// The registry has no such schema, or it cannot be used: the record is at fault.
    Unknown(String),
    /// The registry does not answer, or refuses the request.
    Failed(String),
}
