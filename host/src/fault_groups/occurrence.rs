//! A fault that happens now, and the group that it belongs to.

use xxhash_rust::xxh3::Xxh3;

use super::fault_group::{FaultGroup, FaultSample};
use crate::model::Fault;

/// Longest text of a key or a message, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest text of a record, in bytes.
const VALUE_BYTES_MAX: usize = 4096;
/// Begins the lines of a backtrace that are causes of an error. They contain data.
const CAUSE: &str = "caused by: ";
/// Parts of the names of functions that every panic of Rust runs through.
const PANIC_FUNCTIONS: &[&str] =
    &["core::panicking", "std::panicking", "core::result::unwrap_failed", "core::option::", "rust_panic", "panic_fmt"];
/// More of them: the standard library's own machinery, and the SDK's hook.
const PANIC_PREFIXES: &[&str] = &["__rust", "rust_begin_unwind", "std::sys::backtrace", "std::process::abort", "abort"];

/// A fault that happens now.
pub struct FaultOccurrence<'a> {
    /// Id of the operator.
    pub operator: &'a str,
    /// Name of the function.
    pub function: &'a str,
    /// SHA-256 of the component.
    pub component: Option<&'a str>,
    /// The fault.
    pub fault: &'a Fault,
    /// The policy that applies to the record.
    pub on_fault: &'static str,
    /// How often the record has failed, from 1.
    pub attempt: u32,
    /// Index of the subtask.
    pub subtask: u32,
    /// Number of records that the subtask received before this one.
    pub record: u64,
    /// Event time in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// Returns the record as it is shown. Called for samples only.
    pub value: &'a dyn Fn() -> Vec<u8>,
}

impl FaultOccurrence<'_> {
    /// Returns the number of the group. Equal for equal operators, functions, components, codes and places in the code.
    pub fn group(&self) -> u64 {
        let mut hash = Xxh3::new();
        let parts = [
            Some(self.operator),
            Some(self.function),
            self.component,
            Some(self.fault.code.as_str()),
            top_frame(&self.fault.backtrace),
        ];
        for part in parts {
            let part = part.unwrap_or_default();
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.digest()
    }

    /// Returns a group without faults.
    pub fn new_group(&self, id: &str, now_ms: i64) -> FaultGroup {
        FaultGroup {
            id: id.to_owned(),
            operator: self.operator.to_owned(),
            function: self.function.to_owned(),
            component: self.component.map(str::to_owned),
            code: self.fault.code.as_str().to_owned(),
            frame: top_frame(&self.fault.backtrace).map(str::to_owned),
            first_seen_ms: now_ms,
            ..FaultGroup::default()
        }
    }

    /// Returns the sample of the fault.
    pub fn sample(&self, now_ms: i64) -> FaultSample {
        FaultSample {
            at_ms: now_ms,
            message: cut(self.fault.message.trim_end(), TEXT_BYTES_MAX),
            backtrace: self.fault.backtrace.clone(),
            on_fault: self.on_fault.to_owned(),
            attempt: self.attempt,
            subtask: self.subtask,
            record: self.record,
            timestamp_ms: self.timestamp_ms,
            key: self.key.map(|key| text(key, TEXT_BYTES_MAX)),
            value: text(&(self.value)(), VALUE_BYTES_MAX),
        }
    }
}

/// Returns the innermost function of the guest that is not part of a panic.
fn top_frame(backtrace: &[String]) -> Option<&str> {
    let functions = || backtrace.iter().map(|frame| frame.trim()).filter(|frame| !frame.starts_with(CAUSE));
    let is_panic = |frame: &&str| {
        PANIC_FUNCTIONS.iter().any(|part| frame.contains(part))
            || PANIC_PREFIXES.iter().any(|prefix| frame.starts_with(prefix))
    };
    functions().find(|frame| !is_panic(frame)).or_else(|| functions().next())
}

/// Returns bytes as text, cut to a number of bytes.
fn text(bytes: &[u8], bytes_max: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => cut(text, bytes_max),
        Err(_) => cut(&format!("hex:{}", hex::encode(&bytes[..bytes.len().min(bytes_max)])), bytes_max),
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    match text.len() <= bytes_max {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(bytes_max)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_frame_is_the_first_one_outside_of_the_panic() {
        let top = |frames: &[&str]| {
            top_frame(&frames.iter().map(|&frame| frame.to_owned()).collect::<Vec<_>>()).map(str::to_owned)
        };
        let panic =
            ["__rust_start_panic", "core::panicking::panic_fmt", "core::option::unwrap_failed", "tracker::track"];
        assert_eq!(top(&panic).as_deref(), Some("tracker::track"));
        assert_eq!(top(&["caused by: invalid digit in 7x"]), None, "a cause contains data");
        assert_eq!(top(&["core::panicking::panic_fmt"]).as_deref(), Some("core::panicking::panic_fmt"));
        assert_eq!(top(&[]), None);
    }

    #[test]
    fn texts_are_cut_and_bytes_are_hex() {
        assert_eq!((text(b"abc", 2), text(b"abc", 3)), ("ab…".into(), "abc".into()));
        assert_eq!(text("ää".as_bytes(), 3), "ä…");
        assert_eq!(text(&[0xff, 1], 100), "hex:ff01");
        assert!(text(&[0xff; 10_000], 100).len() < 110);
    }
}
