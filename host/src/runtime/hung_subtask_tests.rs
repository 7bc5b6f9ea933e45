//! A subtask that hangs in native code, as in a connector, is found by its heartbeat and abandoned. Others are not affected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use super::testing::{execution_options, function};
use super::{Execution, ExecutionPlan, FunctionPlan, GuestFactory, SubtaskEvent};
use crate::clock::SystemClock;
use crate::model::Batch;
use crate::pipeline::PipelineSpec;
use crate::sandbox::FunctionKind;
use crate::turn::{Guest, OutputBatch, Turn, TurnFailure};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Hangs in the second subtask until the test drops the sender.
struct HangingGuest {
    event: Receiver<()>,
}

impl Guest for HangingGuest {
    fn process(&mut self, turn: &mut Turn, _: u32, _: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        if turn.context.subtask == 1 {
            let _ = self.event.recv();
        }
        Ok(Vec::new())
    }
}

#[test]
fn a_hung_subtask_is_found_and_its_thread_is_abandoned() {
    let text = "name = \"hanging\"\nparallelism = 2\n[heartbeat]\ninterval = \"100ms\"\ntimeout = \"300ms\"\n\
                [source.numbers]\nconnector = \"generator\"\nrate = 100\n\
                [operator.hangs]\ninput = \"numbers\"\nkey = \"value\"\ncomponent = \"native\"\nfunction = \"hangs\"\n\
                [sink.out]\ninput = \"hangs\"\nconnector = \"blackhole\"\n";
    let (release, event) = unbounded::<()>();
    let make: GuestFactory = Arc::new(move |_| Box::new(HangingGuest { event: event.clone() }));
    let description = function("hangs", FunctionKind::KeyedProcess, "bytes");
    let functions = BTreeMap::from([("hangs".to_owned(), FunctionPlan { description, make })]);
    let pipeline = PipelineSpec::parse(text, "pipeline.toml").unwrap();
    let plan = Arc::new(ExecutionPlan::new(pipeline, functions, Path::new("")).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (options, events) = execution_options(dir.path(), dir.path(), None);
    let mut execution = Execution::start(&plan, options).unwrap();
    for _ in 0..execution.subtasks() {
        assert!(matches!(events.recv_timeout(TIMEOUT), Ok(SubtaskEvent::Opened)));
    }
    let clock = SystemClock::shared();
    let deadline_ns = clock.monotonic_ns() + u64::try_from(TIMEOUT.as_nanos()).unwrap();
    let failure = loop {
        let now_ns = clock.monotonic_ns();
        assert!(now_ns < deadline_ns, "the hung subtask is not found");
        if let Some(failure) = execution.check_heartbeats(now_ns) {
            break failure;
        }
        std::thread::sleep(Duration::from_nanos(execution.heartbeat_wait_ns(now_ns)));
    };
    assert_eq!((failure.code, &*failure.node, failure.subtask), ("subtask-hung", "hangs", 1));
    let abandoned: Vec<_> = execution.end_within(Duration::from_secs(1)).into_iter().collect();
    // The machine may be too busy to end the other threads within this time.
    assert!(abandoned.iter().any(|thread| (thread.node.as_str(), thread.subtask) == ("hangs", 1)));
    drop(release);
}
