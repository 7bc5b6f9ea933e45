//! Each strategy to the millisecond, on a clock that the tests set.

use std::time::Duration;

use super::restart_policy::RestartDecision::{self, After, GiveUp};
use super::restart_policy::RestartHistory;
use crate::clock::{Clock, ManualClock};
use crate::pipeline::{ExponentialDelay, PipelineSpec, RestartStrategy};

/// A job that fails, with its strategy.
struct FailingJob {
    strategy: RestartStrategy,
    history: RestartHistory,
    clock: ManualClock,
    seed: u64,
}

impl FailingJob {
    fn new(settings: &str) -> FailingJob {
        let clock = ManualClock::default();
        clock.set_ms(1_000_000);
        FailingJob { strategy: strategy(settings), history: RestartHistory::default(), clock, seed: 7 }
    }

    /// Lets time pass, then fails. The record is stored and read again in between.
    fn fail_after(&mut self, ms: i64) -> RestartDecision {
        self.clock.set_ms(self.clock.wall_ms() + ms);
        let stored = serde_json::to_string(&self.history).unwrap();
        self.history = serde_json::from_str(&stored).unwrap();
        self.history.decide(&self.strategy, self.clock.wall_ms(), self.seed)
    }
}

fn strategy(settings: &str) -> RestartStrategy {
    let text = format!(
        "name = \"a\"\n[restart]\n{settings}\n[source.a]\nconnector = \"generator\"\n\
         [sink.b]\ninput = \"a\"\nconnector = \"blackhole\"\n"
    );
    PipelineSpec::parse(&text, "pipeline.toml").unwrap().restart
}

fn ms(ms: u64) -> RestartDecision {
    After(Duration::from_millis(ms))
}

#[test]
fn an_exponential_delay_grows_in_whole_milliseconds_up_to_its_maximum() {
    let settings =
        "strategy = \"exponential-delay\"\ninitial = \"4ms\"\nmultiplier = 2.3\njitter = 0\nmaximum = \"300ms\"";
    let mut job = FailingJob::new(settings);
    let delays: Vec<_> = (0..8).map(|_| job.fail_after(1)).collect();
    assert_eq!(delays, [4, 9, 20, 46, 105, 241, 300, 300].map(ms));
}

#[test]
fn an_exponential_delay_is_reset_at_its_threshold_and_not_before() {
    let settings = "strategy = \"exponential-delay\"\ninitial = \"4ms\"\nmultiplier = 2.3\njitter = 0\nmaximum = \"300ms\"\n\
                    reset_after = \"80ms\"";
    let mut job = FailingJob::new(settings);
    assert_eq!((job.fail_after(0), job.fail_after(0)), (ms(4), ms(9)));
    // The threshold counts from the restart, 9 ms after the failure.
    assert_eq!(job.fail_after(88), ms(20));
    assert_eq!(job.fail_after(100), ms(4), "20 ms of delay and 80 ms without a failure");
    assert_eq!(job.fail_after(-50), ms(9), "a clock that is set back resets nothing");
}

#[test]
fn an_exponential_delay_gives_up_after_its_attempts_since_the_last_reset() {
    let settings =
        "strategy = \"exponential-delay\"\ninitial = \"1ms\"\nattempts = 2\nreset_after = \"1s\"\njitter = 0";
    let mut job = FailingJob::new(settings);
    assert_eq!([0, 0, 0].map(|pause| job.fail_after(pause)), [ms(1), ms(2), GiveUp]);
    let mut job = FailingJob::new(settings);
    assert_eq!([0, 0, 2_000, 0, 0].map(|pause| job.fail_after(pause)), [ms(1), ms(2), ms(1), ms(2), GiveUp]);
}

#[test]
fn jitter_stays_within_its_share_and_depends_on_the_seed_only() {
    let settings =
        "strategy = \"exponential-delay\"\ninitial = \"100ms\"\nmultiplier = 1\njitter = 0.1\nmaximum = \"1s\"";
    let delays = |seed| {
        let mut job = FailingJob { seed, ..FailingJob::new(settings) };
        (0..200).map(|_| job.fail_after(1)).collect::<Vec<_>>()
    };
    let seven = delays(7);
    // A delay is never shorter than `initial`.
    assert!(seven.iter().all(|delay| matches!(delay, After(delay) if (100..=110).contains(&delay.as_millis()))));
    assert!(seven.contains(&ms(110)) && seven.iter().any(|delay| *delay == ms(103)), "{seven:?}");
    assert_eq!(seven, delays(7));
    assert_ne!(seven, delays(8));
}

#[test]
fn a_failure_rate_allows_its_number_of_failures_in_each_interval() {
    let settings = "strategy = \"failure-rate\"\nfailures = 3\ninterval = \"10s\"\ndelay = \"5ms\"";
    let mut job = FailingJob::new(settings);
    assert_eq!([0, 1_000, 1_000].map(|pause| job.fail_after(pause)), [ms(5); 3]);
    assert_eq!(job.fail_after(7_999), GiveUp, "the first failure was 9,999 ms ago");
    let mut job = FailingJob::new(settings);
    assert_eq!([0, 1_000, 1_000, 8_000].map(|pause| job.fail_after(pause)), [ms(5); 4], "it was 10,000 ms ago");
    assert_eq!(job.fail_after(999), GiveUp);
}

#[test]
fn the_attempts_of_a_fixed_delay_are_counted_over_an_interval() {
    let mut job = FailingJob::new("attempts = 2\ndelay = \"3ms\"\ninterval = \"1s\"");
    for round in 0..5 {
        assert_eq!([1_000, 500].map(|pause| job.fail_after(pause)), [ms(3); 2], "round {round}");
    }
    assert_eq!([1_000, 1, 1].map(|pause| job.fail_after(pause)), [ms(3), ms(3), GiveUp]);
}

#[test]
fn the_stored_history_is_bounded() {
    let mut job = FailingJob::new("attempts = 5\ninterval = \"1000h\"");
    for _ in 0..1_000 {
        job.fail_after(1);
    }
    assert!(serde_json::to_string(&job.history).unwrap().len() < 200);
}

#[test]
fn the_default_depends_on_checkpoints() {
    let text = |checkpoint: &str| {
        format!(
            "name = \"a\"\n{checkpoint}\n[source.a]\nconnector = \"generator\"\n[sink.b]\ninput = \"a\"\n\
             connector = \"blackhole\"\n"
        )
    };
    let strategy = |checkpoint| PipelineSpec::parse(&text(checkpoint), "pipeline.toml").unwrap().restart;
    let default = RestartStrategy::ExponentialDelay(ExponentialDelay::default());
    assert_eq!(strategy("checkpoint = { interval = \"1s\" }"), default);
    assert!(matches!(strategy(""), RestartStrategy::FixedDelay { .. }));
    let mut job = FailingJob { strategy: default, ..FailingJob::new("strategy = \"none\"") };
    let After(first) = job.fail_after(0) else { panic!("it restarts") };
    assert!((1_000..=1_100).contains(&first.as_millis()));
    let last = (0..20).map(|_| job.fail_after(60_000)).last().unwrap();
    let After(last) = last else { panic!("it restarts") };
    assert!((54_000..=60_000).contains(&last.as_millis()), "{last:?}");
    let After(again) = job.fail_after(60_000 + 3_600_000) else { panic!("it restarts") };
    assert!((1_000..=1_100).contains(&again.as_millis()), "{again:?}");
}

#[test]
fn no_restart_without_a_strategy() {
    assert_eq!(FailingJob::new("strategy = \"none\"").fail_after(0), GiveUp);
}
