//! The last words of a function that panics: message, place, and the record that it was handling.

use std::sync::atomic::{AtomicU32, Ordering};

const NO_RECORD: u32 = u32::MAX;

static RECORD: AtomicU32 = AtomicU32::new(NO_RECORD);

/// Notes which record is being handled.
#[inline]
pub(crate) fn in_record(record: Option<u32>) {
    RECORD.store(record.unwrap_or(NO_RECORD), Ordering::Relaxed);
}

/// Sends the words of every panic to the host before the trap.
#[cfg(target_family = "wasm")]
pub(crate) fn install_hook() {
    use crate::bindings::cofferdam::function::log;

    static INSTALLED: std::sync::Once = std::sync::Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let record = Some(RECORD.load(Ordering::Relaxed)).filter(|&record| record != NO_RECORD);
            let message = info.payload_as_str().unwrap_or("a panic without a message");
            match info.location() {
                Some(place) => log::panic(&format!("{message}, at {}:{}", place.file(), place.line()), record),
                None => log::panic(message, record),
            }
        }));
    });
}
