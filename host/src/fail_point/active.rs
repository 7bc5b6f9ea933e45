//! Carries out the fail script of the process.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};

use super::script::{FailAction, FailScript, StoreFaultRates};

/// The environment variable with the script.
const VARIABLE: &str = "COFFERDAM_FAIL_POINTS";

/// Passes a point that cannot fail. The action `error` is ignored.
pub(crate) fn pass(point: &'static str) {
    act(point, false);
}

/// Passes a point. Returns why it fails, if it does.
pub(crate) fn error(point: &'static str) -> Option<String> {
    act(point, true).then(|| format!("the fail point `{point}` failed"))
}

/// Returns the rates of faulty writes, if the script has any.
pub(crate) fn store_faults() -> Option<StoreFaultRates> {
    script().as_ref().and_then(|script| script.lock().store)
}

/// Returns whether the point fails.
fn act(point: &'static str, can_fail: bool) -> bool {
    let Some(script) = script() else { return false };
    let mut script = script.lock();
    let decision = script.decide(point);
    let action = decision.action.filter(|action| can_fail || *action != FailAction::Error);
    let mut lines = String::new();
    if decision.is_first {
        lines.push_str(&format!("reached {point}\n"));
    }
    match action {
        Some(FailAction::Kill) => lines.push_str(&format!("kill {point}\n")),
        Some(FailAction::Error) => lines.push_str(&format!("error {point}\n")),
        Some(FailAction::DelayMs(_)) | None => {}
    }
    if let Some(log) = script.log.as_ref().filter(|_| !lines.is_empty()) {
        // One call of `write`, so that the lines of several processes do not mix. They survive the kill of the process.
        let written = OpenOptions::new().create(true).append(true).open(log);
        let written = written.and_then(|mut log| log.write_all(lines.as_bytes()));
        written.unwrap_or_else(|error| tracing::error!("the log of fail points cannot be written: {error}"));
    }
    drop(script);
    match action {
        Some(FailAction::Kill) => kill(),
        Some(FailAction::DelayMs(ms)) => std::thread::sleep(Duration::from_millis(ms)),
        Some(FailAction::Error) | None => {}
    }
    action == Some(FailAction::Error)
}

/// Ends the process as a loss of its machine would: without any clean-up.
fn kill() -> ! {
    loop {
        let _ = kill_process(getpid(), Signal::KILL);
        std::thread::park();
    }
}

/// Returns the script of the process. A script that cannot be parsed ends the process, so that no test passes without it.
fn script() -> &'static Option<Mutex<FailScript>> {
    static SCRIPT: OnceLock<Option<Mutex<FailScript>>> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        match FailScript::parse(&text) {
            Ok(script) => Some(Mutex::new(script)),
            Err(defect) => {
                tracing::error!("{VARIABLE}: {defect}");
                std::process::exit(2);
            }
        }
    })
}
