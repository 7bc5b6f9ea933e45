//! The function of the count-to-ten example. It counts to ten within a minute, and clears the count by a timer.

use cofferdam_sdk::prelude::*;

const MINUTE: Duration = Duration::from_mins(1);
const ENOUGH: u64 = 10;

/// An order of a drink. The host needs its time, and the function does not.
#[derive(Record)]
struct Order {
    drink: String,
}

/// The orders of a drink in a minute, counted to ten.
#[derive(Debug, PartialEq, Record)]
struct Count {
    drink: String,
    /// The end of the minute, in seconds.
    until: i64,
    orders: u64,
}

/// Emits one count per drink and minute: when it reaches ten, or otherwise at the end of the minute.
#[derive(Function)]
struct CountToTen {
    /// For the end of each minute, the number of orders in it, up to ten.
    orders: MapState<Timestamp, u64>,
}

#[function(name = "count-to-ten", timers(event))]
impl KeyedProcessFunction for CountToTen {
    type Key = String;
    type In = Order;
    type Out = Count;

    fn process_element(&mut self, order: Order, ctx: &mut KeyedContext<String>, out: &mut Collector<Count>) -> Result {
        let end = ctx.require_timestamp()?.floor(MINUTE) + MINUTE;
        let count = self.orders.get_or_default(&end) + 1;
        if count <= ENOUGH {
            self.orders.insert(&end, count);
            ctx.register_event_time_timer(end);
        }
        if count == ENOUGH {
            out.emit(Count { drink: order.drink, until: end.as_secs(), orders: count });
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Count>) -> Result {
        let count = self.orders.get_or_default(&timer.time);
        self.orders.remove(&timer.time);
        if count < ENOUGH {
            out.emit(Count { drink: ctx.key().to_owned(), until: timer.time.as_secs(), orders: count });
        }
        Ok(())
    }
}

cofferdam_sdk::export!(CountToTen);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn push(harness: &mut Harness<CountToTen>, time: i64) -> Result {
        harness.push("tea", Order { drink: "tea".into() }, time * 1000)
    }

    fn tea(orders: u64) -> Count {
        Count { drink: "tea".into(), until: 60, orders }
    }

    #[test]
    fn the_tenth_order_emits_a_line_at_once() -> Result {
        let mut harness = Harness::<CountToTen>::new();
        (0..9).try_for_each(|time| push(&mut harness, time))?;
        assert!(harness.take_output()?.is_empty());
        (9..15).try_for_each(|time| push(&mut harness, time))?;
        assert_eq!(harness.take_output()?, [tea(10)]);
        harness.advance_watermark(60_000)?;
        assert!(harness.take_output()?.is_empty());
        Ok(())
    }

    #[test]
    fn the_timer_emits_a_smaller_count_and_clears_it() -> Result {
        let mut harness = Harness::<CountToTen>::new();
        [1, 59, 60].into_iter().try_for_each(|time| push(&mut harness, time))?;
        assert_eq!(harness.timers(TimeDomain::Event), 2);
        harness.advance_watermark(59_999)?;
        assert!(harness.take_output()?.is_empty());
        harness.advance_watermark(60_000)?;
        assert_eq!(harness.take_output()?, [tea(2)]);
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
        assert_eq!(restored.take_output()?, [tea(3)]);
        Ok(())
    }
}
