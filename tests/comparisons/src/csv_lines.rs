//! CSV: two of nineteen columns of a line, written as a row.

use std::collections::BTreeMap;
use std::error::Error;

use crate::{Candidate, Delay, compare, sum};

fn row(tailnum: &[u8], delay: &[u8], rows: &mut Vec<u8>) -> u64 {
    let Ok(tailnum) = std::str::from_utf8(tailnum) else { return 0 };
    let dep_delay = std::str::from_utf8(delay).ok().and_then(|text| text.parse().ok());
    let taken = std::mem::take(rows);
    *rows = postcard::to_extend(&Delay { tailnum, dep_delay }, taken).expect("memory can be written");
    sum(tailnum, dep_delay)
}

/// Walks over the commas up to the last needed column. Lines have no quotes.
fn with_memchr(table: &[u8]) -> u64 {
    let (mut rows, mut rest, mut total) = (Vec::with_capacity(table.len() / 8), table, 0u64);
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let (mut start, mut delay) = (0, &line[..0]);
        for (column, comma) in memchr::memchr_iter(b',', line).enumerate().take(12) {
            if column == 5 {
                delay = &line[start..comma];
            } else if column == 11 {
                total = total.wrapping_add(row(&line[start..comma], delay, &mut rows));
            }
            start = comma + 1;
        }
    }
    total
}

fn with_csv(table: &[u8]) -> u64 {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(table);
    let (mut rows, mut record, mut total) = (Vec::with_capacity(table.len() / 8), csv::ByteRecord::new(), 0u64);
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        total = total.wrapping_add(row(&record[11], &record[5], &mut rows));
    }
    total
}

pub fn compare_all(table: &[u8], metrics: &mut BTreeMap<String, f64>) -> Result<(), Box<dyn Error>> {
    let start = table.iter().position(|&byte| byte == b'\n').ok_or("the table has no lines")? + 1;
    let table = &table[start..];
    let lines = table.iter().filter(|&&byte| byte == b'\n').count();
    println!("CSV lines of {:.0} bytes", table.len() as f64 / lines as f64);
    compare(
        "two of nineteen CSV columns to a row",
        lines,
        &[Candidate::new("memchr", || with_memchr(table)), Candidate::new("csv crate", || with_csv(table))],
        metrics,
    );
    Ok(())
}
