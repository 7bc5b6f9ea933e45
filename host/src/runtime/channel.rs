//! The channel from one subtask to another: bounded for what carries records, and never full for a barrier.
//!
//! Each element needs a credit, which its receiver gives back when it takes the element up. A receiver may therefore look
//! at everything that is on its way without letting more of it come. While a barrier overtakes records, a sender that has
//! not passed it yet needs no credit: it ends its turn, however slow its receiver is, and then passes the barrier.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use crate::runtime::signals::Signals;
use crate::runtime::stream_element::Element;

/// The subtask must end: the job is being cancelled, or a neighbour is gone.
#[derive(Debug)]
pub(super) struct Cancelled;

/// How often a sender that waits looks at the signals.
const SIGNAL_CHECK: Duration = Duration::from_millis(10);

/// An element on its way.
pub(super) struct Sent {
    pub(super) element: Element,
    /// Whether its credit is to be given back.
    pub(super) credit: bool,
}

pub(super) struct LinkSender {
    elements: Sender<Sent>,
    credits: Receiver<()>,
}

pub(super) struct LinkReceiver {
    pub(super) elements: Receiver<Sent>,
    credits: Sender<()>,
}

/// A channel with room for `capacity` elements that are no barriers.
pub(super) fn link(capacity: usize) -> (LinkSender, LinkReceiver) {
    let (elements, received) = crossbeam_channel::unbounded();
    let (give_back, credits) = crossbeam_channel::bounded(capacity);
    for _ in 0..capacity {
        // There is room for exactly so many.
        let _ = give_back.try_send(());
    }
    (LinkSender { elements, credits }, LinkReceiver { elements: received, credits: give_back })
}

impl LinkSender {
    /// Sends an element, where there is no room once there is. `passed` is the newest barrier of this sender.
    pub(super) fn send(&self, element: Element, signals: &Signals, passed: u64) -> Result<(), Cancelled> {
        let credit = match &element {
            Element::Barrier(_) => false,
            _ => self.await_credit(signals, passed)?,
        };
        self.elements.send(Sent { element, credit }).map_err(|_| Cancelled)
    }

    /// Takes a credit; false where it may go without one.
    fn await_credit(&self, signals: &Signals, passed: u64) -> Result<bool, Cancelled> {
        if self.credits.try_recv().is_ok() {
            return Ok(true);
        }
        loop {
            if signals.is_cancelled() {
                return Err(Cancelled);
            }
            if signals.is_overtaking(passed) {
                return Ok(false);
            }
            match self.credits.recv_timeout(SIGNAL_CHECK) {
                Ok(()) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Cancelled),
            }
        }
    }
}

impl LinkReceiver {
    /// The next element, if one is there. Its credit stays taken.
    pub(super) fn try_next(&self) -> Result<Option<Sent>, Cancelled> {
        match self.elements.try_recv() {
            Ok(sent) => Ok(Some(sent)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Cancelled),
        }
    }

    /// The element is taken up now, so that another may come.
    pub(super) fn take_up(&self, sent: Sent) -> Element {
        if sent.credit {
            // The sender may be gone.
            let _ = self.credits.try_send(());
        }
        sent.element
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stream_element::{Barrier, BarrierKind};
    use crate::state::SnapshotFormat;

    fn barrier(checkpoint: u64) -> Barrier {
        Barrier { checkpoint, kind: BarrierKind::Checkpoint, format: SnapshotFormat::Canonical, triggered_ns: 0 }
    }

    #[test]
    fn a_barrier_needs_no_room_and_lets_its_sender_end_the_turn() {
        let (sender, receiver) = link(1);
        let signals = Signals::default();
        sender.send(Element::Watermark(1), &signals, 0).unwrap();
        sender.send(Element::Barrier(barrier(1)), &signals, 0).unwrap();
        signals.overtake(barrier(2));
        sender.send(Element::Watermark(2), &signals, 1).unwrap();

        // Having passed it, the sender waits again; here until the cancel.
        signals.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(sender.send(Element::Watermark(3), &signals, 2).is_err());
        let first = receiver.try_next().unwrap().unwrap();
        assert!(sender.send(Element::Watermark(3), &signals, 2).is_err(), "it is looked at, but not taken up");
        receiver.take_up(first);
        sender.send(Element::Watermark(3), &signals, 2).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| receiver.try_next().unwrap()).map(|sent| sent.credit).collect();
        assert_eq!(rest, [false, false, true]);
    }

    #[test]
    fn an_abandoned_barrier_overtakes_nothing() {
        let signals = Signals::default();
        signals.overtake(barrier(2));
        assert!(signals.is_overtaking(1) && !signals.is_overtaking(2));
        signals.abandon(2);
        assert!(!signals.is_overtaking(1));
    }
}
