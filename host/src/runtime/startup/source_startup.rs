//! Opens a source at its restored position.

use super::subtask_context::SubtaskContext;
use crate::connector;
use crate::error::{self, Result};
use crate::model::NO_TIMESTAMP;
use crate::pipeline::{PipelineNode, SourceNode};
use crate::runtime::source::rate_limiter::RateShare;
use crate::runtime::source::source_decoder::SourceDecoder;
use crate::runtime::source::source_reader::SourceReader;
use crate::runtime::source::watermark_alignment::AlignmentMembership;
use crate::runtime::source::watermark_generator::WatermarkGenerator;

/// Opens a source. `index` is its index among all source subtasks of the job.
pub(super) fn open_source(
    context: &SubtaskContext,
    node: &PipelineNode,
    config: &SourceNode,
    index: usize,
    alignment: Option<AlignmentMembership>,
    rate: Option<RateShare>,
) -> Result<SourceReader> {
    let restored = context.restored(node);
    let positions = restored.source_positions()?;
    let clock = context.options.clock.clone();
    let (_, has_header) = config.connector.format();
    let planned = context.plan.records.decodings.get(&node.id).cloned();
    let decoding = planned.ok_or_else(|| error::internal(format!("source `{}` has no plan", node.id)))?;
    let connector_context = context.connector_context(node);
    let source = connector::open_source(&config.connector, &decoding, &connector_context, &positions)?;
    let keeps_watermark = config.watermark.is_some() && !context.options.reset_watermarks;
    let restored_watermark = restored.max_watermark().filter(|_| keeps_watermark).unwrap_or(NO_TIMESTAMP);
    let decoder = SourceDecoder::new(&node.id, decoding, has_header)?.interrupted_by(&connector_context.interrupt);
    let watermarks = WatermarkGenerator::new(config.watermark.clone(), restored_watermark, clock.clone());
    let batch_records = context.plan.pipeline.batch.records;
    Ok(SourceReader {
        index,
        alignment,
        rate,
        counters: restored.counters(),
        locates_letters: !config.keep_raw,
        ..SourceReader::new(source, decoder, watermarks, batch_records, clock)
    })
}
