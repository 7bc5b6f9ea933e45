//! The guest of `cargo xtask bench rows`: the number of flights and the total delay of each aircraft.
//! `host/benches/peer/flink/FlightCount.java` is the same job in Flink. Change both together.

use cofferdam_sdk::prelude::*;

/// Two of the columns of a flight.
#[derive(Record)]
struct Flight<'a> {
    tailnum: &'a str,
    dep_delay: Option<i32>,
}

/// An aircraft after one of its flights.
#[derive(Record)]
struct Delay<'a> {
    tailnum: &'a str,
    flights: u64,
    total: i64,
}

/// Number of flights and total delay of an aircraft.
#[derive(Clone, Copy, Default, Record)]
struct Stats {
    flights: u64,
    total: i64,
}

#[derive(Function)]
struct Track {
    stats: ValueState<Stats>,
}

#[function(name = "track")]
impl KeyedProcessFunction for Track {
    type Key = String;
    type In = Flight<'static>;
    type Out = Delay<'static>;

    fn process_element(
        &mut self,
        flight: Flight,
        _: &mut KeyedContext<String>,
        out: &mut Collector<Delay<'static>>,
    ) -> Result {
        let Stats { flights, total } = self.stats.update(|stats| {
            stats.flights += 1;
            stats.total += i64::from(flight.dep_delay.unwrap_or(0));
            *stats
        });
        out.emit(Delay { tailnum: flight.tailnum, flights, total });
        Ok(())
    }
}

cofferdam_sdk::export!(Track);
