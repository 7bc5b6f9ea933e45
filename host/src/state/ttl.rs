//! How the time to live lies in what is stored: a value, an element of a list or an entry of a map begins with the time of
//! its last update (i64 milliseconds since the Unix epoch, little endian). Part of the durable format.

use super::TimeToLive;

/// Bytes in front of a value of a state with a time to live.
pub const TIME_BYTES: usize = 8;

/// The bytes in front of a value that is written now.
pub fn stamp(now_ms: i64) -> [u8; TIME_BYTES] {
    now_ms.to_le_bytes()
}

/// The time of the last update, and the value. None where the bytes are too short to have one.
pub fn split(stored: &[u8]) -> Option<(i64, &[u8])> {
    let (time, value) = stored.split_first_chunk::<TIME_BYTES>()?;
    Some((i64::from_le_bytes(*time), value))
}

impl TimeToLive {
    /// Whether an entry that was last updated then has expired, as Flink has it: at the end of its time, and not only behind it.
    pub fn is_expired(&self, updated_ms: i64, now_ms: i64) -> bool {
        updated_ms.saturating_add(i64::try_from(self.milliseconds).unwrap_or(i64::MAX)) <= now_ms
    }
}
