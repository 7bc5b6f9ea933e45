//! The HTTP API under `/v1`: its routes, its answers, and its OpenAPI description. Also the dashboard, which uses it.
//!
//! Bodies and headers are untrusted: they are limited and checked before anything else happens. Every answer that is
//! not a success is `application/problem+json` (see [`Problem`]). Handlers use jobs and components through
//! [`crate::job::Host`] only, and call it on threads that may block.

mod allowed_hosts;
mod api;
mod api_number;
mod authentication;
pub(crate) mod body;
mod components;
mod connections;
mod dashboard;
mod dead_letters;
mod faults;
mod health;
mod ingest;
mod job_telemetry;
mod jobs;
mod lanes;
mod logs;
mod open_connections;
mod openapi;
mod pages;
mod problem;
mod prometheus;
mod request_id;
mod route_roles;
mod router;
mod server_phase;
mod state;
mod stream;
mod tap;
mod tls;
mod tokens;
mod write_timeout;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod description_tests;
#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod router_tests;
#[cfg(test)]
mod testing;

pub use allowed_hosts::AllowedHosts;
pub use authentication::NAMESPACE_HEADER;
pub use connections::{HttpListener, serve};
pub use ingest::ingest_router;
pub use problem::{Problem, ProblemBody};
pub use router::{ApiOptions, router};
pub use server_phase::ServerPhase;
pub use tls::TlsIdentity;
