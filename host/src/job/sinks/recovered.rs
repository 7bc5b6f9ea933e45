//! What follows from the recovery of a sink: warnings about missing output, or an error that says what a person has to decide.

use crate::checkpoint::CheckpointMetadata;
use crate::connector::Recovered;
use crate::error::{self, Error, Result};

/// Returns the names of missing output after a sink was recovered to the job's own checkpoint. Errors: `sink-ahead`, `sink-marker-lost`.
pub fn check_recovered(recovered: Recovered, sink: &str, own: Option<&CheckpointMetadata>) -> Result<Vec<String>> {
    match recovered {
        Recovered::Done { missing } => Ok(missing),
        Recovered::Ahead { published } => Err(match own {
            Some(own) => ahead(sink, own, published),
            None => error::sink_ahead(format!(
                "sink `{sink}` has published checkpoint {published}, but the job has no checkpoint any more"
            ))
            .hint("restore the checkpoint storage from a backup"),
        }),
        Recovered::Unknown => Err(marker_lost(sink, own)),
    }
}

/// Returns the names of missing output after the promises of another job's checkpoint were taken over. Errors: `sink-ahead`,
/// `sink-marker-lost`.
pub fn check_adopted(
    adopted: Recovered,
    sink: &str,
    submitted: &CheckpointMetadata,
    allow_duplicates: bool,
) -> Result<Vec<String>> {
    match adopted {
        Recovered::Done { missing } => Ok(missing),
        Recovered::Ahead { .. } if allow_duplicates => Ok(Vec::new()),
        Recovered::Ahead { published } => Err(ahead(sink, submitted, published)),
        Recovered::Unknown => Err(marker_lost(sink, Some(submitted))),
    }
}

fn ahead(sink: &str, restored: &CheckpointMetadata, published: u64) -> Error {
    let (checkpoint, job) = (restored.checkpoint_id, &restored.job_id);
    error::sink_ahead(format!(
        "sink `{sink}` has published the output of job {job} up to checkpoint {published}, but checkpoint {checkpoint} would be restored: \
         what lies between would be published twice"
    ))
    .hint(
        "start from the newest checkpoint or savepoint of that job; or submit a job with --from and --allow-duplicates, if the \
         readers of the output can bear duplicates",
    )
}

fn marker_lost(sink: &str, restored: Option<&CheckpointMetadata>) -> Error {
    let of = restored.map_or_else(
        || "the job".to_owned(),
        |restored| format!("checkpoint {} of job {}", restored.checkpoint_id, restored.job_id),
    );
    error::sink_marker_lost(format!(
        "sink `{sink}`: its peer no longer knows what was published, so that the output of {of} may be published or not"
    ))
    .hint(
        "look at the output; then submit a job with --from and --assume-published, or with --assume-lost, which publishes that output",
    )
}
