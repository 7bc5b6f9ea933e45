//! Measures the cost of calling into a component: `cargo xtask bench crossing`.
//!
//! Runs the loop of a subtask, `FunctionOperator::process`, on one thread over prepared batches. It begins a turn, calls the
//! function, commits and passes the outputs on. One side calls a function in a component, the other the same function as
//! native code. The sides alternate in short slices. The cost is the median difference of the slices, so that noise of the
//! machine affects both sides alike. Prints a table and writes `crossing.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

mod support;

use std::sync::Arc;

use cofferdam::model::{Batch, Keys, group_of_key, hash_key};
use cofferdam::sandbox::{Component, Sandbox, SandboxOptions};
use cofferdam::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};
use support::operator::{Crossing, MAX_PARALLELISM, Slices};
use support::{Metrics, component, quantile_of, rounded, write_report};

const RECORD_BYTES: usize = 100;
const KEYS: usize = 100;
/// Number of records per slice. A slice takes one or two milliseconds, and its input fits into the processor's cache.
const SLICE_RECORDS: usize = 16 * 1024;
const SLICES: usize = 400;

/// The native version of the function `echo` of `tests/guests/crossing`.
struct NativeEcho;

impl Guest for NativeEcho {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut out = Batch::with_capacity(batch.len(), batch.values.bytes().len());
        for (value, &timestamp) in batch.values.iter().zip(&batch.timestamps) {
            out.push(value, timestamp);
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: out }])
    }
}

/// The native version of the function `total` of `tests/guests/crossing`.
struct NativeTotal;

impl Guest for NativeTotal {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let keys = batch.keys.clone().expect("the input is keyed");
        let loaded = turn.value_load(0).expect("the state is declared");
        let decode = |bytes: &[u8]| bytes.try_into().map_or(0.0, f64::from_le_bytes);
        let mut totals: Vec<f64> = loaded.values.iter().map(decode).collect();
        for (record, &key) in batch.values.iter().zip(&keys.key_of) {
            totals[key as usize] += record.len() as f64;
        }
        let all: Vec<u32> = (0..totals.len() as u32).collect();
        let stored = totals.iter().map(|total| total.to_le_bytes()).collect();
        turn.value_store(0, &all, &stored).expect("the keys are those of the turn");
        Ok(Vec::new())
    }
}

/// Returns the records `first..first + records`, with keys as a keyed exchange sets them.
fn batch(first: usize, records: usize, keyed: bool) -> Batch {
    let mut batch = Batch::with_capacity(records, records * RECORD_BYTES);
    let mut keys = Keys::default();
    for number in first..first + records {
        let key = format!("key-{:04}", number % KEYS);
        let mut record = format!("{key},{number:010},");
        record.extend(('a'..='z').cycle().skip(number % 26).take(RECORD_BYTES - record.len()));
        batch.push(record.as_bytes(), number as i64);
        if keys.distinct.len() < KEYS {
            keys.groups.push(group_of_key(hash_key(key.as_bytes()), MAX_PARALLELISM));
            keys.distinct.push(key.as_bytes());
        }
        keys.key_of.push(((number - first) % KEYS) as u32);
    }
    batch.keys = keyed.then(|| Arc::new(keys));
    batch
}

/// One function, with the beginning of its metrics' names and the size of its batches.
struct Case {
    name: &'static str,
    metric: &'static str,
    crossing: Crossing,
}

impl Case {
    fn new(
        (name, metric): (&'static str, &'static str),
        component: &Component,
        function: &str,
        native: Box<dyn Guest>,
        batch_records: usize,
    ) -> Case {
        let (_, description) = component.description().function(function).expect("the component has the function");
        let keyed = !description.states.is_empty();
        let count = SLICE_RECORDS / batch_records;
        let batches = (0..count).map(|at| batch(at * batch_records, batch_records, keyed)).collect();
        Case { name, metric, crossing: Crossing::new(component, function, native, batches) }
    }
}

fn main() {
    let bytes = std::fs::read(component("crossing")).expect("the component can be read");
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(16)).expect("a sandbox can be opened");
    let component = sandbox.load(&bytes).expect("the component can be loaded");
    let cases = [
        Case::new(("echo, batches of 1024", "echo"), &component, "echo", Box::new(NativeEcho), 1024),
        Case::new(("echo, batches of 64", "echo_64"), &component, "echo", Box::new(NativeEcho), 64),
        Case::new(
            ("value state, 100 keys, batches of 1024", "value_state"),
            &component,
            "total",
            Box::new(NativeTotal),
            1024,
        ),
    ];
    let mut metrics = Metrics::new();
    println!("ns per record of {RECORD_BYTES} bytes, medians of {SLICES} slices of {SLICE_RECORDS} records:\n");
    println!("{:<40} {:>8} {:>10} {:>10}   p10..p90", "function", "native", "component", "crossing");
    for Case { name, metric, mut crossing } in cases {
        crossing.check();
        let Slices { native, sandboxed, difference } = crossing.measure(SLICES);
        let [native, sandboxed] = [native, sandboxed].map(|values| quantile_of(&values, 0.5));
        let [low, crossing, high] = [0.1, 0.5, 0.9].map(|part| quantile_of(&difference, part));
        println!("{name:<40} {native:>8.1} {sandboxed:>10.1} {crossing:>10.1}   {low:.1}..{high:.1}");
        for (what, value) in [("native_ns", native), ("component_ns", sandboxed), ("over_native_ns", crossing)] {
            metrics.insert(format!("{metric}_{what}"), rounded(value, 2));
        }
    }
    write_report("crossing", &metrics);
}
