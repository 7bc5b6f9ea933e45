//! Reports the panic of a function to the host: its message, its position, and the record that was being handled.

use std::sync::atomic::{AtomicU32, Ordering};

const NO_RECORD: u32 = u32::MAX;

/// The record that is being handled.
static RECORD: AtomicU32 = AtomicU32::new(NO_RECORD);

/// Panics of the standard library about something that a component does not have: a part of the message, and what to do instead.
const CONTEXT: &[(&str, &str)] = &[
    (
        "time not implemented on this platform",
        "a function has no clock: use the processing time or the timestamp of its context (`ctx.processing_time()`, `ctx.timestamp()`)",
    ),
    ("can't sleep", "a function cannot wait: register a timer"),
    ("failed to spawn thread", "a function has no threads"),
];

/// Returns the message of a panic. Adds what to do instead if it is about something that a component does not have.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
fn explained(message: &str) -> String {
    match CONTEXT.iter().find(|(words, _)| message.contains(words)) {
        Some((_, instead)) => format!("{message}; {instead}"),
        None => message.to_owned(),
    }
}

/// Returns the record that is being handled.
#[cfg(target_family = "wasm")]
pub(crate) fn current_record() -> Option<u32> {
    Some(RECORD.load(Ordering::Relaxed)).filter(|&record| record != NO_RECORD)
}

/// Sets the record that is being handled.
#[inline]
pub(crate) fn in_record(record: Option<u32>) {
    RECORD.store(record.unwrap_or(NO_RECORD), Ordering::Relaxed);
}

/// Sends the message of every panic to the host before the trap.
#[cfg(target_family = "wasm")]
pub(crate) fn install_hook() {
    use crate::bindings::cofferdam::function::log;

    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let record = current_record();
            let message = explained(info.payload_as_str().unwrap_or("a panic without a message"));
            let place = info.location().map(|at| format!("{}:{}:{}", at.file(), at.line(), at.column()));
            log::panic(&message, record, place.as_slice());
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_about_the_clock_names_the_context() {
        let words = explained("time not implemented on this platform");
        assert!(words.starts_with("time not implemented") && words.contains("ctx.processing_time()"), "{words}");
        assert_eq!(explained("index out of bounds"), "index out of bounds");
    }
}
