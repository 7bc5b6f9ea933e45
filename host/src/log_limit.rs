//! A limit for log lines that data can cause: a token bucket that counts what it keeps out.
//!
//! One bad record costs one record; a million of them must not cost a million lines. Whoever logs asks
//! [`LogLimit::admit`] first, and [`LogLimit::overdue`] from time to time, so that the count is told in any case.

use parking_lot::Mutex;

const SECOND_NS: u64 = 1_000_000_000;

/// Lines that may be written at once, and per second. Shared by all who write lines of one kind.
pub struct LogLimit {
    burst: u64,
    /// Nanoseconds after which one more line may be written.
    interval_ns: u64,
    state: Mutex<TokenBucket>,
}

#[derive(Default)]
struct TokenBucket {
    /// When all lines of the burst may be written again.
    full_at_ns: u64,
    suppressed: u64,
    /// When the first line that is not told yet was suppressed.
    since_ns: u64,
}

impl LogLimit {
    /// `burst` lines at once, and `per_second` lines each second. Both are at least 1.
    pub fn new(burst: u64, per_second: u64) -> LogLimit {
        let interval_ns = SECOND_NS / per_second.max(1);
        LogLimit { burst: burst.max(1), interval_ns, state: Mutex::default() }
    }

    /// Whether a line may be written now, and how many were suppressed before it: the line is to say so.
    pub fn admit(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if self.take(&mut state, now_ns) {
            return Some(std::mem::take(&mut state.suppressed));
        }
        if state.suppressed == 0 {
            state.since_ns = now_ns;
        }
        state.suppressed += 1;
        None
    }

    /// How many lines were suppressed, where the first of them waits for more than a second and a line may be written.
    pub fn overdue(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock();
        let waits = state.suppressed > 0 && now_ns.saturating_sub(state.since_ns) >= SECOND_NS;
        (waits && self.take(&mut state, now_ns)).then(|| std::mem::take(&mut state.suppressed))
    }

    fn take(&self, state: &mut TokenBucket, now_ns: u64) -> bool {
        let full_at = state.full_at_ns.max(now_ns);
        // The last line of a burst leaves no room: all but one interval are used.
        if full_at - now_ns > self.interval_ns.saturating_mul(self.burst - 1) {
            return false;
        }
        state.full_at_ns = full_at.saturating_add(self.interval_ns);
        true
    }

    /// Whether lines were suppressed that are not told yet.
    pub fn is_suppressing(&self) -> bool {
        self.state.lock().suppressed > 0
    }

    /// What was suppressed and not told yet. For the end, when nobody will ask again.
    pub fn rest(&self) -> u64 {
        std::mem::take(&mut self.state.lock().suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_and_none_is_uncounted() {
        let limit = LogLimit::new(1, 1);
        let (mut lines, mut counted) = (0, 0);
        // A record each millisecond, for ten seconds.
        for ms in 0..10_000 {
            if let Some(suppressed) = limit.admit(ms * 1_000_000) {
                lines += 1;
                counted += 1 + suppressed;
            }
        }
        assert_eq!(lines, 10);
        assert_eq!(counted + limit.rest(), 10_000);
        assert_eq!(limit.rest(), 0);
    }

    #[test]
    fn a_burst_is_let_through_and_fills_up_again() {
        let limit = LogLimit::new(5, 2);
        let admitted = |now_ns| (0..20).filter(|_| limit.admit(now_ns).is_some()).count();
        assert_eq!(admitted(0), 5);
        assert_eq!(admitted(SECOND_NS), 2);
        assert_eq!(admitted(100 * SECOND_NS), 5);
    }

    #[test]
    fn what_was_suppressed_is_told_without_another_line() {
        let limit = LogLimit::new(1, 1);
        assert_eq!(limit.admit(0), Some(0));
        assert_eq!(limit.overdue(5 * SECOND_NS), None);
        assert_eq!(limit.admit(5 * SECOND_NS), Some(0));
        assert_eq!((limit.admit(5 * SECOND_NS), limit.admit(5 * SECOND_NS)), (None, None));
        assert_eq!(limit.overdue(5 * SECOND_NS + 1), None);
        assert_eq!(limit.overdue(6 * SECOND_NS), Some(2));
        assert_eq!(limit.overdue(9 * SECOND_NS), None);
    }
}
