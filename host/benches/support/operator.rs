//! A subtask's loop over prepared batches, on one thread, without a job. One side calls a function in a component, the other the same
//! function as native code.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cofferdam::clock::SystemClock;
use cofferdam::model::{Batch, Counters};
use cofferdam::operator::{FunctionOperator, FunctionSettings, Operator};
use cofferdam::pipeline::{FaultPolicy, GuestLimits, StateBackendKind};
use cofferdam::sandbox::{Component, FunctionDescription, Instance};
use cofferdam::state::{self, StateOptions};
use cofferdam::turn::{FIRST_INPUT, Guest, Turn, TurnContext};

pub const MAX_PARALLELISM: u32 = 128;

/// One function, native and in a component, and its input.
pub struct Crossing {
    name: String,
    batches: Vec<Batch>,
    records: usize,
    native: FunctionOperator,
    sandboxed: FunctionOperator,
}

/// Measured nanoseconds per record, one value per slice.
#[derive(Default)]
pub struct Slices {
    pub native: Vec<f64>,
    pub sandboxed: Vec<f64>,
    pub difference: Vec<f64>,
}

impl Crossing {
    pub fn new(component: &Component, function: &str, native: Box<dyn Guest>, batches: Vec<Batch>) -> Crossing {
        let (index, description) = component.description().function(function).expect("the component has the function");
        let guest = Box::new(Instance::new(component.clone(), index, GuestLimits::default(), 0, false));
        Crossing {
            name: function.to_owned(),
            records: batches.iter().map(Batch::len).sum(),
            batches,
            native: operator(native, description),
            sandboxed: operator(guest, description),
        }
    }

    /// Panics unless both sides give the same outputs and state.
    pub fn check(&mut self) {
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

    /// Runs both sides in short slices that alternate.
    pub fn measure(&mut self, count: usize) -> Slices {
        let mut slices = Slices::default();
        for round in 0..count {
            let [native, sandboxed] = if round % 2 == 0 {
                let native = slice(&mut self.native, &self.batches, self.records);
                [native, slice(&mut self.sandboxed, &self.batches, self.records)]
            } else {
                let sandboxed = slice(&mut self.sandboxed, &self.batches, self.records);
                [slice(&mut self.native, &self.batches, self.records), sandboxed]
            };
            slices.native.push(native);
            slices.sandboxed.push(sandboxed);
            slices.difference.push(sandboxed - native);
        }
        slices
    }
}

/// Returns the nanoseconds per record of one slice. Includes dropping the outputs, as a sink would.
fn slice(operator: &mut FunctionOperator, batches: &[Batch], records: usize) -> f64 {
    let batches = batches.to_vec();
    let start = Instant::now();
    for batch in batches {
        let mut outputs = Vec::new();
        operator.process(FIRST_INPUT, batch, &mut outputs).expect("no fault");
        black_box(&outputs);
    }
    start.elapsed().as_nanos() as f64 / records as f64
}

fn operator(guest: Box<dyn Guest>, function: &FunctionDescription) -> FunctionOperator {
    operator_with_policy(guest, function, FaultPolicy::Fail)
}

/// Creates an operator with state in memory.
pub fn operator_with_policy(
    guest: Box<dyn Guest>,
    function: &FunctionDescription,
    on_fault: FaultPolicy,
) -> FunctionOperator {
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
        on_fault,
        retry: None,
        component: None,
        keeps_letters: false,
        batch_records: 1024,
        clock: SystemClock::shared(),
        log: Arc::default(),
        faults: None,
        cancel: Arc::default(),
    };
    FunctionOperator::new(guest, turn, settings, Counters::default())
}
