//! Rows as postcard writes a struct of their fields, and rows with a fixed offset for each field.

use std::collections::BTreeMap;
use std::error::Error;

use crate::{Candidate, Delay, Flight, compare, sum};

/// Encoded rows, one after the other, as in a batch.
struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    fn of<T>(items: &[T], write: impl Fn(&T, &mut Vec<u8>)) -> Rows {
        let mut rows = Rows { bytes: Vec::new(), ends: Vec::with_capacity(items.len()) };
        rows.fill(items, write);
        rows
    }

    fn fill<T>(&mut self, items: &[T], write: impl Fn(&T, &mut Vec<u8>)) {
        self.bytes.clear();
        self.ends.clear();
        for item in items {
            write(item, &mut self.bytes);
            self.ends.push(self.bytes.len());
        }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// A layout with fixed offsets: one byte of presence bits, then one slot per field, then texts. The slot of an integer is
/// the integer; that of a text is its position and length, as two `u16`.
mod fixed {
    use crate::{Delay, Flight};

    fn text(row: &mut Vec<u8>, start: usize, slot: usize, text: &str) {
        let position = (row.len() - start) as u16;
        row.extend_from_slice(text.as_bytes());
        row[slot..slot + 2].copy_from_slice(&position.to_le_bytes());
        row[slot + 2..slot + 4].copy_from_slice(&(text.len() as u16).to_le_bytes());
    }

    fn number(row: &mut [u8], slot: usize, number: i32) {
        row[slot..slot + 4].copy_from_slice(&number.to_le_bytes());
    }

    pub fn read_text(row: &[u8], slot: usize) -> Option<&str> {
        let slot = row.get(slot..slot + 4)?;
        let start = usize::from(u16::from_le_bytes([slot[0], slot[1]]));
        let length = usize::from(u16::from_le_bytes([slot[2], slot[3]]));
        std::str::from_utf8(row.get(start..start + length)?).ok()
    }

    pub fn read_number(row: &[u8], slot: usize) -> Option<i32> {
        Some(i32::from_le_bytes(row.get(slot..slot + 4)?.try_into().ok()?))
    }

    fn read_optional(row: &[u8], bit: u8, slot: usize) -> Option<Option<i32>> {
        Some(if row.first()? & bit == 0 { None } else { Some(read_number(row, slot)?) })
    }

    pub fn write_delay(delay: &Delay<'_>, row: &mut Vec<u8>) {
        let start = row.len();
        row.extend_from_slice(&[0; 9]);
        row[start] = u8::from(delay.dep_delay.is_some());
        number(row, start + 5, delay.dep_delay.unwrap_or(0));
        text(row, start, start + 1, delay.tailnum);
    }

    pub fn read_delay(row: &[u8]) -> Option<Delay<'_>> {
        Some(Delay { tailnum: read_text(row, 1)?, dep_delay: read_optional(row, 1, 5)? })
    }

    pub fn write_flight(flight: &Flight<'_>, row: &mut Vec<u8>) {
        let start = row.len();
        row.extend_from_slice(&[0; 37]);
        row[start] = u8::from(flight.dep_delay.is_some()) | u8::from(flight.arr_delay.is_some()) << 1;
        number(row, start + 1, flight.dep_delay.unwrap_or(0));
        number(row, start + 5, flight.arr_delay.unwrap_or(0));
        number(row, start + 13, flight.flight);
        row[start + 29..start + 37].copy_from_slice(&flight.time.to_le_bytes());
        text(row, start, start + 9, flight.carrier);
        text(row, start, start + 17, flight.tailnum);
        text(row, start, start + 21, flight.origin);
        text(row, start, start + 25, flight.dest);
    }

    pub fn read_flight(row: &[u8]) -> Option<Flight<'_>> {
        Some(Flight {
            dep_delay: read_optional(row, 1, 1)?,
            arr_delay: read_optional(row, 2, 5)?,
            carrier: read_text(row, 9)?,
            flight: read_number(row, 13)?,
            tailnum: read_text(row, 17)?,
            origin: read_text(row, 21)?,
            dest: read_text(row, 25)?,
            time: i64::from_le_bytes(row.get(29..37)?.try_into().ok()?),
        })
    }
}

/// Skips to a field of a postcard row. Returns the rest of the row, which begins with the field.
fn skip_to_tailnum(row: &[u8]) -> Option<&[u8]> {
    let (_, row) = skip_optional(row)?;
    let (_, row) = skip_optional(row)?;
    let (_, row) = read_text(row)?;
    skip_number(row)
}

fn skip_number(row: &[u8]) -> Option<&[u8]> {
    let length = row.iter().position(|byte| byte & 0x80 == 0)?;
    row.get(length + 1..)
}

/// Returns the bytes of an optional number, and the rest.
fn skip_optional(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = if *row.first()? == 0 { &row[1..] } else { skip_number(&row[1..])? };
    Some((&row[..row.len() - rest.len()], rest))
}

fn read_text(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = row.split_first()?;
    if length & 0x80 != 0 {
        return None; // No text of the table is longer.
    }
    Some((row.get(..usize::from(length) + 1)?, rest.get(usize::from(length)..)?))
}

/// Copies tailnum, carrier and dep_delay, in this order.
fn project_postcard(row: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (delay, row) = skip_optional(row)?;
    let (_, row) = skip_optional(row)?;
    let (carrier, row) = read_text(row)?;
    let (tailnum, _) = read_text(skip_number(row)?)?;
    for part in [tailnum, carrier, delay] {
        to.extend_from_slice(part);
    }
    Some(())
}

/// Copies tailnum, carrier and dep_delay, in this order.
fn project_fixed(row: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let (carrier, tailnum) = (fixed::read_text(row, 9)?, fixed::read_text(row, 17)?);
    let start = to.len();
    to.push(row[0] & 1);
    for (position, text) in [(13, tailnum), (13 + tailnum.len(), carrier)] {
        to.extend_from_slice(&(position as u16).to_le_bytes());
        to.extend_from_slice(&(text.len() as u16).to_le_bytes());
    }
    to.extend_from_slice(row.get(1..5)?);
    to.extend_from_slice(tailnum.as_bytes());
    to.extend_from_slice(carrier.as_bytes());
    (to.len() > start).then_some(())
}

/// Writes what `postcard_into` writes, without serde.
fn write_by_hand(flight: &Flight<'_>, row: &mut Vec<u8>) {
    fn unsigned(mut number: u64, row: &mut Vec<u8>) {
        while number >= 0x80 {
            row.push(number as u8 | 0x80);
            number >>= 7;
        }
        row.push(number as u8);
    }
    fn signed(number: i64, row: &mut Vec<u8>) {
        unsigned(((number << 1) ^ (number >> 63)) as u64, row);
    }
    fn optional(number: Option<i32>, row: &mut Vec<u8>) {
        row.push(u8::from(number.is_some()));
        if let Some(number) = number {
            signed(number.into(), row);
        }
    }
    fn text(text: &str, row: &mut Vec<u8>) {
        unsigned(text.len() as u64, row);
        row.extend_from_slice(text.as_bytes());
    }
    optional(flight.dep_delay, row);
    optional(flight.arr_delay, row);
    text(flight.carrier, row);
    signed(flight.flight.into(), row);
    text(flight.tailnum, row);
    text(flight.origin, row);
    text(flight.dest, row);
    signed(flight.time, row);
}

fn postcard_into<T: serde::Serialize>(value: &T, row: &mut Vec<u8>) {
    let taken = std::mem::take(row);
    *row = postcard::to_extend(value, taken).expect("memory can be written");
}

fn flight_sum(flight: &Flight<'_>) -> u64 {
    sum(flight.tailnum, flight.dep_delay) ^ flight.time as u64 ^ sum(flight.dest, Some(flight.flight))
}

/// The same records in both encodings, with two fields and with eight.
struct Encoded<'a> {
    flights: &'a [Flight<'a>],
    two: Rows,
    two_fixed: Rows,
    eight: Rows,
    eight_fixed: Rows,
}

impl<'a> Encoded<'a> {
    fn new(flights: &'a [Flight<'a>]) -> Encoded<'a> {
        let delays: Vec<Delay<'_>> =
            flights.iter().map(|flight| Delay { tailnum: flight.tailnum, dep_delay: flight.dep_delay }).collect();
        let encoded = Encoded {
            flights,
            two: Rows::of(&delays, postcard_into),
            two_fixed: Rows::of(&delays, fixed::write_delay),
            eight: Rows::of(flights, postcard_into),
            eight_fixed: Rows::of(flights, fixed::write_flight),
        };
        assert!(Rows::of(flights, write_by_hand).bytes == encoded.eight.bytes, "both write postcard");
        encoded
    }

    fn print_sizes(&self) {
        for (name, rows, fixed) in [("two", &self.two, &self.two_fixed), ("eight", &self.eight, &self.eight_fixed)] {
            let [postcard, fixed] = [rows, fixed].map(|rows| rows.bytes.len() as f64 / rows.ends.len() as f64);
            println!("{name} fields, bytes per row: {postcard:.1} as postcard, {fixed:.1} with fixed offsets");
        }
    }

    fn encode(&self) -> Vec<Candidate<'_>> {
        let encode = |write: fn(&Flight<'_>, &mut Vec<u8>)| move || Rows::of(self.flights, write).ends.len() as u64;
        vec![
            Candidate::new("postcard", encode(|flight, row| postcard_into(flight, row))),
            Candidate::new("postcard, without serde", encode(write_by_hand)),
            Candidate::new("fixed offsets", encode(fixed::write_flight)),
        ]
    }

    fn decode_eight(&self) -> Vec<Candidate<'_>> {
        let decoded = |flight: Option<Flight<'_>>| flight.map_or(0, |flight| flight_sum(&flight));
        vec![
            Candidate::new("postcard", move || total(&self.eight, |row| decoded(postcard::from_bytes(row).ok()))),
            Candidate::new("fixed offsets", move || total(&self.eight_fixed, |row| decoded(fixed::read_flight(row)))),
        ]
    }

    fn decode_two(&self) -> Vec<Candidate<'_>> {
        let decoded = |delay: Option<Delay<'_>>| delay.map_or(0, |delay| sum(delay.tailnum, delay.dep_delay));
        vec![
            Candidate::new("postcard", move || total(&self.two, |row| decoded(postcard::from_bytes(row).ok()))),
            Candidate::new("fixed offsets", move || total(&self.two_fixed, |row| decoded(fixed::read_delay(row)))),
        ]
    }

    fn find(&self) -> Vec<Candidate<'_>> {
        let in_postcard = |row: &[u8]| Some(skip_to_tailnum(row).and_then(read_text)?.0.len() - 1);
        let in_fixed = |row: &[u8]| fixed::read_text(row, 17).map(str::len);
        vec![
            Candidate::new("postcard", move || total(&self.eight, |row| in_postcard(row).unwrap_or(0) as u64)),
            Candidate::new("fixed offsets", move || total(&self.eight_fixed, |row| in_fixed(row).unwrap_or(0) as u64)),
        ]
    }

    fn project(&self) -> Vec<Candidate<'_>> {
        let project = |rows: &Rows, copy: fn(&[u8], &mut Vec<u8>) -> Option<()>| {
            let mut out = Vec::with_capacity(rows.bytes.len());
            rows.iter().filter_map(|row| copy(row, &mut out)).count() as u64
        };
        vec![
            Candidate::new("postcard", move || project(&self.eight, project_postcard)),
            Candidate::new("fixed offsets", move || project(&self.eight_fixed, project_fixed)),
        ]
    }
}

/// Adds up a checksum of each row.
fn total(rows: &Rows, of: impl Fn(&[u8]) -> u64) -> u64 {
    rows.iter().map(of).fold(0, u64::wrapping_add)
}

pub fn compare_all(table: &[u8], metrics: &mut BTreeMap<String, f64>) -> Result<(), Box<dyn Error>> {
    let mut reader = csv::Reader::from_reader(table);
    let rows: Vec<csv::StringRecord> = reader.records().take(100_000).collect::<Result<_, _>>()?;
    fn flight(row: &csv::StringRecord) -> Flight<'_> {
        Flight {
            dep_delay: row[5].parse().ok(),
            arr_delay: row[8].parse().ok(),
            carrier: &row[9],
            flight: row[10].parse().unwrap_or(0),
            tailnum: &row[11],
            origin: &row[12],
            dest: &row[13],
            time: 1_357_000_000_000 + row[10].parse::<i64>().unwrap_or(0) * 60_000,
        }
    }
    let flights: Vec<Flight<'_>> = rows.iter().map(flight).collect();
    let encoded = Encoded::new(&flights);
    encoded.print_sizes();
    for (what, candidates) in [
        ("encode eight fields", encoded.encode()),
        ("decode eight fields", encoded.decode_eight()),
        ("decode two fields", encoded.decode_two()),
        ("find the fifth of eight fields", encoded.find()),
        ("project three of eight fields", encoded.project()),
    ] {
        compare(what, flights.len(), &candidates, metrics);
    }
    Ok(())
}
