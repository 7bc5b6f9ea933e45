//! The receiving side: merges the channels of a subtask, aligns barriers and combines watermarks.
//!
//! A channel that has delivered the barrier is not read until all have (aligned barrier snapshot), so that a checkpoint
//! holds exactly the records in front of its barriers. The watermark is the smallest of all channels.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, TryRecvError};

use super::element::{Barrier, Element};
use super::exchange::Cancelled;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::operator::Rejected;

pub(super) enum Arrival {
    Batch(Batch),
    Rejected(Rejected),
    /// The combined watermark has advanced to this.
    Watermark(i64),
    /// Every channel has delivered it.
    Barrier(Barrier),
    /// Nothing came in time.
    Idle,
}

struct Channel {
    receiver: Receiver<Element>,
    watermark: i64,
    blocked: bool,
}

/// See the module.
pub(super) struct Gate {
    channels: Vec<Channel>,
    barrier: Option<Barrier>,
    watermark: i64,
    next: usize,
}

impl Gate {
    pub(super) fn new(receivers: Vec<Receiver<Element>>) -> Gate {
        let channel = |receiver| Channel { receiver, watermark: NO_TIMESTAMP, blocked: false };
        Gate { channels: receivers.into_iter().map(channel).collect(), barrier: None, watermark: NO_TIMESTAMP, next: 0 }
    }

    /// The next thing that arrives. `Cancelled` when a sender is gone before its last barrier.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Arrival, Cancelled> {
        loop {
            let Some((at, element)) = self.receive(timeout)? else { return Ok(Arrival::Idle) };
            match element {
                Element::Batch(batch) => return Ok(Arrival::Batch(batch)),
                Element::Rejected(rejected) => return Ok(Arrival::Rejected(*rejected)),
                Element::Watermark(watermark) => {
                    self.channels[at].watermark = watermark;
                    let combined = self.channels.iter().map(|channel| channel.watermark).min().unwrap_or(NO_TIMESTAMP);
                    if combined > self.watermark {
                        self.watermark = combined;
                        return Ok(Arrival::Watermark(combined));
                    }
                }
                Element::Barrier(barrier) => {
                    if let Some(aligned) = self.align(at, barrier) {
                        return Ok(Arrival::Barrier(aligned));
                    }
                }
            }
        }
    }

    fn align(&mut self, at: usize, barrier: Barrier) -> Option<Barrier> {
        debug_assert!(self.barrier.is_none_or(|pending| pending == barrier), "one checkpoint at a time");
        self.barrier = Some(barrier);
        self.channels[at].blocked = true;
        if self.channels.iter().any(|channel| !channel.blocked) {
            return None;
        }
        self.channels.iter_mut().for_each(|channel| channel.blocked = false);
        self.barrier.take()
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<(usize, Element)>, Cancelled> {
        if let [channel] = &self.channels[..] {
            return match channel.receiver.recv_timeout(timeout) {
                Ok(element) => Ok(Some((0, element))),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(Cancelled),
            };
        }
        for step in 0..self.channels.len() {
            let at = (self.next + step) % self.channels.len();
            if self.channels[at].blocked {
                continue;
            }
            match self.channels[at].receiver.try_recv() {
                Ok(element) => {
                    self.next = at + 1;
                    return Ok(Some((at, element)));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(Cancelled),
            }
        }
        self.wait(timeout)
    }

    fn wait(&self, timeout: Duration) -> Result<Option<(usize, Element)>, Cancelled> {
        let mut select = Select::new();
        let open: Vec<usize> = (0..self.channels.len()).filter(|&at| !self.channels[at].blocked).collect();
        for &at in &open {
            select.recv(&self.channels[at].receiver);
        }
        let Ok(operation) = select.select_timeout(timeout) else { return Ok(None) };
        let at = open[operation.index()];
        match operation.recv(&self.channels[at].receiver) {
            Ok(element) => Ok(Some((at, element))),
            Err(_) => Err(Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::element::BarrierKind;
    use super::*;
    use crate::state::ImageFormat;

    const BARRIER: Barrier = Barrier { checkpoint: 1, kind: BarrierKind::Checkpoint, format: ImageFormat::Canonical };

    fn batch(timestamp: i64) -> Element {
        let mut batch = Batch::default();
        batch.push(b"x", timestamp);
        Element::Batch(batch)
    }

    fn arrivals(gate: &mut Gate) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            seen.push(match gate.next(Duration::ZERO).unwrap() {
                Arrival::Batch(batch) => format!("batch {}", batch.timestamps[0]),
                Arrival::Watermark(watermark) => format!("watermark {watermark}"),
                Arrival::Barrier(barrier) => format!("barrier {}", barrier.checkpoint),
                Arrival::Rejected(_) => "rejected".into(),
                Arrival::Idle => return seen,
            });
        }
    }

    #[test]
    fn records_behind_a_barrier_wait_until_every_channel_has_delivered_it() {
        let (left, from_left) = crossbeam_channel::unbounded();
        let (right, from_right) = crossbeam_channel::unbounded();
        let mut gate = Gate::new(vec![from_left, from_right]);
        left.send(Element::Barrier(BARRIER)).unwrap();
        left.send(batch(2)).unwrap();
        right.send(batch(1)).unwrap();
        assert_eq!(arrivals(&mut gate), ["batch 1"]);
        right.send(Element::Barrier(BARRIER)).unwrap();
        assert_eq!(arrivals(&mut gate), ["barrier 1", "batch 2"]);
    }

    #[test]
    fn the_watermark_is_that_of_the_slowest_channel() {
        let (left, from_left) = crossbeam_channel::unbounded();
        let (right, from_right) = crossbeam_channel::unbounded();
        let mut gate = Gate::new(vec![from_left, from_right]);
        left.send(Element::Watermark(10)).unwrap();
        assert_eq!(arrivals(&mut gate), Vec::<String>::new());
        right.send(Element::Watermark(4)).unwrap();
        right.send(Element::Watermark(20)).unwrap();
        assert_eq!(arrivals(&mut gate), ["watermark 4", "watermark 10"]);
        drop(left);
        assert!(gate.next(Duration::ZERO).is_err());
    }
}
