//! Windows in a pipeline, from files to the end of the job; and what is refused before anything starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::unbounded;
use parking_lot::Mutex;

use super::*;
use crate::clock::SystemClock;
use crate::error::Result;
use crate::model::Batch;
use crate::pipeline::PipelineSpec;
use crate::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use crate::state::{SnapshotFormat, StateDescription, StateKind, TimeToLive, TtlUpdate};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Remembers the records that it sees.
struct Collecting(Arc<Mutex<Vec<String>>>);

impl Guest for Collecting {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let values = batch.values.iter().zip(&batch.timestamps);
        let lines = values.map(|(value, at)| format!("{}@{at}", String::from_utf8_lossy(value)));
        self.0.lock().extend(lines);
        Ok(Vec::new())
    }
}

fn function(name: &str, kind: FunctionKind) -> FunctionDescription {
    let port = PortDescription { name: "port".into(), codec: "json".into() };
    FunctionDescription {
        name: name.into(),
        kind,
        input: port.clone(),
        second_input: kind.has_two_inputs().then(|| port.clone()),
        timers: Vec::new(),
        outputs: vec![port],
        internal: Vec::new(),
        states: Vec::new(),
        broadcast_states: Vec::new(),
    }
}

/// Runs a pipeline with one source to its end. What reaches the operators `results` and `late`, sorted.
fn run(manifest: &str, dir: &Path) -> [Vec<String>; 2] {
    let seen: [Arc<Mutex<Vec<String>>>; 2] = Default::default();
    let collecting = |name: &str, seen: &Arc<Mutex<Vec<String>>>| {
        let seen = seen.clone();
        let make: GuestFactory = Arc::new(move |_| Box::new(Collecting(seen.clone())));
        (name.to_owned(), FunctionPlan { description: function(name, FunctionKind::Process), make })
    };
    let functions = BTreeMap::from([collecting("results", &seen[0]), collecting("late", &seen[1])]);
    let plan =
        Arc::new(ExecutionPlan::new(PipelineSpec::parse(manifest, "pipeline.toml").unwrap(), functions, dir).unwrap());
    let (sender, events) = unbounded();
    let working = tempfile::tempdir().unwrap();
    let options = ExecutionOptions {
        job_id: "job".into(),
        base_dir: dir.to_owned(),
        working_dir: working.path().to_owned(),
        seed: 7,
        restarts: 0,
        clock: SystemClock::shared(),
        restore: None,
        interrupt: crate::model::Interrupt::default(),
        allow_unclaimed_state: false,
        reset_watermarks: false,
        notify: Arc::new(move |event| drop(sender.send(event))),
    };
    let mut execution = Execution::start(&plan, options).unwrap();
    loop {
        match events.recv().unwrap() {
            SubtaskEvent::SourceEnded => break,
            SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure) => panic!("{failure:?}"),
            SubtaskEvent::Acknowledged { .. }
            | SubtaskEvent::CheckpointDue
            | SubtaskEvent::Warning(_)
            | SubtaskEvent::Opened => {}
        }
    }
    execution.inject(Barrier {
        checkpoint: 1,
        kind: BarrierKind::Final,
        format: SnapshotFormat::Canonical,
        triggered_ns: 0,
    });
    execution.join();
    seen.map(|seen| {
        let mut seen = std::mem::take(&mut *seen.lock());
        seen.sort();
        seen
    })
}

/// With records in order only, the record at 500 is late behind 3000: [0, 1000) has fired.
#[test]
fn a_native_aggregate_needs_no_component_and_late_records_are_an_output() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "who,n,at\na,1,0\nb,2,10\na,4,999\na,8,1000\nb,16,3000\na,32,500\nb,64,3001\n";
    fs::write(dir.path().join("in.csv"), lines).unwrap();
    for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
        let manifest = format!(
            "name = \"windows\"\n[batch]\nrecords = 1\nlinger = \"0s\"\n[state]\nbackend = \"{backend}\"\n\
             [source.lines]\nconnector = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\n\
             timestamp = {{ field = \"at\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"0s\" }}\n\
             [operator.sums]\ninput = \"lines\"\nkey = {{ field = \"who\" }}\nparallelism = {parallelism}\n\
             window = {{ type = \"tumbling\", size = \"1s\" }}\naggregate = {{ type = \"sum\", field = \"n\" }}\n\
             [operator.results]\ninput = \"sums\"\ncomponent = \"native\"\nfunction = \"results\"\n\
             [operator.late]\ninput = \"sums.late\"\ncomponent = \"native\"\nfunction = \"late\"\n\
             [sink.out]\ninputs = [\"results\", \"late\"]\nconnector = \"blackhole\"\n"
        );
        let [results, late] = run(&manifest, dir.path());
        let result = |key: &str, start: i64, sum: i64| {
            let end = start + 1000;
            format!("{{\"end\":{end},\"key\":\"{key}\",\"start\":{start},\"sum\":{sum}}}@{}", end - 1)
        };
        // The watermark reaches the operator every now and then only, so the record may be in time: either way nothing is lost.
        match &late[..] {
            [] => assert!(results.contains(&result("a", 0, 37)), "{results:?}"),
            late => {
                assert_eq!(late, ["a,32,500@500"]);
                assert!(results.contains(&result("a", 0, 5)), "{results:?}");
            }
        }
        for expected in [result("b", 0, 2), result("a", 1000, 8), result("b", 3000, 80)] {
            assert!(results.contains(&expected), "{expected} is not in {results:?}");
        }
        assert_eq!(results.len(), 4);
    }
}

#[test]
fn windows_and_functions_that_do_not_fit_are_refused() {
    let check = |function: FunctionDescription, windows: &str| {
        let make: GuestFactory = Arc::new(|_| Box::new(Collecting(Arc::default())));
        let manifest = format!(
            "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n\
             timestamp = {{ column = 0, format = \"unix-ms\" }}\n\
             [operator.op]\ninput = \"numbers\"\nkey = \"value\"\ncomponent = \"c\"\nfunction = \"f\"\n{windows}\n\
             [sink.out]\ninput = \"op\"\nconnector = \"blackhole\"\n"
        );
        let functions = BTreeMap::from([("op".to_owned(), FunctionPlan { description: function, make })]);
        ExecutionPlan::new(PipelineSpec::parse(&manifest, "pipeline.toml")?, functions, Path::new("")).map(drop)
    };
    let tumbling = "window = { type = \"tumbling\", size = \"1s\" }";
    let session = "window = { type = \"session\", gap = \"1s\" }";
    let ttl = Some(TimeToLive { milliseconds: 1, update: TtlUpdate::CreateAndWrite, return_expired: false });
    let state = StateDescription { ttl, ..StateDescription::new("s", StateKind::Aggregating, "raw", "s") };
    let of = |kind| function("f", kind);
    let with_state = |kind| FunctionDescription { states: vec![state.clone()], ..function("f", kind) };
    assert!(check(of(FunctionKind::Aggregate), tumbling).is_ok());
    assert!(check(of(FunctionKind::ProcessWindow), session).is_ok());
    for (function, windows, part) in [
        (of(FunctionKind::Aggregate), "", "so it needs a `window`"),
        (of(FunctionKind::ProcessWindow), "", "so it needs a `window`"),
        (of(FunctionKind::KeyedProcess), tumbling, "of kind keyed-process, sees none"),
        (with_state(FunctionKind::Aggregate), tumbling, "has a time to live"),
        (with_state(FunctionKind::ProcessWindow), session, "sessions merge"),
    ] {
        let error = check(function, windows).unwrap_err();
        assert_eq!(error.code, "manifest-invalid");
        assert!(error.message.contains(part), "{}", error.message);
    }
}
