//! Calls that do not return, that trap, or that the host must refuse.

use std::hint::black_box;

use crate::cofferdam::function::types::{Batch, Column, Failure, Output, TimeDomain};
use crate::cofferdam::function::{context, log, state, timers};
use crate::{column, failure, output, unreachable_instruction, values_of};

pub type Returned = Result<Vec<Output>, Failure>;

pub fn endless() -> ! {
    loop {
        black_box(0);
    }
}

/// Computes for a while on each record, and echoes it.
pub fn work(batch: &Batch) -> Output {
    let values = values_of(batch);
    let mut sum = 0_u64;
    for step in 0..values.len() as u64 * 20_000 {
        sum = black_box(sum.rotate_left(5) ^ step);
    }
    black_box(sum);
    output(values)
}

/// Panics, which the standard library of this target ends with `unreachable`.
pub fn divide_by_zero() -> Returned {
    black_box(black_box(1_i32) / black_box(0));
    Ok(Vec::new())
}

pub fn read_out_of_bounds() -> Returned {
    // SAFETY: none. The sandbox must stop it.
    let byte = unsafe { std::ptr::read_volatile(black_box(0xffff_fff0_u32) as usize as *const u8) };
    Err(failure(&format!("read {byte}")))
}

pub fn call_null() -> Returned {
    // SAFETY: none. The sandbox must stop it.
    let function: fn() = unsafe { std::mem::transmute(black_box(0x00ff_ffff_usize)) };
    function();
    Err(failure("the call returned"))
}

/// Uses almost no linear memory, so that the engine's stack overflows and not the guest's.
pub fn recursion() -> Failure {
    fn recurse(depth: u64) -> u64 {
        if black_box(depth) == 0 { 0 } else { recurse(depth - 1).rotate_left(3) ^ depth }
    }
    black_box(recurse(black_box(u64::MAX)));
    failure("the recursion ended")
}

pub fn panic_with(message: &str, times: usize) -> Returned {
    let backtrace = vec!["a frame".repeat(100); 100];
    for _ in 0..times {
        log::panic(message, None, &backtrace[..backtrace.len() / times.min(backtrace.len())]);
    }
    unreachable_instruction()
}

pub fn use_state_without_having_any() -> Returned {
    state::value_get(0, 0);
    Ok(Vec::new())
}

pub fn read_state(index: u32, key: u32) -> Returned {
    state::value_get(index, key);
    Ok(Vec::new())
}

pub fn store_malformed_column() -> Returned {
    state::value_store(0, &[0], &Column { bytes: vec![1], offsets: vec![1, 0, 7] });
    Ok(Vec::new())
}

pub fn store_fewer_values_than_keys() -> Returned {
    state::value_store(0, &[0, 0, 0], &column(&[b"1".to_vec()]));
    Ok(Vec::new())
}

/// Puts a value of this size into the broadcast state.
pub fn write_broadcast(bytes: usize) -> Returned {
    state::broadcast_put(0, b"rule", &vec![b'x'; bytes]);
    Ok(Vec::new())
}

/// Calls the host until the deadline. The time in the host must count.
pub fn call_for_ever() -> Returned {
    loop {
        black_box(context::config());
        black_box(context::current());
    }
}

/// Adds timers of the first key.
pub fn add_timers(domain: TimeDomain, count: usize) -> Returned {
    const PIECE: usize = 100_000;
    for start in (0..count).step_by(PIECE) {
        let end = count.min(start + PIECE);
        let times: Vec<i64> = (start as i64..end as i64).map(|number| 4_000_000_000_000 + number).collect();
        timers::add(domain, &vec![0; times.len()], &times);
    }
    Ok(Vec::new())
}

pub fn one_timer(batch: &Batch) -> Returned {
    let keys: Vec<u32> = batch.key_of.clone();
    timers::add(TimeDomain::Event, &keys, &vec![1; keys.len()]);
    Ok(Vec::new())
}

/// Adds a timer that is due, of the clock that the setting `domain` names.
pub fn renewed_timer(batch: &Batch) -> Returned {
    let processing = context::config().iter().any(|(name, value)| name == "domain" && value == "processing");
    let domain = if processing { TimeDomain::Processing } else { TimeDomain::Event };
    timers::add(domain, &batch.key_of, &vec![1; batch.key_of.len()]);
    Ok(Vec::new())
}

/// Adds timers of the first key, with other times for each record.
pub fn more_timers(batch: &Batch, count: i64) -> Returned {
    for value in values_of(batch) {
        let line = String::from_utf8_lossy(&value).into_owned();
        let number: i64 = line.rsplit(',').next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let times: Vec<i64> = (0..count).map(|step| 4_000_000_000_000 + number * 1_000_000 + step).collect();
        timers::add(TimeDomain::Event, &vec![0; times.len()], &times);
    }
    Ok(Vec::new())
}

/// Adds timers at both ends of time, and of the clock that never reaches them.
pub fn extreme_timers(batch: &Batch) -> Returned {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX];
    for domain in [TimeDomain::Event, TimeDomain::Processing] {
        timers::add(domain, &[0; 6], &times);
        timers::remove(domain, &[0; 6], &times);
        timers::add(domain, &[0; 6], &times);
    }
    Ok(vec![output(values_of(batch))])
}
