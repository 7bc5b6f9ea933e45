//! Records of several megabytes on their way to a slow operator: what waits in the channels is bounded, and barriers get through.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::testing::{barrier, checkpoint_barrier, execution_options, function};
use super::{BarrierKind, Execution, ExecutionPlan, FunctionPlan, GuestFactory, SubtaskEvent};
use crate::model::{Batch, Column};
use crate::pipeline::PipelineSpec;
use crate::sandbox::FunctionKind;
use crate::turn::{Guest, OutputBatch, OutputId, Turn, TurnFailure};

const TIMEOUT: Duration = Duration::from_secs(120);
const RECORDS: usize = 96;
const RECORD_BYTES: usize = 2 << 20;
const PARALLELISM: usize = 4;
/// Records that fit into the budget of an edge. The pipeline has three.
const BUDGET_RECORDS: usize = 4;

/// Counts the large records that have been emitted and not received.
#[derive(Default)]
struct InFlight {
    now: AtomicUsize,
    largest: AtomicUsize,
    received: AtomicUsize,
}

/// Emits a large record for each of its records, with its number as key.
struct LargeGuest(Arc<InFlight>);

impl Guest for LargeGuest {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let mut large = Batch::default();
        let mut keys = Column::new();
        for value in batch.values.iter() {
            large.push(&vec![b'x'; RECORD_BYTES], 0);
            keys.push(value);
        }
        large.chosen_keys = Some(keys);
        let now = self.0.now.fetch_add(batch.len(), Ordering::SeqCst) + batch.len();
        self.0.largest.fetch_max(now, Ordering::SeqCst);
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: large }])
    }
}

/// Takes its time for each record.
struct SlowConsumer(Arc<InFlight>);

impl Guest for SlowConsumer {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        std::thread::sleep(Duration::from_millis(2));
        self.0.now.fetch_sub(batch.len(), Ordering::SeqCst);
        self.0.received.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(Vec::new())
    }
}

/// Runs the pipeline with a checkpoint after each tenth of the records. Returns what was in flight.
fn run(overtaking: bool) -> Arc<InFlight> {
    let budget = 3 * BUDGET_RECORDS * RECORD_BYTES;
    let text = format!(
        "name = \"large\"\nparallelism = {PARALLELISM}\n[batch]\nrecords = 1\nlinger = \"0s\"\nchannel_bytes = \"{budget}B\"\n\
         [source.numbers]\nconnector = \"generator\"\nrecords = {RECORDS}\ntemplate = \"{{n}}\"\n\
         [operator.large]\ninput = \"numbers\"\ncomponent = \"native\"\nfunction = \"large\"\nparallelism = 3\n\
         [operator.slow]\ninput = \"large\"\nkey = \"emitted\"\ncomponent = \"native\"\nfunction = \"slow\"\n\
         [sink.out]\ninput = \"slow\"\nconnector = \"blackhole\"\nparallelism = 2"
    );
    let in_flight = Arc::<InFlight>::default();
    let (for_large, for_slow) = (in_flight.clone(), in_flight.clone());
    let large: GuestFactory = Arc::new(move |_| Box::new(LargeGuest(for_large.clone())));
    let slow: GuestFactory = Arc::new(move |_| Box::new(SlowConsumer(for_slow.clone())));
    let plan_of = |name: &str, kind, make| {
        let description = function(name, kind, "bytes");
        (name.to_owned(), FunctionPlan { description, make })
    };
    let functions = BTreeMap::from([
        plan_of("large", FunctionKind::Process, large),
        plan_of("slow", FunctionKind::KeyedProcess, slow),
    ]);
    let pipeline = PipelineSpec::parse(&text, "pipeline.toml").unwrap();
    let plan = Arc::new(ExecutionPlan::new(pipeline, functions, Path::new("")).unwrap());
    assert_eq!(plan.graph.edges.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let (options, events) = execution_options(dir.path(), dir.path(), None);
    let mut execution = Execution::start(&plan, options).unwrap();
    let (mut ended, mut checkpoint, mut final_snapshots) = (0, 0, 0);
    let mut begin = |kind| {
        checkpoint += 1;
        let barrier =
            if kind == BarrierKind::Final { barrier(checkpoint, kind) } else { checkpoint_barrier(checkpoint) };
        execution.inject(barrier);
        if overtaking && kind != BarrierKind::Final {
            execution.overtake(barrier);
        }
        checkpoint
    };
    let stats = execution.stats_reader();
    let queued = || stats.read().iter().map(|node| node.queued_bytes).max().unwrap_or(0);
    let mut most_queued = 0;
    let mut last = begin(BarrierKind::Checkpoint);
    while final_snapshots < PARALLELISM + 3 + PARALLELISM + 2 {
        let event = events.recv_timeout(TIMEOUT).expect("the job makes progress");
        most_queued = most_queued.max(queued());
        match event {
            SubtaskEvent::SourceEnded => {
                ended += 1;
                if ended == PARALLELISM {
                    last = begin(BarrierKind::Final);
                }
            }
            SubtaskEvent::Acknowledged { checkpoint, snapshots } if checkpoint == last => {
                if ended == PARALLELISM {
                    final_snapshots += snapshots.len();
                } else if snapshots.iter().any(|snapshot| snapshot.node == "out" && snapshot.subtask == 0) {
                    last = begin(BarrierKind::Checkpoint);
                }
            }
            SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure) => panic!("{failure:?}"),
            _ => {}
        }
    }
    execution.join();
    assert!(most_queued > 0, "the receivers are slow, so that records wait for them");
    assert_eq!(queued(), 0);
    in_flight
}

#[test]
fn large_records_wait_at_their_sources_and_none_is_lost() {
    for overtaking in [false, true] {
        let in_flight = run(overtaking);
        assert_eq!(in_flight.received.load(Ordering::SeqCst), RECORDS);
        // The budget of the edge, its overdraft, and two records per sender and one per receiver outside of the channels. While a
        // barrier overtakes, each sender may finish one turn.
        let most = BUDGET_RECORDS + 1 + 3 * 2 + PARALLELISM + if overtaking { 3 } else { 0 };
        let largest = in_flight.largest.load(Ordering::SeqCst);
        assert!(largest <= most, "{largest} records were in flight, and {most} are allowed");
    }
}
