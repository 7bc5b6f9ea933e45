//! The topics of a stream, and their snapshots.

use std::str::FromStr;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result, internal, request_invalid};
use crate::job::Host;
use crate::job::view::{JobDetail, JobMetrics};

/// Number of jobs in a snapshot of the list.
const JOBS_MAX: usize = 100;

/// A topic of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// The list of jobs.
    Jobs,
    /// A job by its id or name.
    Job(String),
}

/// A topic as it is at some time.
pub(super) struct Snapshot {
    /// Name of the event.
    pub(super) event: &'static str,
    /// Data of the event, as JSON.
    pub(super) data: String,
    /// Changes when viewers must be told.
    pub(super) version: u64,
}

/// The data of an event `job`.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct JobSnapshot {
    /// Id or name of the job, as the topic has it.
    id: String,
    /// The job.
    job: JobDetail,
    /// Its metrics, with those of each subtask.
    metrics: JobMetrics,
}

impl FromStr for Topic {
    type Err = Error;

    fn from_str(text: &str) -> Result<Topic> {
        match text.split_once(':') {
            None if text == "jobs" => Ok(Topic::Jobs),
            Some(("job", id)) if !id.is_empty() => Ok(Topic::Job(id.to_owned())),
            _ => Err(request_invalid(format!("`{text}` is not a topic; the topics are jobs, job:ID"))),
        }
    }
}

impl Topic {
    /// Takes a snapshot. `sees_records` says whether it may contain records.
    pub(super) fn snapshot(&self, host: &Host, sees_records: bool) -> Result<Snapshot> {
        let id = match self {
            Topic::Jobs => return Ok(Snapshot::of("jobs", json(&host.jobs_page(None, JOBS_MAX))?)),
            Topic::Job(id) => id,
        };
        let mut job = match host.job(id) {
            Err(error) if error.code == "job-not-found" => {
                return Ok(Snapshot::of("gone", json(&json!({ "id": id }))?));
            }
            job => job?,
        };
        if !sees_records {
            job.hide_records();
        }
        // The metrics of a job that has ended differ in their time only.
        let ended = job.summary.status.is_final().then(|| json(&job)).transpose()?;
        let metrics = host.metrics(id, true)?;
        let mut snapshot = Snapshot::of("job", json(&JobSnapshot { id: id.clone(), job, metrics })?);
        if let Some(ended) = ended {
            snapshot.version = xxh3_64(ended.as_bytes());
        }
        Ok(snapshot)
    }
}

impl Snapshot {
    fn of(event: &'static str, data: String) -> Snapshot {
        Snapshot { event, version: xxh3_64(data.as_bytes()), data }
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| internal(format!("cannot write JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_the_list_and_jobs() {
        let parse = |text: &str| text.parse::<Topic>().map_err(|error| error.code);
        assert_eq!(parse("jobs"), Ok(Topic::Jobs));
        assert_eq!(parse("job:a:b"), Ok(Topic::Job("a:b".into())));
        for text in ["", "job", "job:", "jobs:a", "logs:a", " jobs"] {
            assert_eq!(parse(text), Err("request-invalid"), "{text}");
        }
    }
}
