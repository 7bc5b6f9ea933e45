//! The functions of the late-flights example. `parse` turns flights into departures, and `track` computes running delay statistics of
//! each aircraft.

use cofferdam_sdk::prelude::*;
use std::fmt::Write;

/// A flight of the file: four of its columns. `NA` stands for a missing delay or aircraft.
#[derive(Record)]
struct Flight<'a> {
    tailnum: &'a str,
    carrier: &'a str,
    flight: u32,
    dep_delay: &'a str,
}

/// A flight that departed.
#[derive(Record)]
struct Departure<'a> {
    tailnum: &'a str,
    carrier: &'a str,
    flight: u32,
    /// Minutes behind schedule; negative when early.
    delay: i32,
}

/// The flights of an aircraft so far.
#[derive(Record)]
struct Delays<'a> {
    tailnum: &'a str,
    flights: u64,
    /// In minutes.
    total_delay: i64,
    /// The last ten delays, oldest first, separated by `;`.
    last_delays: &'a str,
}

/// Skips flights that were cancelled or whose aircraft is not known.
#[derive(Default)]
struct Parse;

#[function]
impl FlatMapFunction for Parse {
    type In = Flight<'static>;
    type Out = Departure<'static>;

    fn flat_map(&mut self, flight: Flight, _ctx: &mut Context, out: &mut Collector<Departure<'static>>) -> Result {
        let Flight { tailnum, carrier, flight, dep_delay } = flight;
        if dep_delay == "NA" || tailnum == "NA" {
            return Ok(());
        }
        let delay = dep_delay.parse().map_err(|error| format!("dep_delay `{dep_delay}`: {error}"))?;
        out.emit(Departure { tailnum, carrier, flight, delay });
        Ok(())
    }
}

const LAST_DELAYS_KEPT: usize = 10;

/// Updates the statistics of an aircraft and emits them for every departure.
#[derive(Function)]
struct Track {
    /// The number of flights, and the sum of their delays in minutes.
    stats: ValueState<(u64, i64)>,
    /// The delays of the last flights in minutes, oldest first.
    last_delays: ListState<i32>,
}

#[function]
impl KeyedProcessFunction for Track {
    type Key = String;
    type In = Departure<'static>;
    type Out = Delays<'static>;

    fn process_element(
        &mut self,
        flight: Departure,
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Delays<'static>>,
    ) -> Result {
        let (flights, total_delay) = self.stats.update(|(count, total)| {
            *count += 1;
            *total += i64::from(flight.delay);
            (*count, *total)
        });
        let last_delays = self.last_delays.update(|delays| {
            delays.push(flight.delay);
            if delays.len() > LAST_DELAYS_KEPT {
                delays.remove(0);
            }
            joined(delays)
        });
        out.emit(Delays { tailnum: ctx.key(), flights, total_delay, last_delays: &last_delays });
        Ok(())
    }
}

/// Joins the delays with `;`.
fn joined(delays: &[i32]) -> String {
    let mut text = String::new();
    for delay in delays {
        if !text.is_empty() {
            text.push(';');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{delay}");
    }
    text
}

cofferdam_sdk::export!(Parse, Track);

#[cfg(test)]
mod tests;
