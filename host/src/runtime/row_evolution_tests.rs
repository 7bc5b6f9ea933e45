//! A restore after the fields that functions read have changed: rows held by windows, co-groups and interval joins, and rows in flight
//! of an unaligned checkpoint.
//!
//! The sources are sockets, so that a test decides what has been read when the checkpoint is taken. The oracle is a job that ran the
//! new functions over all records without an interruption.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;

use super::testing::{barrier, checkpoint_barrier, execution_options, function};
use super::{
    BarrierKind, Execution, ExecutionPlan, FunctionPlan, GuestFactory, RestoredCheckpoint, SubtaskEvent,
    SubtaskSnapshot,
};
use crate::checkpoint::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use crate::model::row::{RowSchema, write_json};
use crate::model::{Batch, JoinedPairs, WindowElements, Windows};
use crate::pipeline::PipelineSpec;
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use crate::state::FileStore;
use crate::state::testing::TestStore;
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

const DEADLINE: Duration = Duration::from_secs(20);

/// The rows that all functions read before the checkpoint.
const BEFORE: &str = "{k:string,n:i64,s:string}";
/// The rows that they read after it: reordered, without `k`, and with an optional field that the sources do not have.
const AFTER: &str = "{s:string,extra:u8?,n:i64}";

/// The records of the left source that are read before the checkpoint, all in one window, and the first window of the right source.
const LEFT_BEFORE: [&str; 6] = [
    r#"{"k":"a","n":1,"s":"one","at":1000}"#,
    r#"{"k":"b","n":2,"s":"two","at":1001}"#,
    r#"{"k":"a","n":3,"s":"three","at":1002}"#,
    r#"{"k":"c","n":4,"s":"four","at":1003}"#,
    r#"{"k":"b","n":5,"s":"five","at":1004}"#,
    r#"{"k":"a","n":6,"s":"six","at":1005}"#,
];
const LEFT_AFTER: [&str; 2] = [r#"{"k":"a","n":7,"s":"seven","at":1500}"#, r#"{"k":"d","n":8,"s":"eight","at":9000}"#];
const RIGHT_AFTER: [&str; 4] = [
    r#"{"k":"a","n":-1,"s":"uno","at":1003}"#,
    r#"{"k":"b","n":-2,"s":"dos","at":1004}"#,
    r#"{"k":"c","n":-3,"s":"tres","at":4000}"#,
    r#"{"k":"d","n":-4,"s":"cuatro","at":9001}"#,
];

type CollectedLines = Arc<Mutex<Vec<(String, String)>>>;

/// Writes what it gets to `lines`, with its name. Waits for a permit before it handles records.
struct RowReader {
    name: &'static str,
    schema: Arc<RowSchema>,
    lines: CollectedLines,
    permits: Receiver<()>,
}

impl RowReader {
    fn json<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> String {
        let show = |row| {
            let mut json = Vec::new();
            write_json(&self.schema, row, &mut json).unwrap();
            String::from_utf8(json).unwrap()
        };
        rows.map(show).collect::<Vec<_>>().join(" ")
    }

    fn collect(&self, line: String) {
        self.lines.lock().push((self.name.to_owned(), line));
    }
}

impl Guest for RowReader {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        // Does not wait after the test has dropped the sender.
        let _ = self.permits.recv();
        assert_eq!(batch.schema.as_deref(), Some(&*self.schema));
        batch.values.iter().for_each(|row| self.collect(self.json(std::iter::once(row))));
        Ok(Vec::new())
    }

    fn process_windows(
        &mut self,
        _: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        for window in 0..windows.len() {
            let of_input = |input: &WindowElements| {
                let start = if window == 0 { 0 } else { input.ends[window - 1] };
                self.json((start..input.ends[window]).map(|element| input.values.value(element as usize)))
            };
            let key = String::from_utf8_lossy(windows.keys.distinct.value(windows.keys.key_of[window] as usize));
            let elements: Vec<String> = inputs.iter().map(of_input).collect();
            self.collect(format!("{key} {}: {}", windows.starts[window], elements.join(" | ")));
        }
        Ok(Vec::new())
    }

    fn join(&mut self, _: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        for (&left, &right) in pairs.left.value_of.iter().zip(&pairs.right.value_of) {
            let sides = [pairs.left.values.value(left as usize), pairs.right.values.value(right as usize)];
            self.collect(self.json(sides.into_iter()));
        }
        Ok(Vec::new())
    }
}

/// A running job with its sources.
struct EvolvingJob {
    /// Dropped first, so that the function `slow` waits no longer.
    permits: Option<Sender<()>>,
    execution: Execution,
    events: Receiver<SubtaskEvent>,
    left: TcpStream,
    right: TcpStream,
    lines: CollectedLines,
    _dir: tempfile::TempDir,
}

/// Describes a function that reads rows.
fn reader(name: &str, kind: FunctionKind, schema: &Arc<RowSchema>) -> FunctionDescription {
    let input = PortDescription { schema: Some(schema.clone()), ..PortDescription::new("in", "row") };
    let second_input = kind.has_two_inputs().then(|| input.clone());
    FunctionDescription { input, second_input, ..function(name, kind, "raw") }
}

const FUNCTIONS: [(&str, FunctionKind); 4] = [
    ("slow", FunctionKind::KeyedProcess),
    ("windows", FunctionKind::ProcessWindow),
    ("groups", FunctionKind::CoGroup),
    ("joins", FunctionKind::IntervalJoin),
];

/// `schema` are the rows that the functions read.
fn pipeline(addresses: [String; 2], schema: &RowSchema, parallelism: u32, backend: &str) -> PipelineSpec {
    let n = &schema.field("n").unwrap().1.value;
    let [left, right] = addresses.map(|address| {
        format!(
            "connector = \"socket\"\naddress = \"{address}\"\nformat = \"ndjson\"\nfields = {{ n = \"{n}\", s = \"string\" }}\n\
             timestamp = {{ field = \"at\", format = \"unix-ms\" }}\nwatermark = \"ascending\"\nparallelism = 1\n"
        )
    });
    let operator = |name: &str, rest: &str| {
        format!(
            "[operator.{name}]\ninput = \"left\"\nkey = {{ field = \"k\" }}\ncomponent = \"native\"\nfunction = \"{name}\"\n\
             parallelism = {parallelism}\n{rest}\n"
        )
    };
    let second = "second = \"right\"\nsecond_key = { field = \"k\" }";
    let window = "window = { type = \"tumbling\", size = \"5s\" }";
    let text = format!(
        "name = \"evolving\"\nmax_parallelism = 128\n[batch]\nrecords = 1\nlinger = \"0s\"\n[state]\nbackend = \"{backend}\"\n\
         [source.left]\n{left}[source.right]\n{right}{}{}{}{}\
         [sink.out]\ninputs = [\"slow\", \"windows\", \"groups\", \"joins\"]\nconnector = \"blackhole\"\nparallelism = 1\n",
        operator("slow", ""),
        operator("windows", window),
        operator("groups", &format!("{second}\n{window}")),
        operator("joins", &format!("{second}\ninterval = {{ lower = \"-10s\", upper = \"10s\" }}")),
    );
    PipelineSpec::parse(&text, "pipeline.toml").unwrap()
}

impl EvolvingJob {
    fn start(schema: &str, parallelism: u32, backend: &str, restore: Option<RestoredCheckpoint>) -> EvolvingJob {
        let schema: Arc<RowSchema> = Arc::new(schema.parse().unwrap());
        let lines = CollectedLines::default();
        let (permits, wait) = unbounded();
        let functions = FUNCTIONS.map(|(name, kind)| {
            let (schema, lines, wait) = (schema.clone(), lines.clone(), wait.clone());
            let description = reader(name, kind, &schema);
            let make: GuestFactory = Arc::new(move |_| {
                let (schema, lines, permits) = (schema.clone(), lines.clone(), wait.clone());
                Box::new(RowReader { name, schema, lines, permits })
            });
            (name.to_owned(), FunctionPlan { description, make })
        });
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap().to_string());
        let pipeline = pipeline(addresses, &schema, parallelism, backend);
        let plan = Arc::new(ExecutionPlan::new(pipeline, BTreeMap::from(functions), Path::new("")).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (options, events) = execution_options(dir.path(), dir.path(), restore);
        let execution = Execution::start(&plan, options).unwrap();
        let [left, right] = listeners.map(|listener| listener.accept().unwrap().0);
        EvolvingJob { permits: Some(permits), execution, events, left, right, lines, _dir: dir }
    }

    /// Waits until a node has received this number of records.
    fn await_records(&self, node: &str, records: u64) {
        const PAUSE: Duration = Duration::from_millis(2);
        for _ in 0..DEADLINE.as_millis() / PAUSE.as_millis() {
            let stats = self.execution.stats_reader().read();
            let received = stats.iter().find(|stats| stats.node == node).unwrap().counters.records_in;
            if received == records {
                return;
            }
            thread::sleep(PAUSE);
        }
        panic!("`{node}` has not received {records} records");
    }

    /// Waits until `count` subtasks have sent their snapshots. Adds them to `all`.
    fn await_snapshots(&self, count: usize, all: &mut Vec<SubtaskSnapshot>) {
        while all.len() < count {
            match self.events.recv_timeout(DEADLINE) {
                Ok(SubtaskEvent::Acknowledged { snapshots, .. }) => all.extend(snapshots),
                Ok(SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure)) => panic!("{failure:?}"),
                Ok(_) => {}
                Err(_) => {
                    let nodes: Vec<_> = all.iter().map(|snapshot| (&snapshot.node, snapshot.subtask)).collect();
                    panic!("only {nodes:?} have taken the checkpoint");
                }
            }
        }
    }

    /// Sends the remaining records, waits for the end, and returns the lines, sorted.
    fn finish(mut self, left: &[&str], right: &[&str]) -> Vec<(String, String)> {
        self.permits = None;
        send(&self.left, left);
        send(&self.right, right);
        [&self.left, &self.right].iter().for_each(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap());
        let mut ended = 0;
        while ended < 2 {
            match self.events.recv_timeout(DEADLINE).unwrap() {
                SubtaskEvent::SourceEnded => ended += 1,
                SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure) => panic!("{failure:?}"),
                _ => {}
            }
        }
        self.execution.inject(barrier(9, BarrierKind::Final));
        self.execution.join();
        let mut lines = std::mem::take(&mut *self.lines.lock());
        lines.sort();
        lines
    }
}

fn send(mut stream: &TcpStream, lines: &[&str]) {
    lines.iter().for_each(|line| writeln!(stream, "{line}").unwrap());
}

/// Stores snapshots as a checkpoint.
fn store(snapshots: Vec<SubtaskSnapshot>) -> RestoredCheckpoint {
    let files = TestStore::default();
    let mut operators: BTreeMap<String, Vec<(u32, SubtaskMetadata)>> = BTreeMap::new();
    for snapshot in snapshots {
        let put = |bytes: Vec<u8>| files.put("in-flight", bytes.into()).unwrap();
        let subtask = SubtaskMetadata {
            state: snapshot.state.map(|state| state.upload(&files, &[]).unwrap()),
            in_flight: snapshot.in_flight.map(|in_flight| put(in_flight.encode().unwrap())),
            counters: snapshot.counters,
            watermark: snapshot.watermark,
            ..SubtaskMetadata::default()
        };
        operators.entry(snapshot.node).or_default().push((snapshot.subtask, subtask));
    }
    let operators = operators.into_iter().map(|(id, mut subtasks)| {
        subtasks.sort_by_key(|(subtask, _)| *subtask);
        OperatorMetadata::new(&id, subtasks.into_iter().map(|(_, subtask)| subtask).collect())
    });
    let metadata = CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: "job".into(),
        job_name: "evolving".into(),
        checkpoint_id: 1,
        kind: CheckpointKind::Checkpoint,
        taken_at_ms: 0,
        seed: None,
        max_parallelism: 128,
        schemas: Vec::new(),
        operators: operators.collect(),
    };
    RestoredCheckpoint { metadata: Arc::new(metadata), files: Arc::new(files) }
}

/// Runs the old functions until all of [`LEFT_BEFORE`] is in windows, joins and in flight, and takes a checkpoint.
fn checkpoint(parallelism: u32, backend: &str) -> RestoredCheckpoint {
    let job = EvolvingJob::start(BEFORE, parallelism, backend, None);
    send(&job.left, &LEFT_BEFORE);
    ["windows", "groups", "joins"].iter().for_each(|node| job.await_records(node, LEFT_BEFORE.len() as u64));
    job.execution.inject(checkpoint_barrier(1));
    job.execution.overtake(checkpoint_barrier(1));
    let (slow, all) = (parallelism as usize, 3 + FUNCTIONS.len() * parallelism as usize);
    let mut snapshots = Vec::new();
    // The barrier has passed all but `slow` and the sink behind it. Each subtask of `slow` finishes its turn.
    job.await_snapshots(all - slow - 1, &mut snapshots);
    (0..slow).for_each(|_| job.permits.as_ref().unwrap().send(()).unwrap());
    job.await_snapshots(all, &mut snapshots);
    let in_flight = snapshots.iter().filter(|snapshot| snapshot.node == "slow");
    assert!(in_flight.filter_map(|snapshot| snapshot.in_flight.as_ref()).any(|in_flight| !in_flight.is_empty()));
    store(snapshots)
}

#[test]
fn rows_in_windows_joins_and_flight_are_read_by_a_function_with_other_fields() {
    let all: Vec<&str> = LEFT_BEFORE.into_iter().chain(LEFT_AFTER).collect();
    let expected = EvolvingJob::start(AFTER, 1, "memory", None).finish(&all, &RIGHT_AFTER);
    let of = |name: &str, lines: &[(String, String)]| {
        lines.iter().filter(|line| line.0 == name).map(|line| line.1.clone()).collect::<Vec<_>>()
    };
    assert_eq!((of("windows", &expected).len(), of("groups", &expected).len()), (4, 4));
    for (before, after) in
        [(("memory", 1), ("rocksdb", 3)), (("rocksdb", 2), ("rocksdb", 2)), (("rocksdb", 2), ("memory", 1))]
    {
        let checkpoint = checkpoint(before.1, before.0);
        let handled: u64 = checkpoint.metadata.subtasks("slow").iter().map(|slow| slow.counters.records_in).sum();
        let lines = EvolvingJob::start(AFTER, after.1, after.0, Some(checkpoint)).finish(&LEFT_AFTER, &RIGHT_AFTER);
        for name in ["windows", "groups", "joins"] {
            assert_eq!(of(name, &lines), of(name, &expected), "{name} after {before:?} and {after:?}");
        }
        // The records that `slow` had handled are the only ones that are missing.
        let (slow, all) = (of("slow", &lines), of("slow", &expected));
        assert_eq!(slow.len() as u64 + handled, all.len() as u64);
        assert!(slow.iter().all(|line| all.contains(line)), "{slow:?}");
    }
}

#[test]
fn rows_that_cannot_be_read_fail_the_start() {
    let checkpoint = checkpoint(1, "rocksdb");
    for schema in ["{n:i32,s:string}", "{n:i64,s:string,at:i64}"] {
        let job = EvolvingJob::start(schema, 1, "rocksdb", Some(checkpoint.clone()));
        let failure = loop {
            if let SubtaskEvent::Failed(failure) = job.events.recv_timeout(DEADLINE).unwrap() {
                break failure;
            }
        };
        assert!(["checkpoint-mismatch", "internal"].contains(&failure.code), "{failure:?}");
    }
}
