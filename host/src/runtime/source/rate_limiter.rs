//! The limit of records per second of a source, shared by its subtasks.
//!
//! Each record needs a token. Tokens are counted from the time at which the first subtask begins to read, and are dealt out in turn to the subtasks that
//! have something to read. A subtask without input gives its tokens back, so that the others read the whole rate.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::wakeup::Wakeup;

/// The time for which a rate is given, in nanoseconds: 1000 seconds, so that a rate may be below one record per second.
const RATE_NS: u128 = 1_000_000_000_000;

/// Shortest wait for tokens. At a high rate several tokens become due in it.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The limit of one source.
pub(crate) struct RateLimiter {
    /// Records per 1000 seconds.
    rate: u64,
    dealt: Mutex<DealtTokens>,
}

/// The tokens that were dealt out.
#[derive(Default)]
struct DealtTokens {
    /// When the first subtask began to read, in monotonic nanoseconds.
    started_ns: Option<u64>,
    /// Number of tokens dealt out since the start, without those that were given back.
    total: u64,
    subtasks: Vec<SubtaskTokens>,
    /// The subtask that gets the next token, if it is active.
    next: usize,
}

/// The tokens of one subtask.
struct SubtaskTokens {
    left: u64,
    /// Whether the subtask has something to read, as far as it knows.
    is_active: bool,
    wakeup: Wakeup,
}

/// The answer to a request for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// This many records may be read now.
    Records(u64),
    /// No record may be read for this long.
    Wait(Duration),
}

/// One subtask's share of the limit. Dropping it leaves the tokens to the others.
pub(crate) struct RateShare {
    limiter: Arc<RateLimiter>,
    index: usize,
}

impl RateLimiter {
    /// Creates a limiter of `rate` records per 1000 seconds. The limit is at least 1.
    pub(crate) fn new(rate: u64) -> Arc<RateLimiter> {
        Arc::new(RateLimiter { rate: rate.max(1), dealt: Mutex::default() })
    }

    /// Adds a subtask, which `wakeup` wakes.
    pub(crate) fn join(self: &Arc<RateLimiter>, wakeup: &Wakeup) -> RateShare {
        let mut dealt = self.dealt.lock();
        dealt.subtasks.push(SubtaskTokens { left: 0, is_active: true, wakeup: wakeup.clone() });
        RateShare { limiter: self.clone(), index: dealt.subtasks.len() - 1 }
    }

    /// Returns the number of tokens that are due after this time.
    fn due_after(&self, elapsed_ns: u64) -> u64 {
        let due = u128::from(elapsed_ns) * u128::from(self.rate) / RATE_NS;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// Returns the time after which token number `number` is due, counted from 1, in nanoseconds.
    fn due_ns(&self, number: u64) -> u64 {
        let after = (u128::from(number) * RATE_NS).div_ceil(u128::from(self.rate));
        u64::try_from(after).unwrap_or(u64::MAX)
    }
}

impl DealtTokens {
    /// Deals out the tokens up to number `due`, in turn to the active subtasks.
    fn deal(&mut self, due: u64) {
        let active = self.subtasks.iter().filter(|subtask| subtask.is_active).count() as u64;
        let new = due.saturating_sub(self.total);
        if active == 0 || new == 0 {
            return;
        }
        self.total = due;
        let (each, mut rest) = (new / active, new % active);
        self.subtasks.iter_mut().filter(|subtask| subtask.is_active).for_each(|subtask| subtask.left += each);
        while rest > 0 {
            let subtask = &mut self.subtasks[self.next];
            if subtask.is_active {
                subtask.left += 1;
                rest -= 1;
            }
            self.next = (self.next + 1) % self.subtasks.len();
        }
    }

    /// Returns how many tokens are dealt out until the subtask `index` gets one, which is active.
    fn turns_until(&self, index: usize) -> u64 {
        let subtasks = self.subtasks.len();
        let in_turn = (0..subtasks).map(|step| (self.next + step) % subtasks);
        in_turn.take_while(|&other| other != index).filter(|&other| self.subtasks[other].is_active).count() as u64 + 1
    }
}

impl RateShare {
    /// Returns how many records this subtask may read now.
    pub(super) fn allowance(&self, now_ns: u64) -> Allowance {
        let mut dealt = self.limiter.dealt.lock();
        dealt.subtasks[self.index].is_active = true;
        let elapsed_ns = now_ns.saturating_sub(*dealt.started_ns.get_or_insert(now_ns));
        dealt.deal(self.limiter.due_after(elapsed_ns));
        match dealt.subtasks[self.index].left {
            0 => {
                let number = dealt.total.saturating_add(dealt.turns_until(self.index));
                let wait_ns = self.limiter.due_ns(number).saturating_sub(elapsed_ns);
                Allowance::Wait(Duration::from_nanos(wait_ns).max(WAIT_MIN))
            }
            left => Allowance::Records(left),
        }
    }

    /// Uses up the tokens of records that were read.
    pub(super) fn use_up(&self, records: usize) {
        let left = &mut self.limiter.dealt.lock().subtasks[self.index].left;
        *left = left.saturating_sub(records as u64);
    }

    /// Leaves the tokens to the other subtasks, because this one has nothing to read.
    pub(super) fn give_up(&self) {
        let mut dealt = self.limiter.dealt.lock();
        let own = &mut dealt.subtasks[self.index];
        if !std::mem::replace(&mut own.is_active, false) {
            return;
        }
        let left = std::mem::take(&mut own.left);
        dealt.total = dealt.total.saturating_sub(left);
        // Their next token is due earlier now.
        dealt.subtasks.iter().filter(|subtask| subtask.is_active).for_each(|subtask| subtask.wakeup.wake());
    }
}

impl Drop for RateShare {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn shares(records_per_s: u64, subtasks: usize) -> Vec<RateShare> {
        let limiter = RateLimiter::new(records_per_s * 1000);
        let shares: Vec<RateShare> = (0..subtasks).map(|_| limiter.join(&Wakeup::default())).collect();
        assert!(matches!(shares[0].allowance(0), Allowance::Wait(_)), "the time starts with the first request");
        shares
    }

    /// Reads everything that a subtask may read. Returns the number of records.
    fn read(share: &RateShare, now_ns: u64) -> u64 {
        match share.allowance(now_ns) {
            Allowance::Records(records) => {
                share.use_up(records as usize);
                records
            }
            Allowance::Wait(_) => 0,
        }
    }

    #[test]
    fn subtasks_with_input_get_tokens_in_turn_and_wait_for_their_own() {
        let shares = shares(1, 2);
        assert_eq!(shares[0].allowance(0), Allowance::Wait(Duration::from_secs(1)));
        assert_eq!(shares[1].allowance(0), Allowance::Wait(Duration::from_secs(2)));
        let second = |number: u64| number * 1000 * MS;
        assert_eq!((read(&shares[0], second(1)), read(&shares[1], second(1))), (1, 0));
        assert_eq!((read(&shares[0], second(2)), read(&shares[1], second(2))), (0, 1));
        assert_eq!((read(&shares[0], second(8)), read(&shares[1], second(8))), (3, 3));
    }

    #[test]
    fn a_subtask_without_input_leaves_the_whole_rate_to_the_others() {
        let limiter = RateLimiter::new(1_000_000);
        let wakeup = Wakeup::default();
        let (reading, ended) = (limiter.join(&wakeup), limiter.join(&Wakeup::default()));
        assert_eq!((read(&reading, 0), read(&reading, 500 * MS)), (0, 250));
        ended.give_up();
        assert!(wakeup.is_woken(), "the next token is due earlier");
        assert_eq!(read(&reading, 1000 * MS), 750, "also the tokens that the other did not use");
        assert_eq!(read(&ended, 1001 * MS) + read(&reading, 1001 * MS), 1, "a subtask may have input again");
        drop(ended);
        assert_eq!(read(&reading, 2000 * MS), 999);
    }

    #[test]
    fn at_a_high_rate_a_wait_covers_many_tokens() {
        let shares = shares(1_000_000, 1);
        assert_eq!(read(&shares[0], 1000), 1);
        assert_eq!(shares[0].allowance(1000), Allowance::Wait(WAIT_MIN));
        assert_eq!(read(&shares[0], 1000 + MS), 1000);
    }

    #[test]
    fn a_rate_may_be_less_than_one_record_per_second() {
        let share = RateLimiter::new(100).join(&Wakeup::default());
        assert_eq!(share.allowance(0), Allowance::Wait(Duration::from_secs(10)));
        assert_eq!((read(&share, 9_999 * MS), read(&share, 10_000 * MS), read(&share, 35_000 * MS)), (0, 1, 2));
    }

    proptest! {
        #[test]
        fn all_subtasks_together_read_exactly_the_rate(
            rate in 1u64..5000,
            steps in prop::collection::vec((0usize..4, 0u64..50, any::<bool>()), 1..200),
        ) {
            let shares = shares(rate, 4);
            let (mut now_ns, mut total) = (0, 0);
            for (subtask, ms, gives_up) in steps {
                now_ns += ms * MS;
                total += read(&shares[subtask], now_ns);
                prop_assert!(total <= rate * now_ns / (1000 * MS), "never more than the rate");
                if gives_up {
                    shares[subtask].give_up();
                }
            }
            shares.iter().skip(1).for_each(RateShare::give_up);
            total += read(&shares[0], now_ns);
            prop_assert_eq!(total, rate * now_ns / (1000 * MS), "one subtask with input reads all of it");
        }
    }
}
