//! A guest for dead letters. Records are `KEY,NUMBER`; the number of a bad one begins with `bad`, and of one that traps with `trap`.
//!
//! The repaired version reads both. It is this component with another digit in [`LEVEL`], which a test changes in the bytes.

#![allow(clippy::disallowed_methods)]

use std::hint::black_box;

use cofferdam_sdk::prelude::*;

/// The version: 1 fails on bad records, 2 does not.
static LEVEL: [u8; 14] = *b"repair-level:1";

fn is_repaired() -> bool {
    // The black box keeps the compiler from reading the byte itself.
    black_box(&LEVEL)[13] == b'2'
}

/// Returns the number of a record. Error: the record is bad.
fn number(record: &str) -> Result<u64> {
    let text = record.split(',').nth(1).unwrap_or_default();
    let digits = text.trim_start_matches("bad").trim_start_matches("trap");
    if digits != text && !is_repaired() {
        if text.starts_with("trap") {
            trap();
        }
        return Err("a bad record".into());
    }
    Ok(digits.parse()?)
}

#[inline(never)]
fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}

/// Sums the numbers of a key, and emits each record with the sum so far.
#[derive(Function)]
struct Sum {
    sum: ValueState<u64>,
}

#[function(name = "sum")]
impl KeyedProcessFunction for Sum {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let number = number(record)?;
        let sum = self.sum.update(|sum| {
            *sum += number;
            *sum
        });
        out.emit(format!("{record},{sum}"));
        Ok(())
    }
}

/// Emits the records that are not bad.
#[derive(Default)]
struct Check;

#[function(name = "check")]
impl FlatMapFunction for Check {
    type In = Text;
    type Out = Text;

    fn flat_map(&mut self, record: &str, _: &mut Context, out: &mut Collector<Text>) -> Result {
        number(record)?;
        out.emit(record.to_owned());
        Ok(())
    }
}

cofferdam_sdk::export!(Sum, Check);
