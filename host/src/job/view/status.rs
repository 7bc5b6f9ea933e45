//! The life cycle of a job.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The status of a job. The names are Flink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Submitted, or resumed when the server started. Its subtasks are not running yet.
    Created,
    /// All subtasks process records.
    #[serde(alias = "RESTORING", alias = "STOPPING")]
    Running,
    /// A subtask failed, and the others are being ended.
    Failing,
    /// Failed. The restart delay has not elapsed, or the next attempt is not running yet.
    Restarting,
    /// A cancel was requested.
    Cancelling,
    /// Ended: the sources ended, or the job was stopped with a savepoint. All output is committed.
    #[serde(alias = "STOPPED")]
    Finished,
    /// Ended by a cancel, without a savepoint.
    #[serde(alias = "CANCELLED")]
    Canceled,
    /// Ended by a failure, and not restarted.
    Failed,
    /// Not running because its server has shut down or was killed. The job resumes when a server opens its data folder.
    Suspended,
}

impl JobStatus {
    /// Moves to another status of a job that has not ended, unless a cancel was requested in the meantime.
    pub fn advance(&mut self, to: JobStatus) {
        if !self.is_final() && *self != JobStatus::Cancelling {
            *self = to;
        }
    }

    /// Every status.
    pub const ALL: [JobStatus; 9] = [
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Restarting,
        JobStatus::Cancelling,
        JobStatus::Finished,
        JobStatus::Canceled,
        JobStatus::Failed,
        JobStatus::Suspended,
    ];

    /// Returns the status as in the HTTP API, such as `RUNNING`.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Created => "CREATED",
            JobStatus::Running => "RUNNING",
            JobStatus::Failing => "FAILING",
            JobStatus::Restarting => "RESTARTING",
            JobStatus::Cancelling => "CANCELLING",
            JobStatus::Finished => "FINISHED",
            JobStatus::Canceled => "CANCELED",
            JobStatus::Failed => "FAILED",
            JobStatus::Suspended => "SUSPENDED",
        }
    }

    /// Returns whether the job will never run again.
    pub fn is_final(self) -> bool {
        matches!(self, JobStatus::Finished | JobStatus::Canceled | JobStatus::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requested_cancel_and_an_end_are_not_overwritten() {
        for (before, after) in [
            (JobStatus::Created, JobStatus::Running),
            (JobStatus::Failing, JobStatus::Running),
            (JobStatus::Restarting, JobStatus::Running),
            (JobStatus::Suspended, JobStatus::Running),
            (JobStatus::Cancelling, JobStatus::Cancelling),
            (JobStatus::Canceled, JobStatus::Canceled),
            (JobStatus::Finished, JobStatus::Finished),
            (JobStatus::Failed, JobStatus::Failed),
        ] {
            let mut status = before;
            status.advance(JobStatus::Running);
            assert_eq!(status, after, "from {before:?}");
        }
    }

    #[test]
    fn the_names_are_those_of_the_api() {
        for status in JobStatus::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }

    #[test]
    fn the_names_of_earlier_versions_are_read() {
        let read = |name: &str| serde_json::from_str::<JobStatus>(&format!("\"{name}\"")).unwrap();
        let statuses = ["RESTORING", "STOPPING", "STOPPED", "CANCELLED", "CANCELED"].map(read);
        let expected =
            [JobStatus::Running, JobStatus::Running, JobStatus::Finished, JobStatus::Canceled, JobStatus::Canceled];
        assert_eq!(statuses, expected);
    }
}
