//! Runs an operator in several subtasks, over either backend, with a manual clock, and restores it between any two steps.
//!
//! The harness does what the runtime would do, without threads and channels.

use std::sync::Arc;

use tempfile::TempDir;

use super::interface::Operator;
use super::turn_runner::runner::FunctionSettings;
use crate::clock::{ManualClock, SharedClock};
use crate::model::{Batch, Keys, group_of_key, groups_of_subtask, hash_key, subtask_of_group};
use crate::pipeline::{FaultPolicy, StateBackendKind};
use crate::state::testing::TestStore;
use crate::state::{self, RestoreSource, SnapshotFormat, StateHandle, StateLayout, StateOptions};
use crate::turn::{OutputBatch, OutputId, Turn, TurnContext};

pub(crate) const GROUPS: u32 = 16;

/// A record: its key, value and timestamp.
pub(crate) type TestRecord<'a> = (&'a str, &'a str, i64);

/// Creates the operator of one subtask.
pub(crate) type OperatorFactory = Arc<dyn Fn(Turn, SharedClock) -> Box<dyn Operator>>;

/// An emitted record: the output's index, the value and the timestamp.
pub(crate) type EmittedRecord = (usize, String, i64);

/// Numbers of the outputs for late records and dead letters.
pub(crate) const LATE: usize = 1;
pub(crate) const DEAD_LETTER: usize = 2;

/// A step of a scenario.
#[derive(Clone, Debug)]
pub(crate) enum OperatorStep {
    /// Records of an input, in one batch.
    Records(u32, Vec<(String, String, i64)>),
    Watermark(i64),
    Clock(i64),
    /// Exactly these records have been emitted since the last `Expect`, in any order.
    Expect(Vec<EmittedRecord>),
    /// A snapshot is taken, and the operators are restored from it.
    Restore,
}

pub(crate) fn records(records: &[TestRecord<'_>]) -> OperatorStep {
    records_of_input(0, records)
}

pub(crate) fn records_of_input(input: u32, records: &[TestRecord<'_>]) -> OperatorStep {
    OperatorStep::Records(input, records.iter().map(|(key, value, at)| ((*key).into(), (*value).into(), *at)).collect())
}

/// Exactly these records have been emitted, on the main output.
pub(crate) fn expect(expected: &[(&str, i64)]) -> OperatorStep {
    OperatorStep::Expect(expected.iter().map(|(value, at)| (0, (*value).to_owned(), *at)).collect())
}

/// A model of the watermark of each key group, which follows the watermarks that the subtasks receive.
#[derive(Clone)]
pub(crate) struct GroupWatermarkModel([i64; GROUPS as usize]);

impl GroupWatermarkModel {
    pub(crate) fn new() -> GroupWatermarkModel {
        GroupWatermarkModel([i64::MIN; GROUPS as usize])
    }

    pub(crate) fn advance(&mut self, subtask: usize, parallelism: usize, watermark: i64) {
        for group in groups_of_subtask(subtask as u32, parallelism as u32, GROUPS) {
            let reached = &mut self.0[group as usize];
            *reached = (*reached).max(watermark);
        }
    }

    pub(crate) fn of(&self, key: &str) -> i64 {
        self.0[usize::from(group_of_key(hash_key(key.as_bytes()), GROUPS))]
    }
}

/// An operator under test.
pub(crate) struct OperatorHarness {
    pub(crate) clock: Arc<ManualClock>,
    make: OperatorFactory,
    layout: StateLayout,
    backend: StateBackendKind,
    subtasks: Vec<Box<dyn Operator>>,
    emitted: Vec<EmittedRecord>,
    store: TestStore,
    folder: TempDir,
    opened: usize,
}

/// The settings of a function `f` of a job `job` that is never cancelled.
pub(crate) fn function_settings(on_fault: FaultPolicy, batch_records: usize, clock: SharedClock) -> FunctionSettings {
    let (job, function, log, cancel) = ("job".into(), "f".into(), Arc::default(), Arc::default());
    FunctionSettings {
        job,
        function,
        on_fault,
        retry: None,
        component: None,
        keeps_letters: false,
        batch_records,
        clock,
        log,
        faults: None,
        cancel,
    }
}

/// Returns the number by which tests name an output of a function with one output.
fn output_number(output: OutputId) -> usize {
    match output {
        OutputId::Declared(index) => index,
        OutputId::Late => LATE,
        OutputId::DeadLetter => DEAD_LETTER,
    }
}

impl OperatorHarness {
    pub(crate) fn new(
        make: OperatorFactory,
        layout: StateLayout,
        backend: StateBackendKind,
        parallelism: u32,
    ) -> OperatorHarness {
        let mut harness = OperatorHarness {
            clock: Arc::default(),
            make,
            layout,
            backend,
            subtasks: Vec::new(),
            emitted: Vec::new(),
            store: TestStore::default(),
            folder: tempfile::tempdir().unwrap(),
            opened: 0,
        };
        harness.open(parallelism, &[]);
        harness
    }

    /// Opens all subtasks, either empty or from the snapshots of the previous ones.
    fn open(&mut self, parallelism: u32, snapshots: &[StateHandle]) {
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let groups = groups_of_subtask(subtask, parallelism, GROUPS);
            let groups_of = |from: usize| groups_of_subtask(from as u32, snapshots.len() as u32, GROUPS);
            let source = |(from, handle)| RestoreSource { handle, groups: groups_of(from), store: &self.store as _ };
            let restore = snapshots.iter().enumerate().map(source).collect();
            let working_dir = self.folder.path().join(format!("{}", self.opened));
            self.opened += 1;
            let clock: SharedClock = self.clock.clone();
            let options = StateOptions::empty(self.backend, working_dir, self.layout.clone(), GROUPS, clock.clone());
            let backend = state::open(StateOptions { groups: groups.clone(), restore, ..options }).unwrap();
            let context = TurnContext { operator: "op".into(), subtask, ..TurnContext::default() };
            let turn = Turn::stateful(context, self.layout.clone(), backend).with_timers(groups).unwrap();
            self.subtasks.push((self.make)(turn, clock));
        }
    }

    fn record_outputs(&mut self, outputs: Vec<OutputBatch>) {
        for OutputBatch { output, batch } in outputs {
            let output = output_number(output);
            let values = batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap());
            self.emitted.extend(values.zip(&batch.timestamps).map(|(value, &at)| (output, value, at)));
        }
    }

    /// Sends records to the subtasks that own their keys, in one batch per subtask.
    pub(crate) fn records(&mut self, input: u32, records: &[(String, String, i64)]) {
        let parallelism = self.subtasks.len() as u32;
        let mut batches = vec![(Batch::default(), Keys::default()); parallelism as usize];
        for (key, value, at) in records {
            let group = group_of_key(hash_key(key.as_bytes()), GROUPS);
            let (batch, keys) = &mut batches[subtask_of_group(group, parallelism, GROUPS) as usize];
            batch.push(value.as_bytes(), *at);
            let known = keys.distinct.iter().position(|other| other == key.as_bytes());
            let index = known.unwrap_or_else(|| {
                keys.distinct.push(key.as_bytes());
                keys.groups.push(group);
                keys.groups.len() - 1
            });
            keys.key_of.push(index as u32);
        }
        for (subtask, (batch, keys)) in batches.into_iter().enumerate().filter(|(_, (batch, _))| !batch.is_empty()) {
            let mut outputs = Vec::new();
            let batch = Batch { keys: Some(Arc::new(keys)), ..batch };
            self.subtasks[subtask].process(input, batch, &mut outputs).unwrap();
            self.record_outputs(outputs);
        }
    }

    fn advance(&mut self, step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> bool) {
        (0..self.subtasks.len()).for_each(|subtask| self.advance_one(subtask, &step));
    }

    fn advance_one(&mut self, subtask: usize, step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> bool) {
        loop {
            let mut outputs = Vec::new();
            let more = step(&mut *self.subtasks[subtask], &mut outputs);
            self.record_outputs(outputs);
            if !more {
                break;
            }
        }
    }

    pub(crate) fn watermark(&mut self, watermark: i64) {
        self.advance(|operator, outputs| operator.advance_watermark(watermark, outputs).unwrap());
    }

    /// Advances the watermark of one subtask alone, as it may be when an unaligned barrier arrives.
    pub(crate) fn watermark_at(&mut self, subtask: usize, watermark: i64) {
        self.advance_one(subtask, |operator, outputs| operator.advance_watermark(watermark, outputs).unwrap());
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.subtasks.len()
    }

    pub(crate) fn clock(&mut self, ms: i64) {
        self.clock.set_ms(ms);
        self.advance(|operator, outputs| operator.advance_clock(ms, outputs).unwrap());
    }

    pub(crate) fn subtask(&mut self, subtask: usize) -> &mut dyn Operator {
        &mut *self.subtasks[subtask]
    }

    /// Takes a snapshot, and restores it with this backend and parallelism.
    pub(crate) fn restore(&mut self, backend: StateBackendKind, parallelism: u32) {
        let mut snapshots = Vec::new();
        for operator in &mut self.subtasks {
            let watermark = operator.watermark();
            operator.turn().persist_watermark(watermark).unwrap();
            let format = SnapshotFormat::native_of(self.backend);
            let snapshot = operator.turn().backend().unwrap().snapshot(format).unwrap();
            snapshots.push(snapshot.upload(&self.store, &[]).unwrap());
        }
        self.backend = backend;
        self.open(parallelism, &snapshots);
    }

    /// Makes the next restore create the operators with another factory and layout.
    pub(crate) fn change(&mut self, (make, layout): (OperatorFactory, StateLayout)) {
        (self.make, self.layout) = (make, layout);
    }

    /// The records emitted since the last call. Those of one subtask are in order.
    pub(crate) fn take_emitted_in_order(&mut self) -> Vec<EmittedRecord> {
        std::mem::take(&mut self.emitted)
    }

    /// The records emitted since the last call, sorted.
    pub(crate) fn take_emitted(&mut self) -> Vec<EmittedRecord> {
        let mut emitted = self.take_emitted_in_order();
        emitted.sort();
        emitted
    }

    /// Number of state entries of all subtasks together.
    pub(crate) fn entries(&mut self) -> u64 {
        self.subtasks.iter_mut().map(|operator| operator.turn().backend().unwrap().size().entries).sum()
    }

    /// Number of faults of all subtasks together.
    pub(crate) fn faults(&self) -> u64 {
        self.subtasks.iter().map(|operator| operator.counters().faults).sum()
    }

    /// A metric, summed over all subtasks.
    pub(crate) fn metric(&mut self, name: &str) -> f64 {
        self.subtasks.iter_mut().filter_map(|operator| operator.turn().metrics().value(name)).sum()
    }
}

/// When [`play`] restores the operators.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RestoreSchedule {
    /// At the steps `Restore` of the scenario.
    AsScripted,
    /// After every step.
    EveryStep,
    /// After every step, each time at another parallelism and mostly on the other backend.
    EveryStepRescaled,
}

const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

/// Plays a scenario at parallelism 1 and 3 over both backends, once with each schedule of restores.
pub(crate) fn play(make: &OperatorFactory, layout: &StateLayout, steps: &[OperatorStep]) {
    for backend in BACKENDS {
        for parallelism in [1, 3] {
            for restores in
                [RestoreSchedule::AsScripted, RestoreSchedule::EveryStep, RestoreSchedule::EveryStepRescaled]
            {
                play_one(make, layout, steps, (backend, parallelism, restores));
            }
        }
    }
}

/// Plays a scenario once, with a restore after every step that changes the backend and the parallelism.
pub(crate) fn play_rescaled(make: &OperatorFactory, layout: &StateLayout, steps: &[OperatorStep]) {
    play_one(make, layout, steps, (StateBackendKind::Memory, 3, RestoreSchedule::EveryStepRescaled));
}

fn play_one(
    make: &OperatorFactory,
    layout: &StateLayout,
    steps: &[OperatorStep],
    (backend, parallelism, restores): (StateBackendKind, u32, RestoreSchedule),
) {
    let mut harness = OperatorHarness::new(make.clone(), layout.clone(), backend, parallelism);
    for (index, step) in steps.iter().enumerate() {
        match step {
            OperatorStep::Records(input, records) => harness.records(*input, records),
            OperatorStep::Watermark(watermark) => harness.watermark(*watermark),
            OperatorStep::Clock(ms) => harness.clock(*ms),
            OperatorStep::Restore if restores == RestoreSchedule::AsScripted => harness.restore(backend, parallelism),
            OperatorStep::Restore => {}
            OperatorStep::Expect(expected) => {
                let mut expected = expected.clone();
                expected.sort();
                let context = format!("step {index} of {backend:?} at {parallelism}, restores {restores:?}");
                assert_eq!(harness.take_emitted(), expected, "{context}");
            }
        }
        // A step `Expect` changes nothing.
        let has_changed = !matches!(step, OperatorStep::Expect(_));
        match restores {
            RestoreSchedule::EveryStep if has_changed => harness.restore(backend, parallelism),
            RestoreSchedule::EveryStepRescaled if has_changed => {
                harness.restore(BACKENDS[index % 3 % 2], [1, 3, 2][index % 3])
            }
            _ => {}
        }
    }
}
