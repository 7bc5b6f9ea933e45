//! Limits the rate of log lines that data can cause, with a token bucket that counts the suppressed lines.
//!
//! A million bad records must not cause a million lines. Code that logs calls [`LogLimit::admit`] before each line, and
//! [`LogLimit::overdue`] regularly, so that the number of suppressed lines is always reported.

use parking_lot::Mutex;

const SECOND_NS: u64 = 1_000_000_000;

/// The rate limit of one kind of log line.
pub struct LogLimit {
    /// Number of lines that may be written at once.
    burst: u64,
    /// Nanoseconds after which one more line may be written.
    interval_ns: u64,
    state: Mutex<TokenBucket>,
}

/// The current fill level, and the suppressed lines.
#[derive(Default)]
struct TokenBucket {
    /// Time at which the whole burst is available again.
    full_at_ns: u64,
    /// Number of suppressed lines that have not been reported.
    suppressed: u64,
    /// Time at which the first unreported line was suppressed.
    since_ns: u64,
}

impl LogLimit {
    /// Creates a limit of `burst` lines at once and `per_second` lines per second. Both are at least 1.
    pub fn new(burst: u64, per_second: u64) -> LogLimit {
        let interval_ns = SECOND_NS / per_second.max(1);
        LogLimit { burst: burst.max(1), interval_ns, state: Mutex::default() }
    }

    /// Returns `None` if a line must not be written now. Otherwise returns the number of lines suppressed before it, which the
    /// line must report.
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

    /// Returns the number of suppressed lines if the first of them is older than a second and a line may be written now.
    pub fn overdue(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock();
        let waits = state.suppressed > 0 && now_ns.saturating_sub(state.since_ns) >= SECOND_NS;
        (waits && self.take(&mut state, now_ns)).then(|| std::mem::take(&mut state.suppressed))
    }

    /// Takes `tokens` lines or bytes from the bucket, and returns true, if it holds that many. Does not count suppressed ones.
    pub fn take_tokens(&self, tokens: u64, now_ns: u64) -> bool {
        self.take_from(&mut self.state.lock(), tokens, now_ns)
    }

    fn take(&self, state: &mut TokenBucket, now_ns: u64) -> bool {
        self.take_from(state, 1, now_ns)
    }

    fn take_from(&self, state: &mut TokenBucket, tokens: u64, now_ns: u64) -> bool {
        let full_at = state.full_at_ns.max(now_ns);
        // What is taken last uses up the bucket, so it needs as much free time.
        let Some(other_tokens) = self.burst.checked_sub(tokens) else { return false };
        if full_at - now_ns > self.interval_ns.saturating_mul(other_tokens) {
            return false;
        }
        state.full_at_ns = full_at.saturating_add(self.interval_ns.saturating_mul(tokens));
        true
    }

    /// Returns whether suppressed lines have not been reported.
    pub fn is_suppressing(&self) -> bool {
        self.state.lock().suppressed > 0
    }

    /// Returns the number of unreported suppressed lines. Called when no more lines will follow.
    pub fn rest(&self) -> u64 {
        std::mem::take(&mut self.state.lock().suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_is_admitted_and_all_are_counted() {
        let limit = LogLimit::new(1, 1);
        let (mut lines, mut counted) = (0, 0);
        // Simulates one record per millisecond for ten seconds.
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
    fn a_burst_is_admitted_and_refills() {
        let limit = LogLimit::new(5, 2);
        let admitted = |now_ns| (0..20).filter(|_| limit.admit(now_ns).is_some()).count();
        assert_eq!(admitted(0), 5);
        assert_eq!(admitted(SECOND_NS), 2);
        assert_eq!(admitted(100 * SECOND_NS), 5);
    }

    #[test]
    fn suppressed_lines_are_reported_even_without_another_line() {
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
