//! Decides whether a job restarts after a failure, and after which delay.
//!
//! A decision depends on the strategy of the pipeline file, the times of earlier failures, the current time and the
//! job's seed, and on nothing else. The times are part of the job's record, so that they outlive the process.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::hash_key;
use crate::pipeline::{ExponentialDelay, FailureLimit, RestartStrategy};

/// The failures that a restart strategy takes into account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartHistory {
    /// Times of the failures within the strategy's interval, in milliseconds since the Unix epoch, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    failures_ms: VecDeque<i64>,
    /// The exponential delay after the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backoff: Option<Backoff>,
}

/// The state of an exponential delay after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Backoff {
    failed_at_ms: i64,
    /// Delay before the jitter was added.
    base_ms: u64,
    /// Delay with jitter.
    delay_ms: u64,
    /// Number of failures since the delay was last reset.
    failures: u32,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// The job restarts after this delay.
    After(Duration),
    /// The strategy allows no further restart.
    GiveUp,
}

impl RestartHistory {
    /// Records a failure at `now_ms` and decides what follows. `seed` determines the jitter.
    pub fn decide(&mut self, strategy: &RestartStrategy, now_ms: i64, seed: u64) -> RestartDecision {
        match strategy {
            RestartStrategy::None => RestartDecision::GiveUp,
            RestartStrategy::FixedDelay { limit, delay } | RestartStrategy::FailureRate { limit, delay } => {
                match self.is_within(limit, now_ms) {
                    true => RestartDecision::After(*delay),
                    false => RestartDecision::GiveUp,
                }
            }
            RestartStrategy::ExponentialDelay(settings) => self.back_off(settings, now_ms, seed),
        }
    }

    /// Records a failure. Returns whether the limit allows the failures of the last interval.
    fn is_within(&mut self, limit: &FailureLimit, now_ms: i64) -> bool {
        let interval_ms = milliseconds(limit.interval);
        // A clock that was set back must not keep failures for longer than the interval.
        self.failures_ms.retain(|failure| now_ms.abs_diff(*failure) < interval_ms);
        self.failures_ms.push_back(now_ms);
        while self.failures_ms.len() > limit.failures as usize + 1 {
            self.failures_ms.pop_front();
        }
        self.failures_ms.len() <= limit.failures as usize
    }

    fn back_off(&mut self, settings: &ExponentialDelay, now_ms: i64, seed: u64) -> RestartDecision {
        let (initial_ms, maximum_ms) = (milliseconds(settings.initial), milliseconds(settings.maximum));
        let is_reset = |last: &Backoff| {
            let reset_ms = milliseconds(settings.reset_after).saturating_add(last.delay_ms);
            u64::try_from(now_ms.saturating_sub(last.failed_at_ms)).is_ok_and(|since| since >= reset_ms)
        };
        let (base_ms, failures) = match self.backoff.take().filter(|last| !is_reset(last)) {
            None => (initial_ms.min(maximum_ms), 1),
            Some(last) => (grown(last.base_ms, settings, maximum_ms), last.failures.saturating_add(1)),
        };
        let delay_ms =
            with_jitter(base_ms, settings.jitter_thousandths, hash_key(&jitter_seed(seed, now_ms, failures)))
                .clamp(initial_ms.min(maximum_ms), maximum_ms);
        self.backoff = Some(Backoff { failed_at_ms: now_ms, base_ms, delay_ms, failures });
        match settings.attempts {
            Some(attempts) if failures > attempts => RestartDecision::GiveUp,
            _ => RestartDecision::After(Duration::from_millis(delay_ms)),
        }
    }
}

/// Returns the delay that follows `base_ms`, in whole milliseconds. It grows by at least one, unless the multiplier is 1.
fn grown(base_ms: u64, settings: &ExponentialDelay, maximum_ms: u64) -> u64 {
    let product = u128::from(base_ms) * u128::from(settings.multiplier_thousandths) / 1000;
    let at_least = base_ms.saturating_add(u64::from(settings.multiplier_thousandths > 1000));
    u64::try_from(product).unwrap_or(u64::MAX).max(at_least).min(maximum_ms)
}

/// Adds up to `thousandths` of a delay, or subtracts it. `random` selects how much.
fn with_jitter(delay_ms: u64, thousandths: u64, random: u64) -> u64 {
    let range = (u128::from(delay_ms) * u128::from(thousandths) / 1000) as u64;
    let offset = (u128::from(random) % (2 * u128::from(range) + 1)) as u64;
    delay_ms.saturating_sub(range).saturating_add(offset)
}

fn jitter_seed(seed: u64, now_ms: i64, failures: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&now_ms.to_le_bytes());
    bytes[16..].copy_from_slice(&failures.to_le_bytes());
    bytes
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
