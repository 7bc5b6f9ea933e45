//! Unaligned checkpoints of a job whose operator is too slow: the sources wait in front of full channels, and the operator takes one
//! batch whenever the test permits it. The test does not depend on timing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::testing::{barrier, checkpoint_barrier, execution_options, function};
use super::{
    BarrierKind, Execution, ExecutionPlan, FunctionPlan, GuestFactory, RestoredCheckpoint, SubtaskEvent,
    SubtaskSnapshot,
};
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::error::{Result, internal};
use crate::model::Batch;
use crate::pipeline::PipelineSpec;
use crate::sandbox::FunctionKind;
use crate::state::{FileRef, FileStore};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Number of records of each input.
const RECORDS: u64 = 1_500;

const SOURCES: [&str; 2] = ["numbers", "others"];

/// Waits for a permit in each turn, and collects the numbers that it has seen.
struct SlowGuest {
    entered: Sender<u32>,
    /// The permits of each subtask.
    permits: Vec<Receiver<()>>,
    seen: Arc<Mutex<Vec<(u32, u64)>>>,
}

impl Guest for SlowGuest {
    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let subtask = turn.context.subtask;
        let _ = self.entered.send(subtask);
        // Does not wait after the test has dropped the sender.
        let _ = self.permits[subtask as usize].recv();
        self.seen.lock().extend(numbers(input, batch).map(|number| (subtask, number)));
        Ok(Vec::new())
    }
}

/// Returns the numbers of a batch. Records are `number,key` in the first input and `key,number` in the second one, whose numbers
/// follow those of the first.
fn numbers(input: u32, batch: &Batch) -> impl Iterator<Item = u64> {
    let number = |value: &[u8]| {
        let number = std::str::from_utf8(value).unwrap().split(',').nth(input as usize).unwrap();
        number.parse::<u64>().unwrap() + u64::from(input) * RECORDS
    };
    batch.values.iter().map(number).collect::<Vec<u64>>().into_iter()
}

/// Keeps the files of a checkpoint in memory.
#[derive(Default)]
struct MemoryFiles(Mutex<HashMap<String, Bytes>>);

impl FileStore for MemoryFiles {
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
        Err(internal("the job has no state"))
    }

    fn get_file(&self, _: &FileRef, _: &Path) -> Result<()> {
        Err(internal("the job has no state"))
    }
}

/// A running job, with its channels to the test.
struct TestJob {
    /// The permits for each subtask of the operator. Dropped first, so that no subtask waits while the job is dropped.
    permits: Vec<Sender<()>>,
    execution: Execution,
    events: Receiver<SubtaskEvent>,
    entered: Receiver<u32>,
    seen: Arc<Mutex<Vec<(u32, u64)>>>,
    snapshots: Vec<SubtaskSnapshot>,
    dir: tempfile::TempDir,
}

impl TestJob {
    fn start(parallelism: u32, restore: Option<RestoredCheckpoint>) -> TestJob {
        let pipeline_text = format!(
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
            Box::new(SlowGuest { entered, permits, seen })
        });
        let description = function("slow", FunctionKind::CoProcess, "bytes");
        let functions = BTreeMap::from([("slow".to_owned(), FunctionPlan { description, make })]);
        let pipeline = PipelineSpec::parse(&pipeline_text, "pipeline.toml").unwrap();
        let plan = Arc::new(ExecutionPlan::new(pipeline, functions, Path::new("")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (options, events) = execution_options(dir.path(), dir.path(), restore);
        let execution = Execution::start(&plan, options).unwrap();
        TestJob { permits: give, execution, events, entered, seen, snapshots: Vec::new(), dir }
    }

    /// Returns the next event. Keeps its snapshots.
    fn event(&mut self) -> SubtaskEvent {
        let mut event = self.events.recv().unwrap();
        if let SubtaskEvent::Acknowledged { snapshots, .. } = &mut event {
            self.snapshots.append(snapshots);
        }
        if let SubtaskEvent::Failed(failure) = &event {
            panic!("{failure:?}");
        }
        event
    }

    /// Waits until `count` subtasks of these nodes have sent their snapshots.
    fn await_snapshots(&mut self, nodes: &[&str], count: usize) {
        while self.snapshots.iter().filter(|snapshot| nodes.contains(&snapshot.node.as_str())).count() < count {
            self.event();
        }
    }

    /// Lets every subtask of the operator finish its turn and start the next one.
    fn one_turn(&self) {
        self.permits.iter().for_each(|permits| permits.send(()).unwrap());
        self.permits.iter().for_each(|_| assert!(self.entered.recv().is_ok()));
    }
}

/// Stores the snapshots as a checkpoint.
fn store_checkpoint(snapshots: Vec<SubtaskSnapshot>) -> RestoredCheckpoint {
    let files = MemoryFiles::default();
    let mut operators = Vec::new();
    for id in ["numbers", "others", "slow", "out"] {
        let mut own: Vec<&SubtaskSnapshot> = snapshots.iter().filter(|snapshot| snapshot.node == id).collect();
        own.sort_by_key(|snapshot| snapshot.subtask);
        let to_metadata = |snapshot: &&SubtaskSnapshot| SubtaskMetadata {
            source_position: snapshot.source_position.clone(),
            in_flight: snapshot
                .in_flight
                .as_ref()
                .map(|in_flight| files.put("in-flight", in_flight.encode().unwrap().into()).unwrap()),
            counters: snapshot.counters,
            ..SubtaskMetadata::default()
        };
        let subtasks = own.iter().map(to_metadata).collect();
        operators.push(OperatorMetadata::new(id, subtasks));
    }
    let metadata = CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: "job".into(),
        job_name: "pressed".into(),
        checkpoint_id: 1,
        kind: CheckpointKind::Checkpoint,
        taken_at_ms: 0,
        seed: None,
        max_parallelism: 128,
        schemas: Vec::new(),
        operators,
    };
    RestoredCheckpoint { metadata: Arc::new(metadata), files: Arc::new(files) }
}

#[test]
fn an_unaligned_checkpoint_completes_after_one_turn_while_an_aligned_one_does_not() {
    let mut job = TestJob::start(2, None);
    // Enough has been read that at least five batches wait for each subtask of the operator, and one is being processed.
    while !matches!(job.event(), SubtaskEvent::CheckpointDue) {}
    (0..2).for_each(|_| assert!(job.entered.recv().is_ok()));

    job.execution.inject(checkpoint_barrier(1));
    job.one_turn();
    job.one_turn();
    while !job.events.is_empty() {
        job.event();
    }
    assert!(
        job.snapshots.iter().all(|snapshot| SOURCES.contains(&&*snapshot.node)),
        "the barrier waits behind the records"
    );

    // The sources pass the barrier although the operator is blocked. The operator needs to finish one turn.
    job.execution.overtake(checkpoint_barrier(1));
    job.await_snapshots(&SOURCES, 2);
    job.one_turn();
    job.await_snapshots(&["slow", "out"], 4);
    assert!(
        job.snapshots.iter().filter(|snapshot| snapshot.node == "slow").all(|snapshot| snapshot.in_flight.is_some())
    );

    // Processed before the checkpoint, in flight, or read after the position: each number is seen once.
    let snapshots = std::mem::take(&mut job.snapshots);
    let mut before = Vec::new();
    let seen = job.seen.lock().clone();
    for snapshot in snapshots.iter().filter(|snapshot| snapshot.node == "slow") {
        let own = seen.iter().filter(|(subtask, _)| *subtask == snapshot.subtask);
        before.extend(own.map(|(_, number)| *number).take(snapshot.counters.records_in as usize));
    }
    drop(job);
    let checkpoint = store_checkpoint(snapshots);
    for parallelism in [2, 3] {
        let mut again = TestJob::start(parallelism, Some(checkpoint.clone()));
        again.permits.clear();
        for _ in 0..2 {
            while !matches!(again.event(), SubtaskEvent::SourceEnded) {}
        }
        // Sources that have ended still answer barriers.
        again.execution.inject(checkpoint_barrier(2));
        again.execution.inject(barrier(3, BarrierKind::Final));
        again.await_snapshots(&["numbers", "others", "slow", "out"], 2 * (2 + 2 * parallelism as usize));
        let after = again.seen.lock().iter().map(|(_, number)| *number).collect::<Vec<_>>();
        let mut all = [before.clone(), after].concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..2 * RECORDS), "parallelism {parallelism}: {} records", all.len());
        assert!(again.dir.path().exists());
    }
}
