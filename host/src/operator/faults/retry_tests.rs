//! Retries of failed records: their order, their number, and a cancel while one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::retry::{RETRIED, RETRIES, RetryPolicy};
use crate::clock::SystemClock;
use crate::model::{Batch, Counters, Fault, FaultCode};
use crate::operator::failure::OperatorFailure;
use crate::operator::function::FunctionOperator;
use crate::operator::interface::Operator;
use crate::operator::testing::function_settings;
use crate::operator::turn_runner::runner::FunctionSettings;
use crate::pipeline::{FaultPolicy, RetrySettings};
use crate::turn::{FIRST_INPUT, Guest, OutputBatch, OutputId, Turn, TurnContext, TurnFailure};
use crate::wakeup::Wakeup;

/// Emits its records, but fails the first `failures` turns that contain an `x`.
struct FlakyGuest {
    failures: u32,
    /// Set once the guest has failed this often.
    cancel_after: Option<(u32, RetryPolicy, Arc<AtomicBool>)>,
    failed: u32,
}

impl Guest for FlakyGuest {
    fn process(&mut self, _: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        if self.failed < self.failures && batch.values.iter().any(|value| value == b"x") {
            self.failed += 1;
            if let Some((_, policy, cancel)) = self.cancel_after.as_ref().filter(|(after, ..)| *after == self.failed) {
                cancel.store(true, Ordering::Relaxed);
                policy.wakeup.wake();
            }
            return Err(Fault::new(FaultCode::GuestError, "not yet").into());
        }
        Ok(vec![OutputBatch { output: OutputId::MAIN, batch: batch.clone() }])
    }
}

fn policy(attempts: u32, backoff: Duration) -> RetryPolicy {
    RetryPolicy { retry: RetrySettings { attempts, backoff }, wakeup: Wakeup::default() }
}

fn operator(guest: FlakyGuest, policy: RetryPolicy, cancel: Arc<AtomicBool>) -> FunctionOperator {
    let settings = function_settings(FaultPolicy::DeadLetter, 1024, SystemClock::shared());
    let settings = FunctionSettings { retry: Some(policy), cancel, ..settings };
    FunctionOperator::new(Box::new(guest), Turn::stateless(TurnContext::default()), settings, Counters::default())
}

/// Processes `a x b`. Returns the emitted records in order, and the number of letters.
fn run(operator: &mut FunctionOperator) -> Result<(String, usize), OperatorFailure> {
    let mut batch = Batch::default();
    [b"a", b"x", b"b"].iter().for_each(|value| batch.push(&value[..], 0));
    let mut outputs = Vec::new();
    operator.process(FIRST_INPUT, batch, &mut outputs)?;
    let (letters, emitted): (Vec<_>, Vec<_>) =
        outputs.into_iter().partition(|output| output.output == OutputId::DeadLetter);
    let emitted = emitted.iter().flat_map(|output| output.batch.values.iter());
    Ok((emitted.map(|value| String::from_utf8_lossy(value).into_owned()).collect(), letters.len()))
}

fn metrics(operator: &mut FunctionOperator) -> [Option<f64>; 2] {
    [RETRIES, RETRIED].map(|name| operator.turn().metrics().value(name))
}

#[test]
fn a_record_that_succeeds_in_a_retry_keeps_its_place() {
    // How often a batch is divided before the record is alone is not the subject: so many failures leave one for the retries.
    for failures in [3, 4, 5] {
        let guest = FlakyGuest { failures, cancel_after: None, failed: 0 };
        let mut operator = operator(guest, policy(5, Duration::ZERO), Arc::default());
        assert_eq!(run(&mut operator).unwrap(), ("axb".to_owned(), 0));
        assert_eq!(operator.counters().records_dead_lettered, 0);
        assert_eq!(operator.counters().faults, u64::from(failures));
    }
}

#[test]
fn the_policy_applies_after_the_last_retry() {
    let guest = FlakyGuest { failures: u32::MAX, cancel_after: None, failed: 0 };
    let mut operator = operator(guest, policy(4, Duration::from_millis(1)), Arc::default());
    assert_eq!(run(&mut operator).unwrap(), ("ab".to_owned(), 1));
    assert_eq!(metrics(&mut operator), [Some(4.0), Some(0.0)]);
    assert_eq!(operator.counters().records_dead_lettered, 1);
}

#[test]
fn a_cancel_ends_the_wait_for_a_retry() {
    let (policy, cancel) = (policy(1, Duration::from_secs(50)), Arc::new(AtomicBool::new(false)));
    // The guest is alone with its record after its third failure at the latest.
    let guest = FlakyGuest { failures: u32::MAX, cancel_after: Some((2, policy.clone(), cancel.clone())), failed: 0 };
    let mut operator = operator(guest, policy, cancel);
    assert!(matches!(run(&mut operator), Err(OperatorFailure::Cancelled)));
}
