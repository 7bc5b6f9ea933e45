//! Checkpoints of a job whose operator does not keep up: sources are held up in front of full channels, and the operator
//! takes one batch whenever the test lets it. No part of this waits for a time to pass.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::*;
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::clock::SystemClock;
use crate::error::{Result, internal};
use crate::model::Batch;
use crate::pipeline::PipelineSpec;
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use crate::state::{FileRef, FileStore, SnapshotFormat};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Of each input.
const RECORDS: u64 = 1_500;

const SOURCES: [&str; 2] = ["numbers", "others"];

/// Waits in each turn for a permit, and remembers what it has seen.
struct Slow {
    entered: Sender<u32>,
    /// For each subtask.
    permits: Vec<Receiver<()>>,
    seen: Arc<Mutex<Vec<(u32, u64)>>>,
}

impl Guest for Slow {
    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let subtask = turn.context.subtask;
        let _ = self.entered.send(subtask);
        // When the test has dropped its end, nobody waits any more.
        let _ = self.permits[subtask as usize].recv();
        self.seen.lock().extend(numbers(input, batch).map(|number| (subtask, number)));
        Ok(Vec::new())
    }
}

/// Records are `number,key`, those of the second input `key,number`, where numbers go on.
fn numbers(input: u32, batch: &Batch) -> impl Iterator<Item = u64> {
    let number = |value: &[u8]| {
        let number = std::str::from_utf8(value).unwrap().split(',').nth(input as usize).unwrap();
        number.parse::<u64>().unwrap() + u64::from(input) * RECORDS
    };
    batch.values.iter().map(number).collect::<Vec<u64>>().into_iter()
}

/// The files of a checkpoint, in memory.
#[derive(Default)]
struct Files(Mutex<HashMap<String, Bytes>>);

impl FileStore for Files {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        let path = format!("{name}-{}", self.0.lock().len());
        let file = FileRef { name: name.into(), path: path.clone(), bytes: bytes.len() as u64, crc32c: 0 };
        self.0.lock().insert(path, bytes);
        Ok(file)
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        self.0.lock().get(&file.path).cloned().ok_or_else(|| internal(&file.path))
    }

    fn put_file(&self, _: &str, _: &Path) -> Result<FileRef> {
        Err(internal("no state is written here"))
    }

    fn get_file(&self, _: &FileRef, _: &Path) -> Result<()> {
        Err(internal("no state is read here"))
    }
}

/// A job that runs, and the ends of its channels to the test.
struct Job {
    /// For each subtask of the operator; without them none waits. They go first when the job is dropped.
    permits: Vec<Sender<()>>,
    execution: Execution,
    events: Receiver<SubtaskEvent>,
    entered: Receiver<u32>,
    seen: Arc<Mutex<Vec<(u32, u64)>>>,
    parts: Vec<SubtaskSnapshot>,
    dir: tempfile::TempDir,
}

impl Job {
    fn start(parallelism: u32, restore: Option<(Arc<CheckpointMetadata>, Arc<dyn FileStore>)>) -> Job {
        let manifest = format!(
            "name = \"pressed\"\nmax_parallelism = 128\n[batch]\nrecords = 10\nlinger = \"0s\"\n\
             [checkpoint]\nrecords = 160\n\
             [source.numbers]\nconnector = \"generator\"\nrecords = {RECORDS}\ntemplate = \"{{n}},{{key}}\"\n\
             keys = 50\nparallelism = 1\n\
             [source.others]\nconnector = \"generator\"\nrecords = {RECORDS}\ntemplate = \"{{key}},{{n}}\"\n\
             keys = 50\nparallelism = 1\n\
             [operator.slow]\ninput = \"numbers\"\nkey = {{ column = 1 }}\nsecond = \"others\"\n\
             second_key = {{ column = 0 }}\ncomponent = \"native\"\nfunction = \"slow\"\n\
             parallelism = {parallelism}\n[sink.out]\ninput = \"slow\"\nconnector = \"blackhole\"\nparallelism = {parallelism}"
        );
        let (entered_sender, entered) = unbounded();
        let (give, permits): (Vec<_>, Vec<_>) = (0..parallelism).map(|_| unbounded()).unzip();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let for_guests = seen.clone();
        let make: GuestFactory = Arc::new(move |_| {
            let (entered, permits, seen) = (entered_sender.clone(), permits.clone(), for_guests.clone());
            Box::new(Slow { entered, permits, seen })
        });
        let port = PortDescription { name: "out".into(), codec: "bytes".into() };
        let description = FunctionDescription {
            name: "slow".into(),
            kind: FunctionKind::CoProcess,
            input: port.clone(),
            second_input: Some(port.clone()),
            timers: Vec::new(),
            internal: Vec::new(),
            outputs: vec![port],
            states: Vec::new(),
            broadcast_states: Vec::new(),
        };
        let functions = BTreeMap::from([("slow".to_owned(), FunctionPlan { description, make })]);
        let pipeline = PipelineSpec::parse(&manifest, "pipeline.toml").unwrap();
        let plan = Arc::new(ExecutionPlan::new(pipeline, functions, Path::new("")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (sender, events) = unbounded();
        let options = ExecutionOptions {
            job_id: "job".into(),
            base_dir: dir.path().to_owned(),
            working_dir: dir.path().to_owned(),
            seed: 7,
            restarts: 0,
            clock: SystemClock::shared(),
            restore,
            interrupt: crate::model::Interrupt::default(),
            allow_unclaimed_state: false,
            reset_watermarks: false,
            notify: Arc::new(move |event| drop(sender.send(event))),
        };
        let execution = Execution::start(&plan, options).unwrap();
        Job { permits: give, execution, events, entered, seen, parts: Vec::new(), dir }
    }

    /// The next event. Parts of checkpoints are kept.
    fn event(&mut self) -> SubtaskEvent {
        let mut event = self.events.recv().unwrap();
        if let SubtaskEvent::Acknowledged { snapshots: parts, .. } = &mut event {
            self.parts.append(parts);
        }
        if let SubtaskEvent::Failed(failure) = &event {
            panic!("{failure:?}");
        }
        event
    }

    /// Takes events until so many subtasks of these nodes have answered.
    fn await_parts(&mut self, nodes: &[&str], count: usize) {
        while self.parts.iter().filter(|part| nodes.contains(&part.node.as_str())).count() < count {
            self.event();
        }
    }

    /// Both subtasks of the operator end their turn and begin the next one.
    fn one_turn(&self) {
        self.permits.iter().for_each(|permits| permits.send(()).unwrap());
        self.permits.iter().for_each(|_| assert!(self.entered.recv().is_ok()));
    }
}

fn barrier(checkpoint: u64, kind: BarrierKind) -> Barrier {
    Barrier { checkpoint, kind, format: SnapshotFormat::Canonical, triggered_ns: 0 }
}

/// The checkpoint's image, and its files.
fn image(parts: Vec<SubtaskSnapshot>) -> (Arc<CheckpointMetadata>, Arc<dyn FileStore>) {
    let files = Files::default();
    let mut operators = Vec::new();
    for id in ["numbers", "others", "slow", "out"] {
        let mut own: Vec<&SubtaskSnapshot> = parts.iter().filter(|part| part.node == id).collect();
        own.sort_by_key(|part| part.subtask);
        let image = |part: &&SubtaskSnapshot| SubtaskMetadata {
            source_position: part.source_position.clone(),
            in_flight: part
                .in_flight
                .as_ref()
                .map(|in_flight| files.put("in-flight", in_flight.encode().unwrap().into()).unwrap()),
            counters: part.counters,
            ..SubtaskMetadata::default()
        };
        let subtasks = own.iter().map(image).collect();
        operators.push(OperatorMetadata { id: id.into(), parallelism: own.len() as u32, subtasks });
    }
    let manifest = CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: "job".into(),
        job_name: "pressed".into(),
        checkpoint_id: 1,
        kind: CheckpointKind::Checkpoint,
        taken_at_ms: 0,
        seed: None,
        max_parallelism: 128,
        operators,
    };
    (Arc::new(manifest), Arc::new(files))
}

#[test]
fn an_unaligned_checkpoint_is_complete_after_one_turn_where_an_aligned_one_is_not() {
    let mut job = Job::start(2, None);
    // So much has been read that at least five batches wait for each subtask of the operator, and one is in its turn.
    while !matches!(job.event(), SubtaskEvent::CheckpointDue) {}
    (0..2).for_each(|_| assert!(job.entered.recv().is_ok()));

    job.execution.inject(barrier(1, BarrierKind::Checkpoint));
    job.one_turn();
    job.one_turn();
    while !job.events.is_empty() {
        job.event();
    }
    assert!(job.parts.iter().all(|part| SOURCES.contains(&&*part.node)), "the barrier stands behind what waits");

    // The sources are let through without any help of the operator, and it needs to end one turn.
    job.execution.overtake(barrier(1, BarrierKind::Checkpoint));
    job.await_parts(&SOURCES, 2);
    job.one_turn();
    job.await_parts(&["slow", "out"], 4);
    assert!(job.parts.iter().filter(|part| part.node == "slow").all(|part| part.in_flight.is_some()));

    // What was processed when it was taken, what was in flight, and what comes after the position: each number once.
    let parts = std::mem::take(&mut job.parts);
    let mut before = Vec::new();
    let seen = job.seen.lock().clone();
    for part in parts.iter().filter(|part| part.node == "slow") {
        let own = seen.iter().filter(|(subtask, _)| *subtask == part.subtask);
        before.extend(own.map(|(_, number)| *number).take(part.counters.records_in as usize));
    }
    drop(job);
    let (manifest, files) = image(parts);
    for parallelism in [2, 3] {
        let mut again = Job::start(parallelism, Some((manifest.clone(), files.clone())));
        again.permits.clear();
        for _ in 0..2 {
            while !matches!(again.event(), SubtaskEvent::SourceEnded) {}
        }
        // Ended sources go on answering barriers.
        again.execution.inject(barrier(2, BarrierKind::Checkpoint));
        again.execution.inject(barrier(3, BarrierKind::Final));
        again.await_parts(&["numbers", "others", "slow", "out"], 2 * (2 + 2 * parallelism as usize));
        let after = again.seen.lock().iter().map(|(_, number)| *number).collect::<Vec<_>>();
        let mut all = [before.clone(), after].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..2 * RECORDS), "parallelism {parallelism}: {} records", all.len());
        assert!(again.dir.path().exists());
    }
}
