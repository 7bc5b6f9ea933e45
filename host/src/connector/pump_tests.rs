//! The bridge between an asynchronous client and its source.

use std::path::Path;
use std::time::Duration;

use super::context::ConnectorContext;
use super::pump::{Pump, PumpClosed, PumpPosition, PumpSender, PumpedBatch};
use super::source::{Poll, SplitId};
use super::testing::context;
use crate::error::{Result, source_failed};
use crate::model::Batch;

const ONE: SplitId = SplitId(1);
const DEADLINE: Duration = Duration::from_secs(60);

/// A source that a client on a runtime of two threads feeds.
struct PumpHarness {
    pump: Pump<u64>,
    context: ConnectorContext,
    _runtime: tokio::runtime::Runtime,
}

impl PumpHarness {
    fn start<F>(capacity: usize, client: impl FnOnce(PumpSender<u64>) -> F) -> PumpHarness
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let context = ConnectorContext { runtime: Some(runtime.handle().clone()), ..context(Path::new("")) };
        let start = PumpPosition { behind: 0, taken: 0 };
        let positions = [(SplitId::ONLY, start), (ONE, start)].into();
        let pump = Pump::start(&context, positions, capacity, client).unwrap();
        PumpHarness { pump, context, _runtime: runtime }
    }

    /// Polls until there are records, or the source has ended.
    fn next(&mut self, records: usize) -> Result<(Poll, Vec<String>)> {
        for _ in 0..10_000 {
            let mut batch = Batch::default();
            match self.pump.poll(&mut batch, records)? {
                Poll::Pending(_) => self.context.wakeup.wait(DEADLINE / 1000),
                poll => {
                    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                    return Ok((poll, batch.values.iter().map(text).collect()));
                }
            }
        }
        panic!("the client sends nothing and does not end");
    }

    fn position(&self, split: SplitId) -> (u64, u64) {
        let position = self.pump.position(split).unwrap();
        (position.behind, position.taken)
    }
}

fn batch_of(split: SplitId, numbers: std::ops::Range<u64>) -> PumpedBatch<u64> {
    let behind = numbers.end;
    let mut batch = Batch::default();
    numbers.for_each(|number| batch.push(number.to_string().as_bytes(), number as i64));
    PumpedBatch { split, batch, behind }
}

#[test]
fn records_arrive_in_order_and_the_position_is_exact_within_a_batch() {
    let mut harness = PumpHarness::start(2, |mut sender| async move {
        for first in [0, 3, 6] {
            sender.send(batch_of(SplitId::ONLY, first..first + 3)).await.unwrap();
        }
        Ok(())
    });
    assert_eq!(harness.next(2).unwrap().1, ["0", "1"]);
    assert_eq!(harness.position(SplitId::ONLY), (0, 2));
    assert_eq!(harness.next(2).unwrap().1, ["2"], "a poll returns records of one batch");
    assert_eq!(harness.position(SplitId::ONLY), (3, 0));
    assert_eq!(harness.next(10).unwrap().1, ["3", "4", "5"]);
    harness.pump.give_back(2);
    assert_eq!(harness.position(SplitId::ONLY), (3, 1));
    assert_eq!(harness.next(10).unwrap().1, ["6", "7", "8"]);
    assert_eq!(harness.next(10).unwrap().0, Poll::End);
    assert_eq!(harness.next(10).unwrap().0, Poll::End);
}

#[test]
fn a_paused_split_waits_and_loses_nothing() {
    let mut harness = PumpHarness::start(4, |mut sender| async move {
        let mut other = sender.clone();
        sender.send(batch_of(SplitId::ONLY, 0..2)).await.unwrap();
        sender.send(batch_of(SplitId::ONLY, 2..4)).await.unwrap();
        sender.send(batch_of(ONE, 10..12)).await.unwrap();
        let rest = tokio::spawn(async move { sender.send(batch_of(SplitId::ONLY, 4..6)).await });
        other.send(batch_of(ONE, 12..13)).await.unwrap();
        rest.await.unwrap().unwrap();
        Ok(())
    });
    assert_eq!(harness.next(1).unwrap().1, ["0"]);
    harness.pump.pause(&[SplitId::ONLY]);
    assert_eq!(harness.next(5).unwrap(), (Poll::Records(ONE), vec!["10".to_owned(), "11".to_owned()]));
    assert_eq!(harness.next(5).unwrap().1, ["12"]);
    assert_eq!(harness.position(SplitId::ONLY), (0, 1));
    let mut batch = Batch::default();
    assert_eq!(harness.pump.poll(&mut batch, 5).unwrap(), Poll::Pending(Duration::MAX));
    harness.pump.pause(&[ONE]);
    let rest: Vec<String> = (0..3).flat_map(|_| harness.next(5).unwrap().1).collect();
    assert_eq!(rest, ["1", "2", "3", "4", "5"]);
    assert_eq!(harness.next(5).unwrap().0, Poll::End);
}

async fn defective(_: PumpSender<u64>) -> Result<()> {
    panic!("a defect of the client")
}

#[test]
fn an_error_follows_all_records_and_is_repeated_and_a_panic_is_an_error() {
    let mut harness = PumpHarness::start(4, |mut sender| async move {
        sender.send(batch_of(SplitId::ONLY, 0..1)).await.unwrap();
        Err(source_failed("the peer is gone for good"))
    });
    assert_eq!(harness.next(5).unwrap().1, ["0"]);
    assert_eq!(harness.next(5).unwrap_err().code, "source-failed");
    assert_eq!(harness.next(5).unwrap_err().code, "source-failed");

    let mut harness = PumpHarness::start(4, defective);
    assert_eq!(harness.next(5).unwrap_err().code, "internal");
}

#[test]
fn a_full_channel_holds_the_client_up_and_a_closed_source_ends_it() {
    let (sent, received) = std::sync::mpsc::channel();
    let mut harness = PumpHarness::start(2, |mut sender| async move {
        for number in 0.. {
            match sender.send(batch_of(SplitId::ONLY, number..number + 1)).await {
                Ok(()) => sent.send(number).unwrap(),
                Err(PumpClosed) => return Ok(()),
            }
        }
        Ok(())
    });
    assert_eq!(received.recv_timeout(DEADLINE), Ok(0));
    assert_eq!(received.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(harness.next(1).unwrap().1, ["0"]);
    assert_eq!(received.recv_timeout(DEADLINE), Ok(2), "there is room for one more");
    drop(harness.pump);
    // The task drops its sender. What it has sent until then is at most one batch for each that was taken.
    while let Ok(number) = received.recv_timeout(DEADLINE) {
        assert!(number <= 3);
    }
}

#[test]
fn a_client_needs_a_runtime_and_open_splits() {
    let none = Pump::<u64>::start(&context(Path::new("")), Default::default(), 1, |_| async { Ok(()) });
    assert_eq!(none.err().unwrap().code, "internal");
    let mut harness = PumpHarness::start(1, |mut sender| async move {
        sender.send(batch_of(SplitId(7), 0..1)).await.unwrap();
        Ok(())
    });
    assert_eq!(harness.next(1).unwrap_err().code, "internal");
}
