//! Whether functions can be compiled, and whether they can run.

use std::path::Path;

use super::finding::Finding;
use crate::cli::toolchain;
use crate::sandbox;

/// Checks that `cofferdam build` finds a compiler. A server needs none.
pub fn toolchain() -> Finding {
    const CHECK: &str = "toolchain";
    match toolchain::find_installed(Path::new(".")) {
        Some(toolchain) => Finding::ok(CHECK, toolchain.to_string()),
        None => {
            let error = toolchain::missing();
            let message = format!("{}, which only `cofferdam build` needs", error.message);
            Finding::warn(CHECK, message, error.hint.unwrap_or_default())
        }
    }
}

/// Checks that this process may run code that it has compiled.
pub fn compiled_code() -> Finding {
    const CHECK: &str = "compiled code";
    match sandbox::check_execution() {
        Ok(()) => Finding::ok(CHECK, "functions are compiled and run"),
        Err(error) => Finding::fail(
            CHECK,
            error.message,
            "allow memory that is written and then executed: a systemd unit must not set MemoryDenyWriteExecute",
        ),
    }
}
