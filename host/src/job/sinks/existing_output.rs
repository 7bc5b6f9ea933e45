//! Warnings at submission about output of other jobs in the sinks' folders.

use crate::access::PipelinePaths;
use crate::connector;
use crate::pipeline::{NodeKind, PipelineSpec};

/// Number of jobs that a warning names.
const JOBS_NAMED: usize = 3;

/// Returns warnings about output that the sinks' folders already contain. `history` has the jobs that this job
/// continues, the latest first; `origin_checkpoint` is the checkpoint of the latest one from which this job starts.
pub fn existing_output_warnings(
    pipeline: &PipelineSpec,
    paths: &PipelinePaths,
    history: &[String],
    origin_checkpoint: Option<u64>,
) -> Vec<String> {
    let sinks = pipeline.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Sink(sink) => Some((&node.id, &sink.connector)),
        _ => None,
    });
    let mut warnings = Vec::new();
    for (sink, config) in sinks {
        let mut unrelated_jobs = Vec::new();
        let mut files = 0;
        for (job, others) in connector::published_by_other_jobs(config, paths) {
            if !history.contains(&job) {
                files += others.files;
                unrelated_jobs.push(job);
            } else if history.first() == Some(&job)
                && let Some(start) = origin_checkpoint.filter(|start| others.newest_checkpoint > *start)
            {
                let newest = others.newest_checkpoint;
                warnings.push(format!(
                    "sink `{sink}`: its folder contains output of job {job} up to checkpoint {newest}, and this job starts at \
                     checkpoint {start}: output published in between will be duplicated"
                ));
            }
        }
        if !unrelated_jobs.is_empty() {
            let count = unrelated_jobs.len();
            let jobs = unrelated_jobs.into_iter().take(JOBS_NAMED).collect::<Vec<_>>().join(", ");
            let more = if count > JOBS_NAMED { ", ..." } else { "" };
            warnings.push(format!(
                "sink `{sink}`: its folder already contains {files} files of other jobs ({jobs}{more}); this job adds its output \
                 to them"
            ));
        }
    }
    warnings
}
