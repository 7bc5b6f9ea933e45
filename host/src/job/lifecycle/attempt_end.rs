//! How an attempt ends without a failure.

/// How an attempt ends without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// All sources ended, and the final checkpoint is committed.
    Finished,
    /// The savepoint of a stop is complete and committed.
    Stopped,
    /// The job was cancelled.
    Cancelled,
    /// The process ends. The job resumes when it starts again.
    Shutdown,
}
