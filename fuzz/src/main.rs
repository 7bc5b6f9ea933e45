//! The fuzzer, a libFuzzer binary with all targets of `fuzz_targets`. The environment variable `COFFERDAM_FUZZ_TARGET` chooses
//! one by its name.
//!
//! The modules below are links to the sources of the host (docs/decisions/0093). The folders contain those files only that do
//! not need the rest of the host.

#![no_main]
// Every module is used in part.
#![allow(dead_code, unused_imports, clippy::disallowed_methods)]

#[macro_use]
#[allow(unused_macros)]
mod fail_point;

mod checkpoint;
mod clock;
mod connector;
mod error;
mod escape;
mod format;
mod fuzz_targets;
mod http;
mod model;
mod operator;
mod pipeline;
mod runtime;
mod state;
mod wakeup;

use std::sync::LazyLock;

use fuzz_targets::{FuzzTarget, TARGETS};

static TARGET: LazyLock<FuzzTarget> = LazyLock::new(|| {
    let name = std::env::var("COFFERDAM_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("COFFERDAM_FUZZ_TARGET must be a target, not `{name}`")).1
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
