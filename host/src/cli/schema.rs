//! `cofferdam schema`: prints the JSON Schema of the pipeline file.

use super::print;
use crate::connector::CONNECTORS;
use crate::error::Result;
use crate::pipeline::json_schema;

/// Prints the schema for the connectors of this program.
pub fn print_schema() -> Result<()> {
    print::json(&json_schema(CONNECTORS))
}

/// Returns the schema as it is printed.
pub fn schema_text() -> Result<String> {
    print::indented_json(&json_schema(CONNECTORS))
}
