//! JSON parsers: two of nineteen fields of a flight, written as a row.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;

use serde::Deserialize;
use sonic_rs::JsonValueTrait;

use crate::{Candidate, Delay, compare, sum};

/// Writes each flight as an object with all columns, one per line.
fn lines(table: &[u8]) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut reader = csv::Reader::from_reader(table);
    let names = reader.headers()?.clone();
    let mut lines = Vec::new();
    for row in reader.records().take(100_000) {
        let mut line = Vec::new();
        for (index, (name, value)) in names.iter().zip(&row?).enumerate() {
            write!(line, "{}\"{name}\":", if index == 0 { "{" } else { "," })?;
            match value {
                "NA" if name != "tailnum" => line.extend_from_slice(b"null"),
                number if number.parse::<i64>().is_ok() => line.extend_from_slice(number.as_bytes()),
                text => write!(line, "\"{text}\"")?,
            }
        }
        line.push(b'}');
        lines.push(line);
    }
    Ok(lines)
}

fn row(delay: &Delay<'_>, rows: &mut Vec<u8>) -> u64 {
    let taken = std::mem::take(rows);
    *rows = postcard::to_extend(delay, taken).expect("memory can be written");
    sum(delay.tailnum, delay.dep_delay)
}

#[derive(Deserialize)]
struct Borrowed<'a> {
    #[serde(borrow)]
    tailnum: &'a str,
    dep_delay: Option<i32>,
}

impl<'a> From<Borrowed<'a>> for Delay<'a> {
    fn from(Borrowed { tailnum, dep_delay }: Borrowed<'a>) -> Delay<'a> {
        Delay { tailnum, dep_delay }
    }
}

fn with_serde_json(lines: &[Vec<u8>]) -> u64 {
    let mut rows = Vec::with_capacity(lines.len() * 12);
    let delays = lines.iter().filter_map(|line| serde_json::from_slice::<Borrowed<'_>>(line).ok());
    delays.map(|delay| row(&delay.into(), &mut rows)).fold(0, u64::wrapping_add)
}

fn with_sonic_struct(lines: &[Vec<u8>]) -> u64 {
    let mut rows = Vec::with_capacity(lines.len() * 12);
    let delays = lines.iter().filter_map(|line| sonic_rs::from_slice::<Borrowed<'_>>(line).ok());
    delays.map(|delay| row(&delay.into(), &mut rows)).fold(0, u64::wrapping_add)
}

fn with_sonic_lazy(lines: &[Vec<u8>]) -> u64 {
    let mut rows = Vec::with_capacity(lines.len() * 12);
    let mut tree = sonic_rs::PointerTree::new();
    tree.add_path(["tailnum"]);
    tree.add_path(["dep_delay"]);
    let one = |line: &Vec<u8>| {
        let text = std::str::from_utf8(line).ok()?;
        let values = sonic_rs::get_many(text, &tree).ok()?;
        let (tailnum, delay) = (values[0].as_ref()?, values[1].as_ref()?);
        let dep_delay = delay.as_i64().map(|delay| delay as i32);
        Some(row(&Delay { tailnum: tailnum.as_str()?, dep_delay }, &mut rows))
    };
    lines.iter().filter_map(one).fold(0, u64::wrapping_add)
}

/// Copies each line first, because the parser changes its input.
fn with_simd_json(lines: &[Vec<u8>]) -> u64 {
    let (mut rows, mut line_copy) = (Vec::with_capacity(lines.len() * 12), Vec::new());
    let mut buffers = simd_json::Buffers::default();
    let mut total = 0u64;
    for line in lines {
        line_copy.clear();
        line_copy.extend_from_slice(line);
        let delay = simd_json::serde::from_slice_with_buffers::<Borrowed<'_>>(&mut line_copy, &mut buffers);
        total = total.wrapping_add(delay.map_or(0, |delay| row(&delay.into(), &mut rows)));
    }
    total
}

pub fn compare_all(table: &[u8], metrics: &mut BTreeMap<String, f64>) -> Result<(), Box<dyn Error>> {
    let lines = lines(table)?;
    println!("JSON lines of {:.0} bytes", lines.iter().map(Vec::len).sum::<usize>() as f64 / lines.len() as f64);
    compare(
        "two of nineteen JSON fields to a row",
        lines.len(),
        &[
            Candidate::new("serde_json", || with_serde_json(&lines)),
            Candidate::new("sonic-rs, struct", || with_sonic_struct(&lines)),
            Candidate::new("sonic-rs, get_many", || with_sonic_lazy(&lines)),
            Candidate::new("simd-json", || with_simd_json(&lines)),
        ],
        metrics,
    );
    hostile();
    Ok(())
}

/// Prints how each parser treats input that an attacker may send: deep nesting in a field that is skipped, and names that occur twice.
fn hostile() {
    let deep =
        |depth: usize| format!(r#"{{"x":{}{},"tailnum":"N1","dep_delay":1}}"#, "[".repeat(depth), "]".repeat(depth));
    let twice = r#"{"tailnum":"N1","tailnum":"N2","dep_delay":1}"#;
    let invalid = r#"{"x":[1,,2],"tailnum":"N1","dep_delay":1}"#;
    let cases = [
        ("skipped value 100 deep", deep(100)),
        ("10,000 deep", deep(10_000)),
        ("name twice", twice.to_owned()),
        ("invalid value in a skipped field", invalid.to_owned()),
    ];
    println!("hostile lines (tailnum, or the error):");
    for (name, line) in cases {
        let shown = |result: Result<String, String>| {
            result.map_or_else(
                |error| format!("error: {}", error.chars().take(40).collect::<String>().replace('\n', " ")),
                |name| name,
            )
        };
        let serde = shown(
            serde_json::from_str::<Borrowed<'_>>(&line)
                .map(|flight| flight.tailnum.to_owned())
                .map_err(|error| error.to_string()),
        );
        let sonic = shown(
            sonic_rs::from_str::<Borrowed<'_>>(&line)
                .map(|flight| flight.tailnum.to_owned())
                .map_err(|error| error.to_string()),
        );
        let lazy = shown(
            sonic_rs::get(&line, ["tailnum"])
                .map(|value| value.as_str().unwrap_or_default().to_owned())
                .map_err(|error| error.to_string()),
        );
        let mut copy = line.clone().into_bytes();
        let simd = shown(
            simd_json::serde::from_slice::<Borrowed<'_>>(&mut copy)
                .map(|flight| flight.tailnum.to_owned())
                .map_err(|error| error.to_string()),
        );
        println!(
            "  {name}\n    serde_json: {serde}\n    sonic-rs, struct: {sonic}\n    sonic-rs, get: {lazy}\n    simd-json: {simd}"
        );
    }
}
