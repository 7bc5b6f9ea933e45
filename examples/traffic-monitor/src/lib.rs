//! The functions of the traffic-monitor example. `speed` folds the cars of a window into their mean speed, and `watch` reports when a
//! road becomes slow and when it is free again.

use cofferdam_sdk::prelude::*;

/// A window with fewer cars is ignored.
const CARS_MIN: u64 = 3;
/// A road is slow below this speed, in km/h.
const SLOW: u64 = 30;

/// A car that passed on a road, which is its key.
#[derive(Record)]
struct Car {
    /// In km/h.
    speed: u64,
}

/// The cars of a road in a window.
#[derive(Record)]
struct Traffic {
    road: String,
    /// The window's end in seconds.
    until: i64,
    cars: u64,
    /// In km/h, rounded down.
    mean_speed: u64,
}

/// A road becomes slow, or is free again.
#[derive(Debug, PartialEq, Record)]
struct Change<'a> {
    road: &'a str,
    /// In seconds.
    time: i64,
    /// `slow` or `free`.
    what: &'a str,
    /// In km/h.
    mean_speed: u64,
}

/// Folds the cars of a window into their number and the sum of their speeds.
#[derive(Default)]
struct Speed;

#[function]
impl AggregateFunction for Speed {
    type Key = String;
    type In = Car;
    type Accumulator = (u64, u64);
    type Out = Traffic;

    fn create(&mut self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&mut self, (cars, sum): &mut (u64, u64), car: Car, _ctx: &mut Context) -> Result {
        *cars += 1;
        *sum += car.speed;
        Ok(())
    }

    fn merge(&mut self, (cars, sum): &mut (u64, u64), other: (u64, u64)) -> Result {
        *cars += other.0;
        *sum += other.1;
        Ok(())
    }

    fn result(&mut self, &(cars, sum): &(u64, u64), window: &Window<String>) -> Result<Traffic> {
        let (road, until) = (window.key().to_owned(), window.end.as_secs());
        Ok(Traffic { road, until, cars, mean_speed: sum / cars.max(1) })
    }
}

/// Emits a change of a road.
#[derive(Function)]
struct Watch {
    /// Whether the road was slow in the last window with enough cars.
    slow_now: ValueState<bool>,
}

#[function]
impl KeyedProcessFunction for Watch {
    type Key = String;
    type In = Traffic;
    type Out = Change<'static>;

    fn process_element(
        &mut self,
        traffic: Traffic,
        _: &mut KeyedContext<String>,
        out: &mut Collector<Change<'static>>,
    ) -> Result {
        let slow = traffic.mean_speed < SLOW;
        if traffic.cars >= CARS_MIN && slow != self.slow_now.get_or_default() {
            self.slow_now.set(slow);
            let what = if slow { "slow" } else { "free" };
            let Traffic { road, until: time, mean_speed, .. } = &traffic;
            out.emit(Change { road, time: *time, what, mean_speed: *mean_speed });
        }
        Ok(())
    }
}

cofferdam_sdk::export!(Speed, Watch);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::{Harness, WindowHarness, Windows};

    #[test]
    fn a_car_counts_in_every_window_that_contains_it() -> Result {
        let mut harness =
            WindowHarness::<Speed>::new(Windows::sliding(Duration::from_mins(1), Duration::from_secs(20)));
        for (time, speed) in [(605, 50), (630, 21)] {
            harness.push("A4", Car { speed }, time * 1000)?;
        }
        harness.advance_watermark(680_000)?;
        let windows: Vec<_> = harness
            .take_output()?
            .into_iter()
            .map(|traffic| (traffic.until, traffic.cars, traffic.mean_speed))
            .collect();
        assert_eq!(windows, [(620, 1, 50), (640, 2, 35), (660, 2, 35), (680, 1, 21)]);
        Ok(())
    }

    /// Returns the changes as `road,time,what,mean speed`.
    fn jams(windows: &[(u64, u64)]) -> Result<Vec<String>> {
        let mut harness = Harness::<Watch>::new();
        for (&(cars, mean_speed), until) in windows.iter().zip(1..) {
            harness.push("A4", Traffic { road: "A4".into(), until, cars, mean_speed }, until)?;
        }
        let line = |change: OwnedChange| {
            let OwnedChange { road, time, what, mean_speed } = change;
            format!("{road},{time},{what},{mean_speed}")
        };
        Ok(harness.take_output()?.into_iter().map(line).collect())
    }

    #[test]
    fn only_changes_are_emitted() -> Result {
        let told = jams(&[(3, 80), (3, 29), (9, 10), (3, 30), (5, 50)])?;
        assert_eq!(told, ["A4,2,slow,29", "A4,4,free,30"]);
        Ok(())
    }

    #[test]
    fn a_window_with_few_cars_is_ignored() -> Result {
        assert!(jams(&[(2, 5)])?.is_empty());
        assert_eq!(jams(&[(3, 5), (2, 90)])?, ["A4,1,slow,5"]);
        Ok(())
    }
}
