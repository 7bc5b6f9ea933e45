//! Jobs: submission, execution, checkpoints, restarts, savepoints and removal.
//!
//! [`Host`] is the entrance for the CLI and the HTTP API. It finds a job in the registry and talks to it through its
//! handle. Each running job has one thread (`lifecycle`), which runs attempts; an attempt has one checkpoint
//! coordinator (`checkpoint`).
//!
//! Invariant: what a restart of the process needs is stored in the job's record before it is shown or acted upon.
//! This module must not depend on `http` or `cli`.

mod capacity;
mod checkpoint;
mod dead_letters;
mod environment;
mod events;
mod failure;
mod fault_view;
mod handle;
mod host;
mod ingest_endpoints;
mod job_place;
mod lifecycle;
mod log_page;
mod lost_records;
mod message;
mod metrics_view;
mod monitoring;
mod namespaces;
mod planning;
mod quotas;
mod record_tap;
mod registry;
mod restart_policy;
mod restore;
mod savepoint;
mod sinks;
mod store;
mod telemetry;
pub mod view;

#[cfg(test)]
mod host_tests;
#[cfg(test)]
mod metrics_view_tests;
#[cfg(test)]
mod recovery_tests;
#[cfg(test)]
mod restart_policy_tests;
#[cfg(test)]
mod secrets_tests;
#[cfg(test)]
mod testing;

pub use dead_letters::TrialRequest;
pub use host::{Host, HostOptions, INSTANCES_MAX, SHUTDOWN_TIME};
pub use ingest_endpoints::{IngestEndpoint, RequestInProgress};
pub use job_place::JobPlace;
pub use log_page::LogRequest;
pub use namespaces::Namespaces;
pub use quotas::{QuotaList, Quotas, UsedQuotas};
pub use record_tap::{RecordTap, TapRequest};
pub use registry::Submission;
pub use store::JobState;
pub use telemetry::{CheckpointTotals, MonitoredJob, SeriesRecorder, SeriesRequest};
