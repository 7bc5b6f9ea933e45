//! Measures the cost of calling into a component: `cargo xtask bench crossing`.
//!
//! Runs the loop of a subtask, `FunctionOperator::process`, on one thread over prepared batches. It begins a turn, calls the
//! function, commits and passes the outputs on. One side calls a function in a component, the other the same function as
//! native code. The sides alternate in short slices. The cost is the median difference of the slices, so that noise of the
//! machine affects both sides alike. Prints a table and writes `crossing.json` into `COFFERDAM_BENCH_DIR`.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cofferdam::clock::SystemClock;
use cofferdam::model::Counters;
use cofferdam::model::{Batch, Keys, group_of_key, hash_key};
use cofferdam::operator::{FunctionOperator, FunctionSettings, Operator};
use cofferdam::pipeline::{FaultPolicy, GuestLimits, StateBackendKind};
use cofferdam::sandbox::{Component, FunctionDescription, Instance, Sandbox, SandboxOptions};
use cofferdam::state::{self, StateOptions};
use cofferdam::turn::{FIRST_INPUT, Guest, OutputBatch, Turn, TurnContext, TurnFailure};

const RECORD_BYTES: usize = 100;
const KEYS: usize = 100;
const MAX_PARALLELISM: u32 = 128;
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
        Ok(vec![OutputBatch { index: 0, batch: out }])
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

/// One function, native and in a component, and its input.
struct Case {
    name: &'static str,
    metric: &'static str,
    batches: Vec<Batch>,
    native: FunctionOperator,
    sandboxed: FunctionOperator,
}

/// Measured nanoseconds per record.
#[derive(Default)]
struct Slices {
    native: Vec<f64>,
    sandboxed: Vec<f64>,
    difference: Vec<f64>,
}

impl Case {
    fn new(
        (name, metric): (&'static str, &'static str),
        component: &Component,
        function: &str,
        native: Box<dyn Guest>,
        batch_records: usize,
    ) -> Case {
        let (index, description) = component.description().function(function).expect("the component has the function");
        let guest = Box::new(Instance::new(component.clone(), index, GuestLimits::default(), 0, false));
        let keyed = !description.states.is_empty();
        Case {
            name,
            metric,
            batches: (0..SLICE_RECORDS / batch_records)
                .map(|at| batch(at * batch_records, batch_records, keyed))
                .collect(),
            native: operator(native, description),
            sandboxed: operator(guest, description),
        }
    }

    /// Panics unless both sides give the same outputs and state.
    fn check(&mut self) {
        let [native, sandboxed] = [&mut self.native, &mut self.sandboxed].map(|operator| {
            let mut outputs = Vec::new();
            self.batches
                .iter()
                .for_each(|batch| operator.process(FIRST_INPUT, batch.clone(), &mut outputs).expect("no fault"));
            let turn = operator.turn();
            let state = (!turn.layout().is_empty()).then(|| {
                turn.begin(self.batches[0].keys.as_ref(), 0, 0);
                turn.value_load(0).expect("the state is declared")
            });
            (outputs, state)
        });
        assert!(native == sandboxed, "`{}` gives a different result natively", self.name);
    }

    fn measure(&mut self) -> Slices {
        let mut slices = Slices::default();
        for round in 0..SLICES {
            let [native, sandboxed] = if round % 2 == 0 {
                let native = slice(&mut self.native, &self.batches);
                [native, slice(&mut self.sandboxed, &self.batches)]
            } else {
                let sandboxed = slice(&mut self.sandboxed, &self.batches);
                [slice(&mut self.native, &self.batches), sandboxed]
            };
            slices.native.push(native);
            slices.sandboxed.push(sandboxed);
            slices.difference.push(sandboxed - native);
        }
        slices
    }
}

/// Returns the nanoseconds per record of one slice. Includes dropping the outputs, as a sink would.
fn slice(operator: &mut FunctionOperator, batches: &[Batch]) -> f64 {
    let batches = batches.to_vec();
    let start = Instant::now();
    for batch in batches {
        let mut outputs = Vec::new();
        operator.process(FIRST_INPUT, batch, &mut outputs).expect("no fault");
        black_box(&outputs);
    }
    start.elapsed().as_nanos() as f64 / SLICE_RECORDS as f64
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

fn operator(guest: Box<dyn Guest>, function: &FunctionDescription) -> FunctionOperator {
    let layout = function.states.clone();
    let turn = if layout.is_empty() {
        Turn::stateless(TurnContext::default())
    } else {
        let clock = SystemClock::shared();
        let options =
            StateOptions::empty(StateBackendKind::Memory, PathBuf::new(), layout.clone(), MAX_PARALLELISM, clock);
        Turn::stateful(TurnContext::default(), layout, state::open(options).expect("a memory backend can be opened"))
    };
    let settings = FunctionSettings {
        job: "bench".to_string(),
        function: function.name.clone(),
        on_fault: FaultPolicy::Fail,
        outputs: function.outputs.len(),
        batch_records: 1024,
        clock: SystemClock::shared(),
        log: Arc::default(),
        cancel: Arc::default(),
    };
    FunctionOperator::new(guest, turn, settings, Counters::default())
}

/// Returns a quantile of the measurements.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn main() {
    let folder = |name: &str| {
        PathBuf::from(
            std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: use `cargo xtask bench crossing`")),
        )
    };
    let report = folder("COFFERDAM_BENCH_DIR").join("crossing.json");
    let component =
        std::fs::read(folder("COFFERDAM_TEST_COMPONENTS").join("crossing.wasm")).expect("the component can be read");
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(16)).expect("a sandbox can be opened");
    let component = sandbox.load(&component).expect("the component can be loaded");

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
    let mut metrics = BTreeMap::new();
    println!("ns per record of {RECORD_BYTES} bytes, medians of {SLICES} slices of {SLICE_RECORDS} records:\n");
    println!("{:<40} {:>8} {:>10} {:>10}   p10..p90", "function", "native", "component", "crossing");
    for mut case in cases {
        case.check();
        let Slices { native, sandboxed, difference } = case.measure();
        let [native, sandboxed] = [native, sandboxed].map(|values| quantile(&values, 0.5));
        let [low, crossing, high] = [0.1, 0.5, 0.9].map(|part| quantile(&difference, part));
        println!("{:<40} {native:>8.1} {sandboxed:>10.1} {crossing:>10.1}   {low:.1}..{high:.1}", case.name);
        for (what, value) in [("native_ns", native), ("component_ns", sandboxed), ("over_native_ns", crossing)] {
            metrics.insert(format!("{}_{what}", case.metric), (value * 100.0).round() / 100.0);
        }
    }
    let json = serde_json::json!({ "name": "crossing", "metrics": metrics });
    std::fs::write(&report, format!("{json:#}\n")).expect("the report can be written");
}
