//! How long an entry of a state lives.

use crate::bindings::exports::cofferdam::function::function::{TimeToLive, TtlUpdate};

/// A time to live, in processing time: `ValueState::new("last").ttl(Ttl::hours(1))`.
///
/// It is the time of a value, of each element of a list, of each entry of a map. It begins anew whenever that is written.
/// An entry whose time is over reads as if it were not there, and is cleaned up some time later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    milliseconds: u64,
    refresh_on_read: bool,
    return_expired: bool,
}

impl Ttl {
    /// So many milliseconds.
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Ttl { milliseconds, refresh_on_read: false, return_expired: false }
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Ttl::milliseconds(seconds.saturating_mul(1000))
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Ttl::seconds(minutes.saturating_mul(60))
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Ttl::minutes(hours.saturating_mul(60))
    }

    /// So many days.
    pub const fn days(days: u64) -> Self {
        Ttl::hours(days.saturating_mul(24))
    }

    /// Begins anew on reading as well. Values and lists are read for all keys of a batch at once, so reading one of them
    /// refreshes those of the other keys in its batch.
    #[must_use]
    pub const fn refresh_on_read(self) -> Self {
        Ttl { refresh_on_read: true, ..self }
    }

    /// Lets an expired entry that is not cleaned up yet be read once; reading it removes it, as in Flink. Each read of such a
    /// state is a call of the host.
    #[must_use]
    pub const fn return_expired(self) -> Self {
        Ttl { return_expired: true, ..self }
    }

    pub(crate) fn describe(self) -> TimeToLive {
        let update = if self.refresh_on_read { TtlUpdate::ReadAndWrite } else { TtlUpdate::CreateAndWrite };
        TimeToLive { milliseconds: self.milliseconds, update, return_expired: self.return_expired }
    }
}
