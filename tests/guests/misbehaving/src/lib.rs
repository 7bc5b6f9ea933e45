//! A test guest whose functions break every rule of the sandbox. It uses the contract without the SDK, because the SDK does not allow this.
//!
//! Each function echoes its records, and misbehaves on records that begin with `!`. Its name says what it does.

#![allow(clippy::disallowed_methods)]

use std::hint::black_box;

wit_bindgen::generate!({ path: "../../../wit", world: "component" });

use cofferdam::function::types::{Batch, Column, Failure, Output, RecordValues, Timestamps};
use cofferdam::function::{context, log, state};
use exports::cofferdam::function::guest::{
    ComponentDescription, Form, FunctionDescription, FunctionKind, Guest, Port, PortLayout, StateDescription, StateKind,
};

struct Misbehaving;
export!(Misbehaving);

/// Changes the outputs of a batch that has a marked record. It may not return.
type Misdeed = fn(Vec<Output>) -> Result<Vec<Output>, Failure>;

/// The functions by name. `count-then-trap` calls [`count`]; `write-broadcast` writes broadcast state for every record.
const FUNCTIONS: &[(&str, Misdeed)] = &[
    ("echo", Ok),
    ("error", |_| Err(failure("this record is refused"))),
    ("panic", |_| {
        log::panic("the guest's last words", None, &["the guest's own frame".to_string()]);
        unreachable_instruction()
    }),
    ("trap", |_| unreachable_instruction()),
    ("loop", |_| {
        loop {
            black_box(0);
        }
    }),
    ("memory-bomb", |_| memory_bomb()),
    ("recursion", |outputs| {
        black_box(recurse(black_box(u64::MAX)));
        Ok(outputs)
    }),
    ("output-large", |_| Ok(vec![output(0, vec![vec![b'x'; 20 << 20]])])),
    ("output-gigabyte", |_| Ok(gigabyte())),
    ("output-many", |_| Ok(vec![nothings(4_500_000)])),
    ("offsets-decrease", |outputs| offsets(outputs, |column| column.offsets.reverse())),
    ("offsets-beyond", |outputs| offsets(outputs, |column| column.offsets.iter_mut().for_each(|end| *end = u32::MAX))),
    ("offsets-start", |outputs| offsets(outputs, |column| column.offsets[0] = 1)),
    ("offsets-short", |outputs| offsets(outputs, |column| column.bytes.push(b'x'))),
    ("timestamps-missing", |mut outputs| {
        outputs[0].timestamps = Timestamps::Every(Vec::new());
        Ok(outputs)
    }),
    ("keys-missing", |mut outputs| {
        outputs[0].keys = Some(column(&[]));
        Ok(outputs)
    }),
    ("no-such-output", |mut outputs| {
        outputs[0].index = 7;
        Ok(outputs)
    }),
    ("no-such-state", |outputs| {
        state::value_get(99, 0);
        Ok(outputs)
    }),
    ("no-such-key", |outputs| {
        state::value_get(0, u32::MAX);
        Ok(outputs)
    }),
    ("forge-lines", |outputs| {
        let line = "\u{1b}]0;title\u{7}\n2026-01-01T00:00:00Z ERROR forged\u{202e}";
        log::write(log::Level::Warn, line, None);
        Ok(outputs)
    }),
    ("write-broadcast", |outputs| {
        state::broadcast_put(0, b"rule", b"1");
        Ok(outputs)
    }),
    ("count-then-trap", |_| unreachable_instruction()),
];

/// The functions that read or write keyed state. Their state 0 is a count.
const KEYED: &[&str] = &["no-such-state", "no-such-key", "count-then-trap"];

impl Guest for Misbehaving {
    fn describe() -> ComponentDescription {
        let port = |name: &str| Port {
            name: name.to_string(),
            codec: "raw".to_string(),
            schema: Vec::new(),
            layout: PortLayout::Packed,
            key_type: String::new(),
        };
        let functions = FUNCTIONS.iter().map(|(name, _)| {
            let keyed = KEYED.contains(name);
            let (kind, inputs, states) = match *name {
                "write-broadcast" => (
                    FunctionKind::BroadcastProcess,
                    vec![port("in"), port("rules")],
                    vec![state_description("rules", StateKind::Broadcast, "raw")],
                ),
                _ if keyed => (
                    FunctionKind::KeyedProcess,
                    vec![port("in")],
                    vec![state_description("count", StateKind::Value, "")],
                ),
                _ => (FunctionKind::Process, vec![port("in")], Vec::new()),
            };
            let (name, outputs) = (name.to_string(), vec![port("out")]);
            FunctionDescription { name, kind, inputs, outputs, states, timers: Vec::new() }
        });
        ComponentDescription { sdk: "by hand".to_string(), functions: functions.collect() }
    }

    fn process(function: u32, _input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        black_box(context::current());
        let (name, misdeed) = FUNCTIONS[function as usize];
        let RecordValues::Packed(packed) = &batch.values else { return Err(failure("another layout")) };
        let mut values: Vec<Vec<u8>> = values(packed).map(<[u8]>::to_vec).collect();
        let writes = name == "write-broadcast";
        let marked = writes || values.iter().any(|value| value.starts_with(b"!"));
        if name == "count-then-trap" {
            count(&batch, &mut values);
        }
        let outputs = vec![Output { timestamps: batch.timestamps, ..output(0, values) }];
        if marked { misdeed(outputs) } else { Ok(outputs) }
    }
}

fn state_description(name: &str, kind: StateKind, map_key: &str) -> StateDescription {
    StateDescription {
        name: name.to_string(),
        kind,
        form: Form { codec: "raw".to_string(), schema: "u64-le".to_string() },
        map_key: map_key.to_string(),
        ttl: None,
        reads: Vec::new(),
        writes: Vec::new(),
    }
}

fn failure(message: &str) -> Failure {
    Failure { message: message.to_string(), record: None, backtrace: Vec::new() }
}

/// Counts the records of each key, also marked ones, and appends the count to each value. Later records show whether the state of a turn
/// that trapped was kept.
fn count(batch: &Batch, values: &mut [Vec<u8>]) {
    for (value, &key) in values.iter_mut().zip(&batch.key_of) {
        let before = state::value_get(0, key).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        state::value_set(0, key, &(before + 1).to_le_bytes());
        value.extend_from_slice(format!(",{}", before + 1).as_bytes());
    }
}

/// Allocates and uses memory until none is left.
fn memory_bomb() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Uses almost no linear memory, so that the engine's stack overflows and not the guest's.
fn recurse(depth: u64) -> u64 {
    if black_box(depth) == 0 { 0 } else { recurse(depth - 1).rotate_left(3) ^ depth }
}

/// Returns a gibibyte of output from 8 MiB of memory: all outputs share their bytes.
fn gigabyte() -> Vec<Output> {
    let mut bytes = vec![b'x'; 8 << 20].into_boxed_slice();
    let (start, length) = (bytes.as_mut_ptr(), bytes.len());
    std::mem::forget(bytes);
    let shared = || Column {
        // SAFETY: this is unsound if one of them is freed. None is: the host either refuses the outputs and drops the instance, or
        // accepts a gibibyte, which fails the test.
        bytes: unsafe { Vec::from_raw_parts(start, length, length) },
        offsets: vec![0, length as u32],
    };
    (0..128).map(|_| packed_output(0, shared(), 1)).collect()
}

/// Returns values without bytes, so that only their offsets and timestamps are large.
fn nothings(count: usize) -> Output {
    let values = Column { bytes: Vec::new(), offsets: vec![0; count + 1] };
    packed_output(0, values, count)
}

fn offsets(mut outputs: Vec<Output>, spoil: impl Fn(&mut Column)) -> Result<Vec<Output>, Failure> {
    if let RecordValues::Packed(values) = &mut outputs[0].values {
        spoil(values);
    }
    Ok(outputs)
}

fn output(index: u32, values: Vec<Vec<u8>>) -> Output {
    packed_output(index, column(&values), values.len())
}

fn packed_output(index: u32, values: Column, records: usize) -> Output {
    let (values, timestamps) = (RecordValues::Packed(values), Timestamps::Every(vec![0; records]));
    Output { index, values, timestamps, origins: Vec::new(), keys: None, attributes: None }
}

fn column(values: &[Vec<u8>]) -> Column {
    let mut end = 0;
    let ends = values.iter().map(|value| {
        end += value.len() as u32;
        end
    });
    Column { offsets: std::iter::once(0).chain(ends).collect(), bytes: values.concat() }
}

fn values(column: &Column) -> impl Iterator<Item = &[u8]> {
    column.offsets.windows(2).map(|ends| &column.bytes[ends[0] as usize..ends[1] as usize])
}

/// Executes the instruction `unreachable`. Aborts on other targets, on which this crate is only checked.
fn unreachable_instruction() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}
