//! Points in time. Event time and processing time are both milliseconds since the Unix epoch.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time, in milliseconds since the Unix epoch.
///
/// Arithmetic takes a [`Duration`] and saturates at [`Timestamp::MIN`] and [`Timestamp::MAX`]. In state a timestamp has the
/// same form as an `i64`, so a state of one can be read as the other.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// const MINUTE: Duration = Duration::from_mins(1);
/// let time = Timestamp::from_millis(90_000);
/// assert_eq!(time + MINUTE, Timestamp::from_millis(150_000));
/// assert_eq!(time.floor(MINUTE), Timestamp::from_millis(60_000));
/// assert_eq!(time - Timestamp::from_secs(30), MINUTE);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The smallest timestamp. A watermark of this value means that the input has no event time yet.
    pub const MIN: Timestamp = Timestamp(i64::MIN);

    /// The largest timestamp. A watermark of this value means that event time has ended.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Makes a timestamp from seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Timestamp(secs.saturating_mul(1000))
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Rounds down to a multiple of `unit`, counted from the Unix epoch. A unit below one millisecond changes nothing.
    pub fn floor(self, unit: Duration) -> Self {
        let unit = millis(unit).max(1);
        Timestamp(self.0.saturating_sub(self.0.rem_euclid(unit)))
    }
}

/// Returns the whole milliseconds of a duration, at most `i64::MAX`.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<i64> for Timestamp {
    /// Takes milliseconds since the Unix epoch.
    fn from(millis: i64) -> Self {
        Timestamp(millis)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(duration)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(duration)))
    }
}

impl Sub for Timestamp {
    type Output = Duration;

    /// Returns the time from `earlier` to this timestamp, or zero if `earlier` is later.
    fn sub(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(if self > earlier { self.0.abs_diff(earlier.0) } else { 0 })
    }
}

/// Writes the milliseconds since the Unix epoch.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes the milliseconds since the Unix epoch.
impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::MAX + second, Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Duration::MAX, Timestamp::MIN);
        assert_eq!(Timestamp::MIN.floor(Duration::from_millis(1000)), Timestamp::MIN);
        assert_eq!(Timestamp::MAX - Timestamp::MIN, Duration::from_millis(u64::MAX));
        assert_eq!(Timestamp::from(5) - Timestamp::from(9), Duration::ZERO);
    }

    #[test]
    fn floor_rounds_toward_the_past() {
        let unit = Duration::from_millis(10);
        for (time, floor) in [(0, 0), (9, 0), (10, 10), (-1, -10), (-10, -10)] {
            assert_eq!(Timestamp::from(time).floor(unit), Timestamp::from(floor));
        }
        assert_eq!(Timestamp::from(7).floor(Duration::ZERO), Timestamp::from(7));
    }
}
