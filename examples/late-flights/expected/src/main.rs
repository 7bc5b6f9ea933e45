//! Computes the expected output of the example `late-flights` without Cofferdam, in one pass over the file with one map.
//!
//! `late-flights-expected data/flights.csv.gz` writes the lines of the sink `delays` to stdout, sorted by their bytes.
//! It shares no code with the host, the SDK or the example's functions, so that it detects their errors.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use flate2::read::GzDecoder;

/// Number of delays of an aircraft in the output.
const LAST: usize = 10;

#[derive(Default)]
struct Aircraft {
    flights: u64,
    total_delay: i64,
    last_delays: VecDeque<i64>,
}

/// Returns the lines of the output in the order of the input. A flight without a departure delay or a tail number is not counted.
fn expected_lines(flights: impl Read) -> Result<Vec<String>, Box<dyn Error>> {
    let mut reader = csv::Reader::from_reader(flights);
    let headers = reader.headers()?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name).ok_or(format!("no column `{name}`"));
    let (delay_at, tailnum_at) = (column("dep_delay")?, column("tailnum")?);

    let mut fleet: HashMap<String, Aircraft> = HashMap::new();
    let mut lines = Vec::new();
    for flight in reader.records() {
        let flight = flight?;
        let (delay, tailnum) = (&flight[delay_at], &flight[tailnum_at]);
        if delay == "NA" || tailnum == "NA" {
            continue;
        }
        let delay: i64 = delay.parse()?;
        let aircraft = fleet.entry(tailnum.to_string()).or_default();
        aircraft.flights += 1;
        aircraft.total_delay += delay;
        aircraft.last_delays.push_back(delay);
        if aircraft.last_delays.len() > LAST {
            aircraft.last_delays.pop_front();
        }
        let last: Vec<String> = aircraft.last_delays.iter().map(i64::to_string).collect();
        lines.push(format!("{tailnum},{},{},{}", aircraft.flights, aircraft.total_delay, last.join(";")));
    }
    Ok(lines)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: late-flights-expected FLIGHTS.csv.gz")?;
    let mut lines = expected_lines(GzDecoder::new(File::open(path)?))?;
    lines.sort_unstable();
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::expected_lines;

    #[test]
    fn an_aircraft_counts_sums_and_keeps_its_last_ten() {
        let mut file = String::from("dep_delay,tailnum\n-3,N1\nNA,N1\n5,NA\n40,N2\n");
        (1..=10).for_each(|delay| file.push_str(&format!("{delay},N1\n")));
        let lines = expected_lines(file.as_bytes()).unwrap();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[..3], ["N1,1,-3,-3", "N2,1,40,40", "N1,2,-2,-3;1"]);
        assert_eq!(lines[11], "N1,11,52,1;2;3;4;5;6;7;8;9;10");
    }

    #[test]
    fn a_delay_that_is_no_number_is_an_error() {
        assert!(expected_lines("dep_delay,tailnum\nsoon,N1\n".as_bytes()).is_err());
    }
}
