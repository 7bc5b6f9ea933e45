//! The harness of the end-to-end tests and of `cargo xtask demo`: it drives the real `cofferdam` binary from outside.
//!
//! It knows the command line and the HTTP API, and nothing of the host's code: it could test another implementation.

#![allow(clippy::disallowed_methods)] // It is no part of the engine: it waits for other processes on the real clock.

mod api;
pub mod kinds;
pub mod late_flights;
mod output;
mod place;
mod s3;
mod scene;
mod server;
mod wait;

pub use api::{Answer, Api};
pub use output::{Difference, committed_lines, difference};
pub use place::Place;
pub use s3::S3;
pub use scene::Scene;
pub use server::Server;
pub use wait::wait_until;
