//! The channel from one subtask to another: bounded by credits for records, never full for a barrier.
//!
//! Every element except a barrier needs a credit. The receiver returns the credit when it processes the element, not when
//! it takes the element out of the channel. A receiver can therefore read ahead without admitting more elements. While a
//! barrier overtakes records, a sender that has not passed the barrier needs no credit: it finishes its turn, however slow
//! its receiver is, and then passes the barrier.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use crate::runtime::attempt_signals::{AttemptSignals, SubtaskCancelled};
use crate::runtime::stream_element::StreamElement;

/// How often a sender that waits for a credit checks the signals.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// An element in a channel.
pub(crate) struct SentElement {
    pub(crate) element: StreamElement,
    /// Whether the receiver must return a credit for it.
    pub(crate) has_credit: bool,
}

/// The sending end of a channel.
pub(crate) struct ChannelSender {
    elements: Sender<SentElement>,
    credits: Receiver<()>,
}

/// The receiving end of a channel.
pub(crate) struct ChannelReceiver {
    pub(crate) elements: Receiver<SentElement>,
    credits: Sender<()>,
}

/// Creates a channel with `capacity` credits.
pub(crate) fn channel(capacity: usize) -> (ChannelSender, ChannelReceiver) {
    let (elements, received) = crossbeam_channel::unbounded();
    let (return_credit, credits) = crossbeam_channel::bounded(capacity);
    for _ in 0..capacity {
        // Cannot fail: the channel of credits has exactly this capacity.
        let _ = return_credit.try_send(());
    }
    (ChannelSender { elements, credits }, ChannelReceiver { elements: received, credits: return_credit })
}

impl ChannelSender {
    /// Sends an element, and waits for a credit if it needs one. `passed` is the newest barrier that this sender has sent.
    pub(crate) fn send(
        &self,
        element: StreamElement,
        signals: &AttemptSignals,
        passed: u64,
    ) -> Result<(), SubtaskCancelled> {
        let has_credit = match &element {
            StreamElement::Barrier(_) => false,
            _ => self.wait_for_credit(signals, passed)?,
        };
        self.elements.send(SentElement { element, has_credit }).map_err(|_| SubtaskCancelled)
    }

    /// Takes a credit. Returns false if the element may be sent without one.
    fn wait_for_credit(&self, signals: &AttemptSignals, passed: u64) -> Result<bool, SubtaskCancelled> {
        if self.credits.try_recv().is_ok() {
            return Ok(true);
        }
        loop {
            if signals.is_cancelled() {
                return Err(SubtaskCancelled);
            }
            if signals.is_overtaking(passed) {
                return Ok(false);
            }
            match self.credits.recv_timeout(SIGNAL_CHECK_INTERVAL) {
                Ok(()) => return Ok(true),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(SubtaskCancelled),
            }
        }
    }
}

impl ChannelReceiver {
    /// Takes the next element out of the channel, if there is one. Its credit is not returned yet.
    pub(crate) fn try_next(&self) -> Result<Option<SentElement>, SubtaskCancelled> {
        match self.elements.try_recv() {
            Ok(sent) => Ok(Some(sent)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(SubtaskCancelled),
        }
    }

    /// Returns the credit of an element that is about to be processed.
    pub(crate) fn accept(&self, sent: SentElement) -> StreamElement {
        if sent.has_credit {
            // Fails only if the sender is gone.
            let _ = self.credits.try_send(());
        }
        sent.element
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::checkpoint_barrier;

    #[test]
    fn a_barrier_needs_no_credit_and_lets_its_sender_finish_the_turn() {
        let (sender, receiver) = channel(1);
        let signals = AttemptSignals::default();
        sender.send(StreamElement::Watermark(1), &signals, 0).unwrap();
        sender.send(StreamElement::Barrier(checkpoint_barrier(1)), &signals, 0).unwrap();
        signals.overtake(checkpoint_barrier(2));
        sender.send(StreamElement::Watermark(2), &signals, 1).unwrap();

        // After the sender has passed the barrier it waits again; here until the cancel.
        signals.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(sender.send(StreamElement::Watermark(3), &signals, 2).is_err());
        let first = receiver.try_next().unwrap().unwrap();
        let refused = sender.send(StreamElement::Watermark(3), &signals, 2);
        assert!(refused.is_err(), "reading an element ahead returns no credit");
        receiver.accept(first);
        sender.send(StreamElement::Watermark(3), &signals, 2).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| receiver.try_next().unwrap()).map(|sent| sent.has_credit).collect();
        assert_eq!(rest, [false, false, true]);
    }
}
