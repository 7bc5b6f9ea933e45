//! Computes the expected output of a round's operators from all records at once, with plain loops.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::input::{Input, Order, Record};
use crate::kinds::{Kept, plainly};

/// A window of a key: the key, start and end.
type Pane<'a> = (&'a str, i64, i64);

/// Assigns records to windows of `size`. A window starts at the offset plus a multiple of `slide`.
fn windows<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    size: i64,
    slide: i64,
    offset: i64,
) -> BTreeMap<Pane<'a>, Vec<&'a Record>> {
    let mut windows = BTreeMap::<Pane<'_>, Vec<&Record>>::new();
    for record in records {
        let mut start = record.time - (record.time - offset).rem_euclid(slide);
        while start > record.time - size {
            windows.entry((&record.key, start, start + size)).or_default().push(record);
            start -= slide;
        }
    }
    windows
}

/// Assigns records to sessions, in which neighbours are less than `gap` apart.
fn sessions(records: &[Record], gap: i64) -> BTreeMap<Pane<'_>, Vec<&Record>> {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| (&record.key, record.time));
    let together = |one: &&Record, next: &&Record| one.key == next.key && next.time - one.time < gap;
    let sessions = sorted.chunk_by(together).map(|session| {
        let (first, last) = (session[0], session[session.len() - 1]);
        ((&first.key[..], first.time, last.time + gap), session.to_vec())
    });
    sessions.collect()
}

fn sums(windows: BTreeMap<Pane<'_>, Vec<&Record>>) -> Vec<String> {
    let line = |((key, start, end), records): (Pane<'_>, Vec<&Record>)| {
        format!("{key},{start},{end},{}", records.iter().map(|record| record.value).sum::<i64>())
    };
    windows.into_iter().map(line).collect()
}

fn elements(records: &[&Record]) -> String {
    records.iter().map(|record| format!("{}@{}", record.value, record.time)).collect::<Vec<_>>().join(" ")
}

pub(super) fn copied(input: &Input) -> Vec<String> {
    input.first.iter().map(Record::line).collect()
}

pub(super) fn tumbling_sums_of_a_union(input: &Input) -> Vec<String> {
    sums(windows(input.first.iter().chain(&input.second), 3000, 3000, 1000))
}

pub(super) fn sliding_sums(input: &Input) -> Vec<String> {
    sums(windows(&input.first, 5000, 1000, 0))
}

pub(super) fn session_sums(input: &Input) -> Vec<String> {
    sums(sessions(&input.first, 1001))
}

pub(super) fn session_elements(input: &Input) -> Vec<String> {
    let line =
        |((key, start, end), records): (Pane<'_>, Vec<&Record>)| format!("{key},{start},{end},{}", elements(&records));
    sessions(&input.second, 1501).into_iter().map(line).collect()
}

/// Returns a time in milliseconds as the host writes it in JSON.
fn time(milliseconds: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(milliseconds).expect("a small number");
    if milliseconds % 1000 == 0 { time.to_string() } else { format!("{time:.3}") }
}

pub(super) fn native_counts(input: &Input) -> Vec<String> {
    let line = |((key, start, end), records): (Pane<'_>, Vec<&Record>)| {
        json!({ "column0": key, "start": time(start), "end": time(end), "count": records.len() }).to_string()
    };
    windows(&input.first, 4000, 500, 0).into_iter().map(line).collect()
}

pub(super) fn native_maxima(input: &Input) -> Vec<String> {
    let line = |((key, start, end), records): (Pane<'_>, Vec<&Record>)| {
        let largest = records.iter().map(|record| record.value).max();
        json!({ "column0": key, "start": time(start), "end": time(end), "max": largest }).to_string()
    };
    windows(&input.second, 2000, 2000, 0).into_iter().map(line).collect()
}

pub(super) fn largest_records(input: &Input) -> Vec<String> {
    let largest = |records: Vec<&Record>| records.into_iter().max_by_key(|record| record.value).map(Record::line);
    windows(&input.first, 2500, 2500, 0).into_values().filter_map(largest).collect()
}

/// Adds how often the window has fired. Windows with more than three elements also appear in the side output.
pub(super) fn window_elements(input: &Input) -> Vec<String> {
    windows(&input.first, 8000, 8000, 0).into_iter().map(element_line).collect()
}

pub(super) fn large_window_elements(input: &Input) -> Vec<String> {
    let large = |(_, records): &(Pane<'_>, Vec<&Record>)| records.len() > 3;
    windows(&input.first, 8000, 8000, 0).into_iter().filter(large).map(element_line).collect()
}

fn element_line(((key, start, end), records): (Pane<'_>, Vec<&Record>)) -> String {
    format!("{key},{start},{end},1,{}", elements(&records))
}

/// Global windows that fire after every five records of a key and are then emptied.
pub(super) fn counted_elements(input: &Input) -> Vec<String> {
    const COUNT: usize = 5;
    let mut of_keys = BTreeMap::<&str, Vec<String>>::new();
    for alarm in &input.alarms {
        of_keys.entry(&alarm.key).or_default().push(format!("{}@{}", alarm.value(), alarm.time));
    }
    let mut lines = Vec::new();
    for (key, elements) in of_keys {
        for (firing, elements) in elements.chunks_exact(COUNT).enumerate() {
            lines.push(format!("{key},{},{},{},{}", i64::MIN, i64::MAX, firing + 1, elements.join(" ")));
        }
    }
    lines
}

/// Windows of both inputs: key, start, end, and the records of each input.
fn grouped_windows(input: &Input, size: i64) -> BTreeMap<Pane<'_>, [Vec<&Record>; 2]> {
    let mut grouped = BTreeMap::<Pane<'_>, [Vec<&Record>; 2]>::new();
    for (side, records) in [&input.first, &input.second].into_iter().enumerate() {
        for (pane, records) in windows(records, size, size, 0) {
            grouped.entry(pane).or_default()[side] = records;
        }
    }
    grouped
}

pub(super) fn co_groups(input: &Input) -> Vec<String> {
    let line = |((key, start, end), [first, second]): (Pane<'_>, [Vec<&Record>; 2])| {
        format!("{key},{start},{end},{},{}", elements(&first), elements(&second))
    };
    grouped_windows(input, 1500).into_iter().map(line).collect()
}

pub(super) fn window_join(input: &Input) -> Vec<String> {
    let mut lines = Vec::new();
    for ((key, _, end), [first, second]) in grouped_windows(input, 1000) {
        for one in &first {
            lines.extend(second.iter().map(|other| format!("{key},{},{},{}", one.value, other.value, end - 1)));
        }
    }
    lines
}

/// Joins second records from 500 ms before the first one to 300 ms after it.
pub(super) fn interval_join(input: &Input) -> Vec<String> {
    let mut of_keys = BTreeMap::<&str, Vec<&Record>>::new();
    for record in &input.second {
        of_keys.entry(&record.key).or_default().push(record);
    }
    let mut lines = Vec::new();
    for first in &input.first {
        let near = of_keys.get(&first.key[..]).into_iter().flatten();
        let near = near.filter(|second| (-500..=300).contains(&(second.time - first.time)));
        lines.extend(
            near.map(|second| {
                format!("{},{},{},{}", first.key, first.value, second.value, first.time.max(second.time))
            }),
        );
    }
    lines
}

/// Joins the records of both inputs in each second.
pub(super) fn counts_of_both(input: &Input) -> Vec<String> {
    let line = |((key, _, end), [first, second]): (Pane<'_>, [Vec<&Record>; 2])| {
        format!("{key},{end},{},{}", first.len(), second.len())
    };
    grouped_windows(input, 1000).into_iter().map(line).collect()
}

pub(super) fn every_kind(input: &Input) -> Vec<String> {
    let mut kept = BTreeMap::<&str, Kept>::new();
    input
        .serial
        .iter()
        .map(|line| plainly(kept.entry(line.split(',').next().unwrap_or_default()).or_default(), line))
        .collect()
}

/// Returns the good records of `doubtful`, each with the sum of its key so far.
pub(super) fn sums_of_good_records(input: &Input) -> Vec<String> {
    let mut sums = BTreeMap::<&str, u64>::new();
    let good = input.doubtful.iter().filter(|line| !is_bad(line));
    good.map(|line| {
        let (key, number) = line.split_once(',').unwrap_or_default();
        let sum = sums.entry(key).or_default();
        *sum += number.parse::<u64>().unwrap_or_default();
        format!("{line},{sum}")
    })
    .collect()
}

/// Returns the bad records of `doubtful`.
pub(super) fn bad_records(input: &Input) -> Vec<String> {
    input.doubtful.iter().filter(|line| is_bad(line)).cloned().collect()
}

fn is_bad(line: &str) -> bool {
    line.contains(",bad")
}

/// Returns the timers that fire. All orders are applied first; then timers fire in time order.
pub(super) fn timers(input: &Input) -> Vec<String> {
    #[derive(Default)]
    struct Timers {
        registered: BTreeSet<i64>,
        deletes: BTreeMap<i64, i64>,
        repeats: Option<(i64, i64)>,
    }
    let mut of_keys = BTreeMap::<&str, Timers>::new();
    for alarm in &input.alarms {
        let timers = of_keys.entry(&alarm.key).or_default();
        match alarm.order {
            Order::Register(time) => _ = timers.registered.insert(time),
            Order::Delete(time) => _ = timers.registered.remove(&time),
            Order::DeleteWhenFired(time, other) => _ = timers.deletes.insert(time, other),
            Order::Repeat { distance, end } => timers.repeats = Some((distance, end)),
        }
    }
    let mut lines = Vec::new();
    for (key, mut timers) in of_keys {
        while let Some(time) = timers.registered.pop_first() {
            lines.push(format!("{key},event,{time}"));
            if let Some(other) = timers.deletes.get(&time) {
                timers.registered.remove(other);
            }
            if let Some((distance, end)) = timers.repeats
                && time + distance <= end
            {
                timers.registered.insert(time + distance);
            }
        }
    }
    lines
}
