//! Finds the record that a function failed on in the input of a source, after an exchange has separated the two.

use std::sync::Arc;

use crate::access::PipelinePaths;
use crate::connector::{self, RecordLocation};
use crate::format::{RecordDecoder, SourceDecoding};
use crate::model::Column;
use crate::model::row::{RowSchema, write_json};
use crate::pipeline::{NodeInput, NodeKind, OutputPort};
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::runtime::subtask_failure::{RecordOrigin, SubtaskFailure};

/// Searches the inputs of the sources that the failed operator reads for the record, if its origin is not known yet. A row is found
/// by its form as JSON, which the failure holds.
pub(super) fn record_origin(
    failure: &SubtaskFailure,
    plan: &ExecutionPlan,
    paths: &PipelinePaths,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordOrigin> {
    let record = failure.record.as_ref().filter(|record| record.is_record && failure.origin.is_none())?;
    first_with_value(plan, &failure.node, &record.value, paths, is_cancelled).map(RecordOrigin::FirstWithSameValue)
}

/// Returns the place of the first record with this content in the inputs of the sources that an operator reads. A row is given as
/// JSON. `None` if there is none, or if it is too far from the beginning.
pub fn first_with_value(
    plan: &ExecutionPlan,
    operator: &str,
    value: &[u8],
    paths: &PipelinePaths,
    is_cancelled: &dyn Fn() -> bool,
) -> Option<RecordLocation> {
    let nodes = &plan.pipeline.nodes;
    let index = plan.pipeline.index_of(operator)?;
    let find = |input: &NodeInput| {
        let producer = &nodes[input.node];
        let (NodeKind::Source(source), OutputPort::Main) = (&producer.kind, &input.port) else { return None };
        let rows = plan.records.nodes[index].input(input.role).and_then(|format| format.schema());
        let mut finder = match rows {
            Some(schema) => {
                let (_, has_header) = source.connector.format();
                RowFinder::new(plan.records.decodings.get(&producer.id)?, schema, has_header)
            }
            None => None,
        };
        let mut is_match = |text: &[u8], columns: &[String]| match (&mut finder, rows) {
            (Some(finder), _) => finder.json(text, columns).is_some_and(|json| json == value),
            (None, Some(_)) => false,
            (None, None) => text == value,
        };
        connector::find_record(&source.connector, paths, &mut is_match, is_cancelled)
    };
    nodes[index].inputs.iter().find_map(find)
}

/// Decodes the records of a source as rows of a consumer.
struct RowFinder<'a> {
    schema: &'a RowSchema,
    decoder: RecordDecoder,
    columns: Vec<String>,
    row: [Column; 1],
    json: Vec<u8>,
}

impl<'a> RowFinder<'a> {
    fn new(decoding: &SourceDecoding, schema: &'a Arc<RowSchema>, has_header: bool) -> Option<RowFinder<'a>> {
        let decoding =
            SourceDecoding { rows: vec![schema.clone()], wants_raw: false, timestamp: None, ..decoding.clone() };
        let decoder = RecordDecoder::compile(&decoding, has_header).ok()?;
        Some(RowFinder { schema, decoder, columns: Vec::new(), row: Default::default(), json: Vec::new() })
    }

    /// Returns a record as JSON. `None` if it is not such a row.
    fn json(&mut self, record: &[u8], columns: &[String]) -> Option<&[u8]> {
        if self.columns != columns {
            self.columns = columns.to_vec();
            self.decoder.set_columns(columns).ok()?;
        }
        self.row[0].clear();
        self.decoder.decode(record, &mut self.row).ok()?;
        self.json.clear();
        write_json(self.schema, self.row[0].value(0), &mut self.json).ok()?;
        Some(&self.json)
    }
}
