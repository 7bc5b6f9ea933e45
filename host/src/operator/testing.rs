//! Runs an operator in as many subtasks as a test wants, over either backend, with a clock that stands still, and restores
//! it between any two steps: as the runtime would, without threads and channels.

use std::sync::Arc;

use tempfile::TempDir;

use super::{FunctionSettings, Operator};
use crate::clock::{ManualClock, SharedClock};
use crate::model::{Batch, Keys, group_of_key, groups_of_subtask, hash_key, subtask_of_group};
use crate::pipeline::{FaultPolicy, StateBackendKind};
use crate::state::testing::TestStore;
use crate::state::{self, RestoreSource, SnapshotFormat, StateHandle, StateLayout, StateOptions};
use crate::turn::{OutputBatch, Turn, TurnContext};

pub(crate) const GROUPS: u32 = 16;

/// A record: its key, value and timestamp.
pub(crate) type Record<'a> = (&'a str, &'a str, i64);

/// Makes the operator of one subtask.
pub(crate) type MakeOperator = Arc<dyn Fn(Turn, SharedClock) -> Box<dyn Operator>>;

/// What came out: the output's index, the value and the timestamp.
pub(crate) type Emitted = (usize, String, i64);

/// What a scenario does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Records of an input, in one batch.
    Records(u32, Vec<(String, String, i64)>),
    Watermark(i64),
    Clock(i64),
    /// Exactly this has come out since the last time, in any order over the keys.
    Expect(Vec<Emitted>),
    /// A snapshot is taken, and all goes on from it.
    Restore,
}

pub(crate) fn records(records: &[Record<'_>]) -> Step {
    of_input(0, records)
}

pub(crate) fn of_input(input: u32, records: &[Record<'_>]) -> Step {
    Step::Records(input, records.iter().map(|(key, value, at)| ((*key).into(), (*value).into(), *at)).collect())
}

/// Nothing but this on the main output.
pub(crate) fn expect(expected: &[(&str, i64)]) -> Step {
    Step::Expect(expected.iter().map(|(value, at)| (0, (*value).to_owned(), *at)).collect())
}

/// The watermark of each key group, by the watermarks that their subtasks were told.
#[derive(Clone)]
pub(crate) struct Reached([i64; GROUPS as usize]);

impl Reached {
    pub(crate) fn new() -> Reached {
        Reached([i64::MIN; GROUPS as usize])
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

/// An operator under test. See the module.
pub(crate) struct Harness {
    pub(crate) clock: Arc<ManualClock>,
    make: MakeOperator,
    layout: StateLayout,
    backend: StateBackendKind,
    subtasks: Vec<Box<dyn Operator>>,
    emitted: Vec<Emitted>,
    store: TestStore,
    folder: TempDir,
    opened: usize,
}

/// Those of a function `f` of a job `job`, which nobody cancels.
pub(crate) fn settings(
    on_fault: FaultPolicy,
    outputs: usize,
    batch_records: usize,
    clock: SharedClock,
) -> FunctionSettings {
    let (job, function, log, cancel) = ("job".into(), "f".into(), Arc::default(), Arc::default());
    FunctionSettings { job, function, on_fault, outputs, batch_records, clock, log, cancel }
}

impl Harness {
    pub(crate) fn new(make: MakeOperator, layout: StateLayout, backend: StateBackendKind, parallelism: u32) -> Harness {
        let mut harness = Harness {
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

    /// Opens all subtasks, empty or with the images of those that there were.
    fn open(&mut self, parallelism: u32, images: &[StateHandle]) {
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let groups = groups_of_subtask(subtask, parallelism, GROUPS);
            let held = |from: usize| groups_of_subtask(from as u32, images.len() as u32, GROUPS);
            let image = |(from, image)| RestoreSource { handle: image, groups: held(from), store: &self.store as _ };
            let restore = images.iter().enumerate().map(image).collect();
            let working_dir = self.folder.path().join(format!("{}", self.opened));
            self.opened += 1;
            let clock: SharedClock = self.clock.clone();
            let options = StateOptions::empty(self.backend, working_dir, self.layout.clone(), GROUPS, clock.clone());
            let backend = state::open(StateOptions { groups: groups.clone(), restore, ..options }).unwrap();
            let context = TurnContext { operator: "op".into(), subtask, parallelism, ..TurnContext::default() };
            let turn = Turn::stateful(context, self.layout.clone(), backend).with_timers(groups).unwrap();
            self.subtasks.push((self.make)(turn, clock));
        }
    }

    fn take_up(&mut self, outputs: Vec<OutputBatch>) {
        for OutputBatch { index: output, batch } in outputs {
            let values = batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap());
            self.emitted.extend(values.zip(&batch.timestamps).map(|(value, &at)| (output, value, at)));
        }
    }

    /// Hands records to the subtasks that own their keys, a batch to each.
    pub(crate) fn records(&mut self, input: u32, records: &[(String, String, i64)]) {
        let parallelism = self.subtasks.len() as u32;
        let mut batches = vec![(Batch::default(), Keys::default()); parallelism as usize];
        for (key, value, at) in records {
            let group = group_of_key(hash_key(key.as_bytes()), GROUPS);
            let (batch, keys) = &mut batches[subtask_of_group(group, parallelism, GROUPS) as usize];
            batch.push(value.as_bytes(), *at);
            let known = keys.distinct.iter().position(|other| other == key.as_bytes());
            let place = known.unwrap_or_else(|| {
                keys.distinct.push(key.as_bytes());
                keys.groups.push(group);
                keys.groups.len() - 1
            });
            keys.key_of.push(place as u32);
        }
        for (subtask, (batch, keys)) in batches.into_iter().enumerate().filter(|(_, (batch, _))| !batch.is_empty()) {
            let mut outputs = Vec::new();
            let batch = Batch { keys: Some(Arc::new(keys)), ..batch };
            self.subtasks[subtask].process(input, batch, &mut outputs).unwrap();
            self.take_up(outputs);
        }
    }

    fn advance(&mut self, step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> bool) {
        (0..self.subtasks.len()).for_each(|subtask| self.advance_one(subtask, &step));
    }

    fn advance_one(&mut self, subtask: usize, step: impl Fn(&mut dyn Operator, &mut Vec<OutputBatch>) -> bool) {
        loop {
            let mut outputs = Vec::new();
            let more = step(&mut *self.subtasks[subtask], &mut outputs);
            self.take_up(outputs);
            if !more {
                break;
            }
        }
    }

    pub(crate) fn watermark(&mut self, watermark: i64) {
        self.advance(|operator, outputs| operator.advance_watermark(watermark, outputs).unwrap());
    }

    /// Advances one subtask alone, as an unaligned barrier may find it.
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

    /// Takes a snapshot, and goes on from it with this backend and parallelism.
    pub(crate) fn restore(&mut self, backend: StateBackendKind, parallelism: u32) {
        let mut images = Vec::new();
        for operator in &mut self.subtasks {
            let watermark = operator.watermark();
            operator.turn().persist_watermark(watermark).unwrap();
            let format = SnapshotFormat::native_of(self.backend);
            let snapshot = operator.turn().backend().unwrap().snapshot(format).unwrap();
            images.push(snapshot.upload(&self.store, &[]).unwrap());
        }
        self.backend = backend;
        self.open(parallelism, &images);
    }

    /// Has the next restore make operators in another way.
    pub(crate) fn change(&mut self, (make, layout): (MakeOperator, StateLayout)) {
        (self.make, self.layout) = (make, layout);
    }

    /// What has come out since the last time, of each subtask in its order.
    pub(crate) fn take_in_order(&mut self) -> Vec<Emitted> {
        std::mem::take(&mut self.emitted)
    }

    /// What has come out since the last time, sorted.
    pub(crate) fn take(&mut self) -> Vec<Emitted> {
        let mut emitted = self.take_in_order();
        emitted.sort();
        emitted
    }

    /// Entries of state that the subtasks hold together.
    pub(crate) fn entries(&mut self) -> u64 {
        self.subtasks.iter_mut().map(|operator| operator.turn().backend().unwrap().size().entries).sum()
    }

    /// Faults of all subtasks.
    pub(crate) fn faults(&self) -> u64 {
        self.subtasks.iter().map(|operator| operator.counters().faults).sum()
    }

    /// A metric of the host's own, over all subtasks.
    pub(crate) fn metric(&mut self, name: &str) -> f64 {
        self.subtasks.iter_mut().filter_map(|operator| operator.turn().metrics().get(name).copied()).sum()
    }
}

/// When [`play`] restores beside where the scenario says so.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Restores {
    Marked,
    /// Behind every step.
    Always,
    /// Behind every step, each time at another parallelism and mostly on the other backend.
    Elsewhere,
}

const BACKENDS: [StateBackendKind; 2] = [StateBackendKind::Memory, StateBackendKind::RocksDb];

/// Plays a scenario at parallelism 1 and 3 over both backends: with the restores that it names, with one behind every step, and
/// with one behind every step that changes parallelism and backend.
pub(crate) fn play(make: &MakeOperator, layout: &StateLayout, steps: &[Step]) {
    for backend in BACKENDS {
        for parallelism in [1, 3] {
            for restores in [Restores::Marked, Restores::Always, Restores::Elsewhere] {
                play_one(make, layout, steps, (backend, parallelism, restores));
            }
        }
    }
}

/// Plays a scenario once, with a restore behind every step, in turn on both backends and at several parallelisms.
pub(crate) fn play_everywhere(make: &MakeOperator, layout: &StateLayout, steps: &[Step]) {
    play_one(make, layout, steps, (StateBackendKind::Memory, 3, Restores::Elsewhere));
}

fn play_one(
    make: &MakeOperator,
    layout: &StateLayout,
    steps: &[Step],
    (backend, parallelism, restores): (StateBackendKind, u32, Restores),
) {
    let mut harness = Harness::new(make.clone(), layout.clone(), backend, parallelism);
    for (index, step) in steps.iter().enumerate() {
        match step {
            Step::Records(input, records) => harness.records(*input, records),
            Step::Watermark(watermark) => harness.watermark(*watermark),
            Step::Clock(ms) => harness.clock(*ms),
            Step::Restore if restores == Restores::Marked => harness.restore(backend, parallelism),
            Step::Restore => {}
            Step::Expect(expected) => {
                let mut expected = expected.clone();
                expected.sort();
                let place = format!("step {index} of {backend:?} at {parallelism}, restores {restores:?}");
                assert_eq!(harness.take(), expected, "{place}");
            }
        }
        // Nothing has happened where something was expected.
        let has_changed = !matches!(step, Step::Expect(_));
        match restores {
            Restores::Always if has_changed => harness.restore(backend, parallelism),
            Restores::Elsewhere if has_changed => harness.restore(BACKENDS[index % 3 % 2], [1, 3, 2][index % 3]),
            _ => {}
        }
    }
}
