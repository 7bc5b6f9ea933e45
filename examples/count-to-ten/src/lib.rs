//! The function of the count-to-ten example. It counts to ten within a minute, clears the count by a timer, and fails once.

use cofferdam_sdk::prelude::*;
use serde::{Deserialize, Serialize};

const MINUTE: Duration = Duration::from_mins(1);
const ENOUGH: u64 = 10;

/// A row of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// In seconds.
    time: u64,
    drink: String,
}

/// Emits one row `drink,end of the minute in seconds,count` per drink and minute: when the count reaches ten, or otherwise at the end of the
/// minute.
#[derive(Function)]
struct CountToTen {
    /// For the end of each minute, the number of orders in it, up to ten.
    orders: MapState<Timestamp, u64>,
    /// The time of the order that fails.
    fails_at: Option<u64>,
}

#[function(name = "count-to-ten", timers(event))]
impl KeyedProcessFunction for CountToTen {
    type Key = String;
    type In = Csv<Order>;
    type Out = Csv<(String, i64, u64)>;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.fails_at = ctx.config_as("fails_at")?;
        Ok(())
    }

    fn process_element(
        &mut self,
        order: Order,
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Self::Out>,
    ) -> Result {
        if self.fails_at == Some(order.time) && ctx.turn().restarts == 0 {
            return Err("the kettle is broken".into());
        }
        let end = ctx.require_timestamp()?.floor(MINUTE) + MINUTE;
        let count = self.orders.get_or_default(&end) + 1;
        if count <= ENOUGH {
            self.orders.insert(&end, count);
            ctx.register_event_time_timer(end);
        }
        if count == ENOUGH {
            out.emit((order.drink, end.as_secs(), count));
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Self::Out>) -> Result {
        let count = self.orders.get_or_default(&timer.time);
        self.orders.remove(&timer.time);
        if count < ENOUGH {
            out.emit((ctx.key().to_owned(), timer.time.as_secs(), count));
        }
        Ok(())
    }
}

cofferdam_sdk::export!(CountToTen);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn push(harness: &mut Harness<CountToTen>, time: u64) -> Result {
        harness.push("tea", Order { time, drink: "tea".into() }, time as i64 * 1000)
    }

    #[test]
    fn the_tenth_order_emits_a_line_at_once() -> Result {
        let mut harness = Harness::<CountToTen>::new();
        (0..9).try_for_each(|time| push(&mut harness, time))?;
        assert!(harness.take_text()?.is_empty());
        (9..15).try_for_each(|time| push(&mut harness, time))?;
        assert_eq!(harness.take_text()?, ["tea,60,10"]);
        harness.advance_watermark(60_000)?;
        assert!(harness.take_text()?.is_empty());
        Ok(())
    }

    #[test]
    fn the_timer_emits_a_smaller_count_and_clears_it() -> Result {
        let mut harness = Harness::<CountToTen>::new();
        [1, 59, 60].into_iter().try_for_each(|time| push(&mut harness, time))?;
        assert_eq!(harness.timers(TimeDomain::Event), 2);
        harness.advance_watermark(59_999)?;
        assert!(harness.take_text()?.is_empty());
        harness.advance_watermark(60_000)?;
        assert_eq!(harness.take_text()?, ["tea,60,2"]);
        assert_eq!(
            harness.read_state("tea", |count| count.orders.iter().collect::<Vec<_>>()),
            [(Timestamp::from_secs(120), 1)]
        );
        Ok(())
    }

    #[test]
    fn counts_and_timers_survive_a_restart() -> Result {
        let mut harness = Harness::<CountToTen>::new();
        [1, 2].into_iter().try_for_each(|time| push(&mut harness, time))?;
        let mut restored = Harness::<CountToTen>::restore(&harness.snapshot())?;
        push(&mut restored, 3)?;
        restored.advance_watermark(60_000)?;
        assert_eq!(restored.take_text()?, ["tea,60,3"]);
        Ok(())
    }

    #[test]
    fn it_fails_at_the_configured_order_until_the_job_is_restarted() -> Result {
        let mut harness = Harness::<CountToTen>::new().with_config("fails_at", "7");
        push(&mut harness, 6)?;
        assert!(push(&mut harness, 7).expect_err("it fails").to_string().contains("kettle"));
        push(&mut Harness::new().with_config("fails_at", "7").with_restarts(1), 7)
    }
}
