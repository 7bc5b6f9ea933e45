//! The functions of the late-flights example. `parse` turns rows of the flights file into departures, and `track` computes running
//! delay statistics of each aircraft.

use cofferdam_sdk::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A row of the file. Numbers stay text here, because `NA` stands for a missing one.
#[derive(Deserialize)]
#[allow(dead_code, reason = "a row is read by the order of its columns, so those that are not needed are named too")]
struct FlightRow {
    dep_delay: String,
    arr_delay: String,
    carrier: String,
    flight: u32,
    tailnum: String,
    origin: String,
    dest: String,
    time_hour: String,
}

/// A flight that departed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Departure {
    tailnum: String,
    carrier: String,
    flight: u32,
    origin: String,
    /// Minutes behind schedule; negative when early.
    delay: i32,
    time: String,
}

/// Reads the rows of the file, and skips flights that were cancelled or whose aircraft is not known.
#[derive(Default)]
struct Parse;

#[function]
impl FlatMapFunction for Parse {
    type In = Csv<FlightRow>;
    type Out = Json<Departure>;

    fn flat_map(&mut self, row: FlightRow, _ctx: &mut Context, out: &mut Collector<Json<Departure>>) -> Result {
        if row.dep_delay == "NA" || row.tailnum == "NA" {
            return Ok(());
        }
        let delay = row.dep_delay.parse().map_err(|error| format!("dep_delay `{}`: {error}", row.dep_delay))?;
        out.emit(Departure {
            tailnum: row.tailnum,
            carrier: row.carrier,
            flight: row.flight,
            origin: row.origin,
            delay,
            time: row.time_hour,
        });
        Ok(())
    }
}

const LAST_DELAYS_KEPT: usize = 10;

/// Updates the statistics of an aircraft and emits `tailnum,count,total_delay,last_ten` for every departure.
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
    type In = Json<Departure>;
    type Out = Csv<(String, u64, i64, String)>;

    fn process_element(
        &mut self,
        flight: Departure,
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Self::Out>,
    ) -> Result {
        let (count, total) = self.stats.update(|(count, total)| {
            *count += 1;
            *total += i64::from(flight.delay);
            (*count, *total)
        });
        let last_ten = self.last_delays.update(|delays| {
            delays.push(flight.delay);
            if delays.len() > LAST_DELAYS_KEPT {
                delays.remove(0);
            }
            joined(delays)
        });
        out.emit((ctx.key().to_owned(), count, total, last_ten));
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
