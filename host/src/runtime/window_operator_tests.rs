//! Window operators in a pipeline, from files to the end of the job; and the combinations that are refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::testing::{function, run_to_end};
use super::{ExecutionPlan, FunctionPlan, GuestFactory};
use crate::error::Result;
use crate::model::Batch;
use crate::pipeline::PipelineSpec;
use crate::sandbox::{FunctionDescription, FunctionKind};
use crate::state::{StateDescription, StateKind, TimeToLive, TtlUpdate};
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

/// Collects its records.
struct RecordCollector(Arc<Mutex<Vec<String>>>);

impl Guest for RecordCollector {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let values = batch.values.iter().zip(&batch.timestamps);
        let lines = values.map(|(value, at)| format!("{}@{at}", String::from_utf8_lossy(value)));
        self.0.lock().extend(lines);
        Ok(Vec::new())
    }
}

/// Runs a pipeline with one source to its end. Returns the records that reach the operators `results` and `late`, sorted.
fn run(pipeline_text: &str, dir: &Path) -> [Vec<String>; 2] {
    let seen: [Arc<Mutex<Vec<String>>>; 2] = Default::default();
    let collector = |name: &str, seen: &Arc<Mutex<Vec<String>>>| {
        let seen = seen.clone();
        let make: GuestFactory = Arc::new(move |_| Box::new(RecordCollector(seen.clone())));
        let description = function(name, FunctionKind::Process, "json");
        (name.to_owned(), FunctionPlan { description, make })
    };
    let functions = BTreeMap::from([collector("results", &seen[0]), collector("late", &seen[1])]);
    let pipeline = PipelineSpec::parse(pipeline_text, "pipeline.toml").unwrap();
    let plan = Arc::new(ExecutionPlan::new(pipeline, functions, dir).unwrap());
    run_to_end(&plan, dir, 1);
    seen.map(|seen| {
        let mut seen = std::mem::take(&mut *seen.lock());
        seen.sort();
        seen
    })
}

/// The out-of-orderness is 0, so the record at 500 is late after the one at 3000: the window [0, 1000) has fired.
#[test]
fn a_native_aggregate_needs_no_component_and_emits_late_records() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "who,n,at\na,1,0\nb,2,10\na,4,999\na,8,1000\nb,16,3000\na,32,500\nb,64,3001\n";
    fs::write(dir.path().join("in.csv"), lines).unwrap();
    for (backend, parallelism) in [("memory", 1), ("memory", 3), ("rocksdb", 1), ("rocksdb", 3)] {
        let pipeline_text = format!(
            "name = \"windows\"\n[batch]\nrecords = 1\nlinger = \"0s\"\n[state]\nbackend = \"{backend}\"\n\
             [source.lines]\nconnector = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\n\
             timestamp = {{ field = \"at\", format = \"unix-ms\" }}\nwatermark = {{ out_of_orderness = \"0s\" }}\n\
             [operator.sums]\ninput = \"lines\"\nkey = {{ field = \"who\" }}\nparallelism = {parallelism}\n\
             window = {{ type = \"tumbling\", size = \"1s\" }}\naggregate = {{ type = \"sum\", field = \"n\" }}\n\
             [operator.results]\ninput = \"sums\"\ncomponent = \"native\"\nfunction = \"results\"\n\
             [operator.late]\ninput = \"sums.late\"\ncomponent = \"native\"\nfunction = \"late\"\n\
             [sink.out]\ninputs = [\"results\", \"late\"]\nconnector = \"blackhole\"\n"
        );
        let [results, late] = run(&pipeline_text, dir.path());
        let result = |key: &str, start: i64, sum: i64| {
            let (start, end) = (start / 1000, start / 1000 + 1);
            let [first, last] = [start, end].map(|second| format!("1970-01-01T00:00:0{second}Z"));
            let at = end * 1000 - 1;
            format!("{{\"who\":\"{key}\",\"start\":\"{first}\",\"end\":\"{last}\",\"sum\":{sum}}}@{at}")
        };
        // Watermarks are sent at intervals, so the record may still be in time. Either way no record is lost.
        match &late[..] {
            [] => assert!(results.contains(&result("a", 0, 37)), "{results:?}"),
            late => {
                assert_eq!(late, [r#"{"who":"a","n":"32","at":"500"}@500"#]);
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
fn windows_that_do_not_suit_their_function_are_refused() {
    let check = |function: FunctionDescription, windows: &str| {
        let make: GuestFactory = Arc::new(|_| Box::new(RecordCollector(Arc::default())));
        let pipeline_text = format!(
            "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n\
             timestamp = {{ column = 0, format = \"unix-ms\" }}\n\
             [operator.op]\ninput = \"numbers\"\nkey = \"value\"\ncomponent = \"c\"\nfunction = \"f\"\n{windows}\n\
             [sink.out]\ninput = \"op\"\nconnector = \"blackhole\"\n"
        );
        let functions = BTreeMap::from([("op".to_owned(), FunctionPlan { description: function, make })]);
        ExecutionPlan::new(PipelineSpec::parse(&pipeline_text, "pipeline.toml")?, functions, Path::new("")).map(drop)
    };
    let tumbling = "window = { type = \"tumbling\", size = \"1s\" }";
    let session = "window = { type = \"session\", gap = \"1s\" }";
    let ttl = Some(TimeToLive { milliseconds: 1, update: TtlUpdate::CreateAndWrite, return_expired: false });
    let state = StateDescription { ttl, ..StateDescription::new("s", StateKind::Aggregating, "raw", "s") };
    let of_kind = |kind| function("f", kind, "raw");
    let with_state = |kind| FunctionDescription { states: vec![state.clone()], ..of_kind(kind) };
    assert!(check(of_kind(FunctionKind::Aggregate), tumbling).is_ok());
    assert!(check(of_kind(FunctionKind::ProcessWindow), session).is_ok());
    for (function, windows, part) in [
        (of_kind(FunctionKind::Aggregate), "", "so it needs a `window`"),
        (of_kind(FunctionKind::ProcessWindow), "", "so it needs a `window`"),
        (of_kind(FunctionKind::KeyedProcess), tumbling, "of kind keyed-process, takes none"),
        (with_state(FunctionKind::Aggregate), tumbling, "has a time to live"),
        (with_state(FunctionKind::ProcessWindow), session, "because they merge"),
    ] {
        let error = check(function, windows).unwrap_err();
        assert_eq!(error.code, "manifest-invalid");
        assert!(error.message.contains(part), "{}", error.message);
    }
}
