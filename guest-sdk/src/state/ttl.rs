//! How long an entry of a state lives.

use crate::bindings::exports::cofferdam::function::guest::{TimeToLive, TtlUpdate};
use std::time::Duration;

/// A time to live, in processing time: `#[state(ttl = Duration::from_hours(1))]`.
///
/// It applies to a value, to each element of a list, and to each entry of a map. It starts again when the entry is written. An
/// expired entry reads as if it were not there, and is cleaned up some time later. A [`Duration`] is a time to live without further
/// options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    duration: Duration,
    refresh_on_read: bool,
    return_expired: bool,
}

impl Ttl {
    /// A time to live that starts again on writing only, and that never returns expired entries. It counts whole milliseconds.
    pub const fn new(duration: Duration) -> Self {
        Ttl { duration, refresh_on_read: false, return_expired: false }
    }

    /// Starts the time to live again on reading as well. Values and lists are read for all keys of a batch at once, so
    /// reading one of them also refreshes those of the other keys in its batch.
    #[must_use]
    pub const fn refresh_on_read(self) -> Self {
        Ttl { refresh_on_read: true, ..self }
    }

    /// Lets an expired entry be read once, if it is not cleaned up yet; reading it removes it, as in Flink. Each read of such a
    /// state is a call to the host.
    #[must_use]
    pub const fn return_expired(self) -> Self {
        Ttl { return_expired: true, ..self }
    }

    pub(crate) fn describe(self) -> TimeToLive {
        let update = if self.refresh_on_read { TtlUpdate::ReadAndWrite } else { TtlUpdate::CreateAndWrite };
        let milliseconds = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        TimeToLive { milliseconds, update, return_expired: self.return_expired }
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Ttl::new(duration)
    }
}
