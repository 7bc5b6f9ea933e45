//! Functions that take memory: their own, or the host's through state, reads, the log and metrics.

use std::hint::black_box;

use crate::calls::Returned;
use crate::cofferdam::function::types::{Batch, Output};
use crate::cofferdam::function::{log, metrics, state};
use crate::{column, output, values_of};

/// Allocates and uses memory until none is left.
pub fn memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Writes the same 32 MiB again and again, with one instruction at a time.
pub fn fill_memory() -> ! {
    let mut bytes = vec![0_u8; 32 << 20];
    loop {
        black_box(&mut bytes).fill(black_box(7));
    }
}

/// Echoes the batch. Floods the host only before the batch that begins with line 0, so that the attack has an end.
pub fn echo_after(batch: &Batch, flood: impl Fn()) -> Output {
    let values = values_of(batch);
    if values.first().is_some_and(|value| value.ends_with(b",0")) {
        flood();
    }
    output(values)
}

/// 256 lines of 8 MiB.
pub fn log_large_lines(batch: &Batch) -> Output {
    let line = "x".repeat(8 << 20);
    echo_after(batch, || (0..256).for_each(|_| log::write(log::Level::Info, &line, None)))
}

pub fn log_flood(batch: &Batch) -> Output {
    let line = "\u{1b}]0;title\u{7}\n2026-01-01T00:00:00Z ERROR forged\u{202e}";
    echo_after(batch, || (0..200_000).for_each(|record| log::write(log::Level::Error, line, Some(record))))
}

/// 1,000 lines with each batch.
pub fn log_steadily(batch: &Batch) -> Output {
    let line = "x".repeat(1 << 10);
    (0..1000).for_each(|record| log::write(log::Level::Error, &line, Some(record)));
    output(values_of(batch))
}

/// 100,000 lines with each batch. With nothing to wait for, that is more than a million lines per second.
pub fn log_million(batch: &Batch) -> Output {
    let line = "order 1234567 of customer 89 was late by 42 minutes, which is more than 30";
    (0..100_000).for_each(|record| log::write(log::Level::Error, line, Some(record)));
    output(values_of(batch))
}

/// Takes about as long as `log_million` and writes no line.
pub fn spin_million(batch: &Batch) -> Output {
    let mut sum = 0_u64;
    for step in 0..30_000_000 {
        sum = black_box(sum.rotate_left(5) ^ step);
    }
    black_box(sum);
    output(values_of(batch))
}

pub fn log_for_ever() -> Returned {
    let line = "x".repeat(64 << 10);
    loop {
        log::write(log::Level::Error, &line, Some(u32::MAX));
    }
}

/// 3,000 names of 8 KiB each, of every kind.
pub fn metrics_flood(batch: &Batch) -> Output {
    metrics_named(batch, 3_000, &"m".repeat(8 << 10))
}

/// 5,000 short names.
pub fn metrics_many(batch: &Batch) -> Output {
    metrics_named(batch, 5_000, "\u{1b}[2J")
}

fn metrics_named(batch: &Batch, count: usize, name: &str) -> Output {
    echo_after(batch, || {
        for number in 0..count {
            let name = format!("{number}{name}");
            metrics::add(&name, u64::MAX);
            metrics::set(&name, f64::NAN);
            metrics::observe(&name, f64::INFINITY);
        }
    })
}

/// Writes 8 MiB in one turn, under one key.
pub fn state_of_a_turn() -> Returned {
    state::value_set(0, 0, &vec![b'x'; 8 << 20]);
    Ok(Vec::new())
}

/// Writes 64 MiB in one turn, under many sub-keys.
pub fn map_of_a_turn() -> Returned {
    let value = vec![b'x'; 64 << 10];
    for number in 0_u32..1024 {
        state::map_put(2, 0, &number.to_be_bytes(), &value);
    }
    Ok(Vec::new())
}

/// Writes 64 KiB under each key.
pub fn value_of_each_key(batch: &Batch) -> Returned {
    let value = vec![b'x'; 64 << 10];
    for &key in &batch.key_of {
        state::value_set(0, key, &value);
    }
    Ok(Vec::new())
}

/// Adds an entry of 64 KiB to the map of the key of each record.
pub fn map_grows(batch: &Batch) -> Returned {
    let value = vec![b'x'; 64 << 10];
    for (record, &key) in values_of(batch).iter().zip(&batch.key_of) {
        state::map_put(2, key, record, &value);
    }
    Ok(Vec::new())
}

/// Appends 100 elements to the list of the key of each record.
pub fn list_grows(batch: &Batch) -> Returned {
    for &key in &batch.key_of {
        state::list_append(1, &[key; 100], &column(&vec![b"element".to_vec(); 100]));
    }
    Ok(Vec::new())
}

/// Appends 4 million empty elements in one call.
pub fn list_at_once() -> Returned {
    const COUNT: usize = 1_000_000;
    for _ in 0..4 {
        state::list_append(1, &vec![0; COUNT], &column(&vec![Vec::new(); COUNT]));
    }
    Ok(Vec::new())
}

/// Reads one value of 1 MiB 5,000 times in one call.
pub fn map_load_repeated() -> Returned {
    state::map_put(2, 0, b"k", &vec![b'x'; 1 << 20]);
    let read = state::map_load(2, &[0; 5000], &column(&vec![b"k".to_vec(); 5000]));
    black_box(read.present.len());
    Ok(Vec::new())
}

pub fn broadcast_load_repeated() -> Returned {
    let read = state::broadcast_load(0, &column(&vec![b"rule".to_vec(); 5000]));
    black_box(read.present.len());
    Ok(Vec::new())
}

/// Adds an entry of 64 KiB for each record.
pub fn broadcast_grows(batch: &Batch) -> Returned {
    let value = vec![b'x'; 64 << 10];
    for record in values_of(batch) {
        state::broadcast_put(0, &record, &value);
    }
    Ok(Vec::new())
}

/// Adds an entry of 64 KiB, then reads the whole map.
pub fn map_scan_all(batch: &Batch) -> Returned {
    map_grows(batch)?;
    black_box(state::map_scan(2, 0, None, u32::MAX).len());
    Ok(Vec::new())
}

/// Appends an element of 64 KiB, then reads the whole list.
pub fn list_read_all(batch: &Batch) -> Returned {
    for &key in &batch.key_of {
        state::list_add(1, key, &vec![b'x'; 64 << 10]);
        black_box(state::list_get(1, key).bytes.len());
    }
    Ok(Vec::new())
}

pub fn scan_for_ever() -> Returned {
    for number in 0_u32..100 {
        state::map_put(2, 0, &number.to_be_bytes(), &[b'x'; 100]);
    }
    loop {
        black_box(state::map_scan(2, 0, None, u32::MAX).len());
    }
}
