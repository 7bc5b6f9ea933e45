//! The generated input of a round: files for the sources, and the same records for the model.
//!
//! The folders `first` and `second` contain several files in event-time order. However the files are assigned to
//! subtasks, each subtask reads forward in time, and no record is more than [`OUT_OF_ORDERNESS_MS`] behind another. So
//! no record is ever late. The other sources are one file each, which keeps the order of records within a key.

use std::fs;
use std::path::Path;

use anyhow::Result;
use fastrand::Rng;

/// Largest distance of a record behind others.
pub(super) const OUT_OF_ORDERNESS_MS: i64 = 3000;
/// Event time covered by the input.
const SPAN_MS: i64 = 240_000;
/// Number of files in each folder.
const FILES: usize = 6;
const KEYS: u64 = 24;

const FIRST: usize = 9_000;
const SECOND: usize = 4_500;
const SERIAL: usize = 6_000;
const ALARMS: usize = 2_400;
const RULES: usize = 40;
const DOUBTFUL: usize = 1_500;

/// A record `KEY,VALUE,TIME`.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: i64,
    pub(super) time: i64,
}

/// An order to the function `timers`: the line `KEY,ORDER,TIME`.
#[derive(Clone, Debug)]
pub(super) struct Alarm {
    pub(super) key: String,
    pub(super) order: Order,
    pub(super) time: i64,
}

/// The content of an order. Times are those of timers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Registers a timer.
    Register(i64),
    /// Deletes a timer.
    Delete(i64),
    /// Lets the first timer delete the second one when it fires.
    DeleteWhenFired(i64, i64),
    /// Lets each timer register the next one at a distance, up to an end.
    Repeat { distance: i64, end: i64 },
}

/// All records of a round. Each list is in reading order.
pub(super) struct Input {
    pub(super) first: Vec<Record>,
    pub(super) second: Vec<Record>,
    /// Lines `KEY,NUMBER,WORD` for the functions `kinds` and `rules`.
    pub(super) serial: Vec<String>,
    pub(super) alarms: Vec<Alarm>,
    /// Lines `KEY,NUMBER` for the function `sum`, some of them bad.
    pub(super) doubtful: Vec<String>,
    /// Rule `n` is the line `rN,LIMIT` with the limit 2^n.
    pub(super) rules: usize,
}

impl Input {
    pub(super) fn random(rng: &mut Rng) -> Input {
        Input {
            first: records(rng, FIRST),
            second: records(rng, SECOND),
            serial: serial(rng),
            alarms: alarms(rng),
            doubtful: doubtful(rng),
            rules: RULES,
        }
    }

    /// Returns the number of records of a source.
    pub(super) fn len(&self, source: &str) -> u64 {
        let records = match source {
            "first" => self.first.len(),
            "second" => self.second.len(),
            "serial" => self.serial.len(),
            "alarms" => self.alarms.len(),
            "doubtful" => self.doubtful.len(),
            _ => self.rules,
        };
        records as u64
    }

    /// Writes the files below `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        for (name, records) in [("first", &self.first), ("second", &self.second)] {
            fs::create_dir_all(folder.join(name))?;
            for (number, part) in records.chunks(records.len().div_ceil(FILES)).enumerate() {
                write_lines(&folder.join(name).join(format!("{number:02}.csv")), part.iter().map(Record::line))?;
            }
        }
        write_lines(&folder.join("serial.csv"), self.serial.iter().cloned())?;
        write_lines(&folder.join("doubtful.csv"), self.doubtful.iter().cloned())?;
        write_lines(&folder.join("alarms.csv"), self.alarms.iter().map(Alarm::line))?;
        write_lines(&folder.join("rules.csv"), (0..self.rules).map(|rule| format!("r{rule},{}", 1_u64 << rule)))
    }
}

impl Record {
    pub(super) fn line(&self) -> String {
        format!("{},{},{}", self.key, self.value, self.time)
    }
}

impl Alarm {
    fn line(&self) -> String {
        format!("{},{},{}", self.key, self.value(), self.time)
    }

    /// Formats the order for the function.
    pub(super) fn value(&self) -> String {
        match self.order {
            Order::Register(time) => format!("event {time}"),
            Order::Delete(time) => format!("no-event {time}"),
            Order::DeleteWhenFired(time, other) => format!("deletes {time} {other}"),
            Order::Repeat { distance, end } => format!("repeats {distance} {end}"),
        }
    }
}

fn write_lines(path: &Path, lines: impl Iterator<Item = String>) -> Result<()> {
    let text = lines.fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    });
    Ok(fs::write(path, text)?)
}

/// Returns records with even times and distinct values, in arrival order.
fn records(rng: &mut Rng, count: usize) -> Vec<Record> {
    let mut all: Vec<(i64, Record)> = (0..count as i64)
        .map(|number| {
            let time = 2 * (number * SPAN_MS / 2 / count as i64 + rng.i64(0..10));
            // 7919 is a prime, so the values are a permutation.
            let value = number * 7919 % count as i64;
            (time + rng.i64(0..OUT_OF_ORDERNESS_MS), Record { key: format!("k{}", rng.u64(0..KEYS)), value, time })
        })
        .collect();
    all.sort_by_key(|(arrival, _)| *arrival);
    all.into_iter().map(|(_, record)| record).collect()
}

fn serial(rng: &mut Rng) -> Vec<String> {
    const WORDS: [&str; 9] = ["tea", "jam", "bread", "", "honey", "ginger", "egg", "oat", "rye bread"];
    let line = |number| format!("k{},{number},{}", rng.u64(0..KEYS), WORDS[rng.usize(0..WORDS.len())]);
    (0..SERIAL).map(line).collect()
}

/// Returns records of which about one in ten is bad.
fn doubtful(rng: &mut Rng) -> Vec<String> {
    let line = |number| format!("k{},{}{number}", rng.u64(0..KEYS), if rng.u8(0..10) == 0 { "bad" } else { "" });
    (0..DOUBTFUL).map(line).collect()
}

/// Returns orders sorted by time. Timers in an order are further ahead than the watermark can be, so none of them has
/// fired.
fn alarms(rng: &mut Rng) -> Vec<Alarm> {
    const ALARM_KEYS: usize = 8;
    let mut registered: Vec<Vec<i64>> = vec![Vec::new(); ALARM_KEYS];
    let mut alarms = Vec::new();
    for number in 0..ALARMS {
        let key = number % ALARM_KEYS;
        let time = number as i64 * SPAN_MS / ALARMS as i64;
        let ahead: Vec<i64> =
            registered[key].iter().copied().filter(|at| *at > time + 2 * OUT_OF_ORDERNESS_MS).collect();
        let order = match (rng.u8(0..10), &ahead[..]) {
            _ if number < ALARM_KEYS => Order::Repeat { distance: 700, end: 20_000 },
            (0 | 1, [.., last]) => Order::Delete(*last),
            (2 | 3, [one, .., other]) if one < other => Order::DeleteWhenFired(*one, *other),
            _ => Order::Register(time + rng.i64(4000..12_000)),
        };
        if let Order::Register(at) = order {
            registered[key].push(at);
        }
        alarms.push(Alarm { key: format!("k{key}"), order, time });
    }
    alarms
}
