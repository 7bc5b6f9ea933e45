//! The HTTP API under `/v1`: its routes, its answers, and its OpenAPI description.
//!
//! Bodies and headers are untrusted: they are limited and checked before anything else happens. Every answer that is
//! not a success is `application/problem+json` (see [`Problem`]). Handlers use jobs and components through
//! [`crate::job::Host`] only, and call it on threads that may block.

mod allowed_hosts;
mod api;
pub(crate) mod body;
mod components;
mod connections;
mod dead_letters;
mod ingest;
mod job_telemetry;
mod jobs;
mod lanes;
mod logs;
mod problem;
mod prometheus;
mod router;
mod state;

#[cfg(test)]
mod router_tests;

pub use allowed_hosts::AllowedHosts;
pub use connections::{bind, serve};
pub use ingest::ingest_router;
pub use problem::{Problem, ProblemBody};
pub use router::router;
