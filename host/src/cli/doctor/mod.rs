//! `cofferdam doctor`: checks what building functions, running a server and reaching one require, and says how to mend what is missing.
//!
//! | file | checks |
//! |---|---|
//! | `finding` | what a check found |
//! | `build_tools` | the Rust toolchain, and whether this process may run compiled code |
//! | `machine` | open files, memory, and the clock |
//! | `storage` | the data folder: writable, free space, time of a sync |
//! | `server` | the server: reachable, ready, version, clock, token; and the address to listen on |
//! | `certificate` | when a certificate ends |
//!
//! Invariant: a check changes nothing. What it needs is removed before it returns.

mod build_tools;
mod certificate;
mod finding;
mod machine;
mod server;
mod storage;

#[cfg(test)]
mod doctor_tests;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::access_arguments::ConnectionArgs;
use super::connection::ConnectionSettings;
use super::observe_arguments::DoctorArgs;
use super::{print, report};
use crate::clock::SystemClock;
use crate::error::Result;
use crate::stdio;
use finding::{Finding, Verdict};

/// Runs all checks and prints a line for each. The exit code is that of an environment that fails if a check fails.
pub fn examine(args: &DoctorArgs, connection: &ConnectionArgs, json: bool) -> Result<ExitCode> {
    let findings = findings(args, connection);
    let has_failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    if json {
        print::json(&json!({ "failed": has_failed, "findings": findings }))?;
    } else {
        let has_colors = stdio::uses_colors(&std::io::stdout());
        let mut stdout = std::io::stdout().lock();
        // A closed stdout is not an error.
        findings.iter().for_each(|finding| drop(writeln!(stdout, "{}", finding.line(has_colors))));
    }
    Ok(if has_failed { ExitCode::from(report::EXIT_ENVIRONMENT) } else { ExitCode::SUCCESS })
}

fn findings(args: &DoctorArgs, connection: &ConnectionArgs) -> Vec<Finding> {
    let clock = SystemClock::shared();
    let mut findings = vec![
        build_tools::toolchain(),
        build_tools::compiled_code(),
        machine::open_files(machine::open_files_max()),
        machine::memory(machine::memory_bytes_max(Path::new("/")), args.state_memory.as_u64()),
        machine::clock(clock.wall_ms()),
    ];
    findings.extend(storage::data_folder(&args.data_dir, &clock));
    if let Some(file) = &args.tls_cert {
        findings.push(certificate::of_file(file, clock.wall_ms()));
    }
    let settings = ConnectionSettings::of(connection);
    findings.extend(server::examine(settings, args.listen, &|| clock.wall_ms()));
    findings
}
