//! The function of the fraud-detection example, after Flink's walkthrough: thieves test a stolen card with a small charge before a
//! large one.

use cofferdam_sdk::prelude::*;

/// A charge below this amount is small, in cents.
const SMALL: u64 = 100;
/// A charge above this amount is large, in cents.
const LARGE: u64 = 50_000;
const MINUTE: Duration = Duration::from_mins(1);

/// A charge on an account.
#[derive(Record)]
struct Charge {
    /// In seconds.
    time: i64,
    account: String,
    cents: u64,
}

/// A large charge that follows a small one.
#[derive(Debug, PartialEq, Record)]
struct Alert {
    account: String,
    cents: u64,
    /// In seconds.
    time: i64,
    seconds_after_small: u64,
}

/// Emits an alert for a large charge that directly follows a small charge of the same account within a minute.
#[derive(Function)]
struct Detect {
    /// When the last charge was made, if it was small.
    small_at: ValueState<Timestamp>,
}

#[function(timers(event))]
impl KeyedProcessFunction for Detect {
    type Key = String;
    type In = Charge;
    type Out = Alert;

    fn process_element(
        &mut self,
        charge: Charge,
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Alert>,
    ) -> Result {
        let now = ctx.require_timestamp()?;
        if let Some(small_at) = self.small_at.take() {
            ctx.delete_event_time_timer(small_at + MINUTE);
            let after = now - small_at;
            // The timer may not have fired yet, because the watermark is later than the records.
            if charge.cents > LARGE && after <= MINUTE {
                let Charge { account, cents, time } = charge;
                out.emit(Alert { account, cents, time, seconds_after_small: after.as_secs() });
                return Ok(());
            }
        }
        if charge.cents < SMALL {
            self.small_at.set(now);
            ctx.register_event_time_timer(now + MINUTE);
        }
        Ok(())
    }

    /// The minute is over, so the small charge was harmless.
    fn on_timer(&mut self, _: Timer, _: &mut KeyedContext<String>, _: &mut Collector<Alert>) -> Result {
        self.small_at.clear();
        Ok(())
    }
}

cofferdam_sdk::export!(Detect);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn charge(harness: &mut Harness<Detect>, time: i64, cents: u64) -> Result {
        harness.push("ada", Charge { time, account: "ada".into(), cents }, time * 1000)
    }

    fn small_at(harness: &Harness<Detect>) -> Option<i64> {
        harness.read_state("ada", |detect| detect.small_at.get()).map(Timestamp::as_secs)
    }

    /// Returns the times of the alerts.
    fn alerts(charges: &[(i64, u64)]) -> Result<Vec<i64>> {
        let mut harness = Harness::new();
        charges.iter().try_for_each(|&(time, cents)| charge(&mut harness, time, cents))?;
        Ok(harness.take_output()?.into_iter().map(|alert| alert.time).collect())
    }

    #[test]
    fn a_large_charge_within_a_minute_of_a_small_one_is_reported() -> Result {
        assert_eq!(alerts(&[(0, 99), (60, 50_001)])?, [60]);
        assert!(alerts(&[(0, 99), (61, 50_001)])?.is_empty(), "too late");
        assert!(alerts(&[(0, 100), (60, 50_001)])?.is_empty(), "not small");
        assert!(alerts(&[(0, 99), (60, 50_000)])?.is_empty(), "not large");
        Ok(())
    }

    #[test]
    fn only_the_charge_directly_before_counts() -> Result {
        assert!(alerts(&[(0, 99), (10, 2_000), (20, 50_001)])?.is_empty());
        assert_eq!(alerts(&[(0, 99), (50, 10), (100, 50_001)])?, [100], "the second small charge counts");
        assert_eq!(alerts(&[(0, 99), (10, 60_000), (20, 60_000)])?, [10]);
        Ok(())
    }

    #[test]
    fn the_state_is_cleared_after_a_minute() -> Result {
        let mut harness = Harness::new();
        charge(&mut harness, 0, 99)?;
        harness.advance_watermark(59_999)?;
        assert_eq!(small_at(&harness), Some(0));
        let mut restored = Harness::<Detect>::restore(&harness.snapshot())?;
        restored.advance_watermark(60_000)?;
        assert_eq!(small_at(&restored), None);
        Ok(())
    }

    #[test]
    fn a_charge_deletes_the_timer() -> Result {
        let mut harness = Harness::new();
        charge(&mut harness, 0, 99)?;
        charge(&mut harness, 30, 50)?;
        assert_eq!(harness.timers(TimeDomain::Event), 1);
        harness.advance_watermark(60_000)?;
        assert_eq!(small_at(&harness), Some(30), "the minute of the second charge is not over");
        Ok(())
    }
}
