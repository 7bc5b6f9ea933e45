//! The channel from one subtask to another: bounded by credits for records, never full for a barrier.
//!
//! Every element except a barrier needs a credit. The receiver returns the credit when it processes the element, not when
//! it takes the element out of the channel. A receiver can therefore read ahead without admitting more elements. While a
//! barrier overtakes records, a sender that has not passed the barrier needs no credit: it finishes its turn, however slow
//! its receiver is, and then passes the barrier.
//!
//! Credits bound the number of elements. Their bytes are bounded by the [`EdgeBudget`] that the channels of an edge share. An element
//! returns its bytes together with its credit.
//!
//! All channels of a receiving subtask share an [`Inbox`]. It counts the elements that wait for the receiver. While none does,
//! a sender sends its records at once. While some do, the sender lets its batch grow; it says so, and the receiver wakes it
//! when it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::permits::{self, WaitReason};
use crate::runtime::attempt_signals::{AttemptSignals, SubtaskCancelled};
use crate::runtime::edge_budget::{BudgetCharge, EdgeBudget};
use crate::runtime::stream_element::StreamElement;
use crate::wakeup::{WakeOnDrop, Wakeup};

/// An element in a channel.
pub(crate) struct SentElement {
    pub(crate) element: StreamElement,
    /// Whether the receiver must return a credit for it.
    has_credit: bool,
    /// What it takes of the budget of its edge.
    charge: BudgetCharge,
}

impl SentElement {
    /// Returns an element of a restored checkpoint, which came over no channel.
    pub(crate) fn restored(element: StreamElement) -> SentElement {
        SentElement { element, has_credit: false, charge: BudgetCharge::Bytes(0) }
    }
}

/// What the senders of a subtask share with it.
#[derive(Default)]
pub(crate) struct Inbox {
    /// Wakes the subtask.
    pub(crate) wakeup: Wakeup,
    /// Number of elements with a credit that the subtask has not begun to process, over all its channels.
    waiting: AtomicUsize,
    /// Number of credits of all its channels.
    credits: AtomicUsize,
    /// Checkpoint of the newest barrier that the subtask has passed on.
    passed: AtomicU64,
}

impl Inbox {
    /// Returns the share of the credits that is taken.
    pub(crate) fn fill(&self) -> f64 {
        let credits = self.credits.load(Ordering::Relaxed).max(1);
        (self.waiting.load(Ordering::Relaxed) as f64 / credits as f64).min(1.0)
    }
}

/// What both ends of a channel share.
#[derive(Default)]
struct ChannelState {
    /// Whether the sender holds records back because the receiver is busy.
    holds_records: AtomicBool,
    /// Whether the sender waits for a credit.
    waits_for_credit: AtomicBool,
}

/// The sending end of a channel.
pub(crate) struct ChannelSender {
    /// Boxed, because the queue allocates room for 31 elements at once.
    elements: Sender<Box<SentElement>>,
    credits: Receiver<()>,
    inbox: Arc<Inbox>,
    state: Arc<ChannelState>,
    budget: Arc<EdgeBudget>,
    /// Wakes the sending subtask.
    wakeup: Wakeup,
    /// Lets the receiver notice that no more elements come. Dropped after `elements`.
    _closed: WakeOnDrop,
}

/// The receiving end of a channel.
pub(crate) struct ChannelReceiver {
    elements: Receiver<Box<SentElement>>,
    credits: Sender<()>,
    inbox: Arc<Inbox>,
    state: Arc<ChannelState>,
    budget: Arc<EdgeBudget>,
    /// Wakes the sending subtask.
    sender: Wakeup,
    /// Lets a sender that waits for a credit notice that the receiver is gone. Dropped after `credits`.
    _closed: WakeOnDrop,
}

/// Creates a channel with `capacity` credits, from the subtask that `sender` wakes to the subtask with this inbox. `budget` is that of
/// its edge.
pub(crate) fn channel(
    capacity: usize,
    sender: &Wakeup,
    inbox: &Arc<Inbox>,
    budget: &Arc<EdgeBudget>,
) -> (ChannelSender, ChannelReceiver) {
    inbox.credits.fetch_add(capacity, Ordering::Relaxed);
    let (elements, received) = crossbeam_channel::unbounded();
    let (return_credit, credits) = crossbeam_channel::bounded(capacity);
    for _ in 0..capacity {
        // Cannot fail: the channel of credits has exactly this capacity.
        let _ = return_credit.try_send(());
    }
    let (state, inbox, wakeup) = (Arc::<ChannelState>::default(), inbox.clone(), sender.clone());
    let budget = budget.clone();
    let receiver = ChannelReceiver {
        elements: received,
        credits: return_credit,
        inbox: inbox.clone(),
        state: state.clone(),
        budget: budget.clone(),
        sender: wakeup.clone(),
        _closed: WakeOnDrop(wakeup.clone()),
    };
    let _closed = WakeOnDrop(inbox.wakeup.clone());
    (ChannelSender { elements, credits, inbox, state, budget, wakeup, _closed }, receiver)
}

impl ChannelSender {
    /// Sends an element, and waits for a credit and for the budget if it needs them. `passed` is the newest barrier that this sender
    /// has sent.
    pub(crate) fn send(
        &self,
        element: StreamElement,
        signals: &AttemptSignals,
        passed: u64,
    ) -> Result<(), SubtaskCancelled> {
        let (has_credit, charge) = match &element {
            StreamElement::Barrier(_) => (false, BudgetCharge::Bytes(0)),
            _ => self.admit(element.bytes(), signals, passed)?,
        };
        if has_credit {
            self.inbox.waiting.fetch_add(1, Ordering::SeqCst);
        }
        self.elements.send(Box::new(SentElement { element, has_credit, charge })).map_err(|_| SubtaskCancelled)?;
        self.inbox.wakeup.wake();
        Ok(())
    }

    /// Returns whether nothing waits for the receiver, so that records should be sent at once. If it returns false, the receiver
    /// wakes the sender when it has caught up.
    pub(crate) fn is_receiver_free(&self) -> bool {
        let is_free = || self.inbox.waiting.load(Ordering::SeqCst) == 0;
        if is_free() {
            return true;
        }
        if !self.state.holds_records.load(Ordering::Relaxed) {
            self.state.holds_records.store(true, Ordering::SeqCst);
            // The receiver may have caught up before it could see the flag.
            return is_free();
        }
        false
    }

    /// Takes a credit and `bytes` of the budget. Returns false instead of a credit if the element may be sent without one.
    fn admit(
        &self,
        bytes: usize,
        signals: &AttemptSignals,
        passed: u64,
    ) -> Result<(bool, BudgetCharge), SubtaskCancelled> {
        let mut has_credit = self.credits.try_recv().is_ok();
        if has_credit && let Some(charge) = self.budget.try_take(bytes, false) {
            return Ok((true, charge));
        }
        loop {
            if !has_credit {
                self.state.waits_for_credit.store(true, Ordering::SeqCst);
                match self.credits.try_recv() {
                    Ok(()) => has_credit = true,
                    Err(TryRecvError::Disconnected) => return Err(SubtaskCancelled),
                    Err(TryRecvError::Empty) => {}
                }
            }
            if has_credit {
                self.budget.wake_on_change(&self.wakeup);
                let is_ahead = passed > self.inbox.passed.load(Ordering::SeqCst).max(signals.abandoned());
                if let Some(charge) = self.budget.try_take(bytes, !is_ahead) {
                    return Ok((true, charge));
                }
            }
            if signals.is_cancelled() {
                return Err(SubtaskCancelled);
            }
            if signals.is_overtaking(passed) {
                return Ok((has_credit, self.budget.take(bytes)));
            }
            permits::wait(WaitReason::Output, &self.wakeup, Duration::MAX);
        }
    }
}

impl ChannelReceiver {
    /// Takes the next element out of the channel, if there is one. Its credit is not returned yet.
    pub(crate) fn try_next(&self) -> Result<Option<SentElement>, SubtaskCancelled> {
        match self.elements.try_recv() {
            Ok(sent) => Ok(Some(*sent)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(SubtaskCancelled),
        }
    }

    /// Returns the credit and the bytes of an element that is about to be processed, and wakes the senders that may wait for them.
    pub(crate) fn accept(&self, sent: SentElement) -> StreamElement {
        self.budget.put_back(sent.charge);
        if sent.has_credit {
            self.inbox.waiting.fetch_sub(1, Ordering::SeqCst);
            // Fails only if the sender is gone.
            let _ = self.credits.try_send(());
            if self.state.waits_for_credit.swap(false, Ordering::SeqCst) {
                self.sender.wake();
            }
        }
        sent.element
    }

    /// Notes the newest barrier that the receiving subtask has passed on. Senders that waited for that may now use the overdraft.
    pub(crate) fn note_passed(&self, checkpoint: u64) {
        self.inbox.passed.fetch_max(checkpoint, Ordering::SeqCst);
        self.budget.wake_waiting();
    }

    /// Wakes the sender if it holds records back and nothing waits for the receiver any more.
    pub(crate) fn request_held_records(&self) {
        let is_asked =
            self.inbox.waiting.load(Ordering::SeqCst) == 0 && self.state.holds_records.load(Ordering::SeqCst);
        if is_asked && self.state.holds_records.swap(false, Ordering::SeqCst) {
            self.sender.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::checkpoint_barrier;

    fn unwatched(capacity: usize) -> (ChannelSender, ChannelReceiver, Wakeup) {
        let wakeup = Wakeup::default();
        let (sender, receiver) = channel(capacity, &wakeup, &Arc::default(), &Arc::default());
        (sender, receiver, wakeup)
    }

    #[test]
    fn a_barrier_needs_no_credit_and_lets_its_sender_finish_the_turn() {
        let (sender, receiver, _) = unwatched(1);
        let signals = AttemptSignals::default();
        sender.send(StreamElement::Watermark(1), &signals, 0).unwrap();
        sender.send(StreamElement::Barrier(checkpoint_barrier(1)), &signals, 0).unwrap();
        signals.overtake(checkpoint_barrier(2));
        sender.send(StreamElement::Watermark(2), &signals, 1).unwrap();

        // After the sender has passed the barrier it waits again; here until the cancel.
        signals.cancel();
        assert!(sender.send(StreamElement::Watermark(3), &signals, 2).is_err());
        let first = receiver.try_next().unwrap().unwrap();
        let refused = sender.send(StreamElement::Watermark(3), &signals, 2);
        assert!(refused.is_err(), "reading an element ahead returns no credit");
        receiver.accept(first);
        sender.send(StreamElement::Watermark(3), &signals, 2).unwrap();
        let rest: Vec<_> = std::iter::from_fn(|| receiver.try_next().unwrap()).map(|sent| sent.has_credit).collect();
        assert_eq!(rest, [false, false, true]);
    }

    #[test]
    fn a_sender_without_a_credit_wakes_for_a_credit_a_cancel_and_the_end_of_its_receiver() {
        let signals = Arc::new(AttemptSignals::default());
        let accept = |receiver: ChannelReceiver| {
            receiver.accept(receiver.try_next().unwrap().unwrap());
            Some(receiver)
        };
        let cancel = |receiver: ChannelReceiver| {
            signals.cancel();
            Some(receiver)
        };
        type ReceiverEnd<'a> = &'a dyn Fn(ChannelReceiver) -> Option<ChannelReceiver>;
        let ends: [(ReceiverEnd<'_>, bool); 3] = [(&accept, true), (&|_| None, false), (&cancel, false)];
        for (end, is_sent) in ends {
            let (sender, receiver, wakeup) = unwatched(1);
            signals.subscribe(&wakeup);
            sender.send(StreamElement::Watermark(1), &signals, 0).unwrap();
            let signals = &signals;
            std::thread::scope(|scope| {
                let waiting = scope.spawn(move || sender.send(StreamElement::Watermark(2), signals, 0).is_ok());
                let _receiver = end(receiver);
                assert_eq!(waiting.join().unwrap(), is_sent);
            });
        }
    }

    #[test]
    fn only_a_sender_that_is_not_ahead_of_its_receiver_may_exceed_the_budget() {
        let (inbox, budget) = (Arc::<Inbox>::default(), Arc::new(EdgeBudget::new(10)));
        let signals = AttemptSignals::default();
        let record = |bytes: usize| {
            let mut batch = crate::model::Batch::default();
            batch.push(&vec![b'x'; bytes], 0);
            StreamElement::Batch(crate::pipeline::InputRole::First, batch)
        };
        let wakeup = Wakeup::default();
        let (sender, receiver) = channel(8, &wakeup, &inbox, &budget);
        signals.subscribe(&wakeup);
        // Larger than the budget, from a sender that has passed the same barriers as its receiver.
        sender.send(record(100), &signals, 0).unwrap();
        let first = receiver.try_next().unwrap().unwrap();
        assert_eq!((first.charge, budget.used()), (BudgetCharge::Overdraft, 0));
        receiver.accept(first);
        std::thread::scope(|scope| {
            // The sender has passed barrier 1, and the receiver has not. The wait ends when it does.
            let waiting = scope.spawn(|| sender.send(record(100), &signals, 1).is_ok());
            receiver.note_passed(1);
            assert!(waiting.join().unwrap());
        });
        receiver.accept(receiver.try_next().unwrap().unwrap());
        // A barrier that overtakes records needs no budget. What is sent then is counted.
        signals.overtake(checkpoint_barrier(3));
        sender.send(record(100), &signals, 2).unwrap();
        assert!(budget.used() > 100);
        receiver.accept(receiver.try_next().unwrap().unwrap());
        assert_eq!(budget.used(), 0);
        signals.cancel();
        assert!(sender.send(record(100), &signals, 4).is_err(), "a cancel ends the wait for the budget");
    }

    #[test]
    fn the_receiver_asks_for_held_records_when_it_has_caught_up() {
        let (inbox, signals) = (Arc::<Inbox>::default(), AttemptSignals::default());
        let (one, other) = (Wakeup::default(), Wakeup::default());
        let (first, first_receiver) = channel(8, &one, &inbox, &Arc::default());
        let (second, second_receiver) = channel(8, &other, &inbox, &Arc::default());
        assert!(first.is_receiver_free() && second.is_receiver_free());
        first.send(StreamElement::Watermark(1), &signals, 0).unwrap();
        second.send(StreamElement::Watermark(1), &signals, 0).unwrap();
        assert!(!second.is_receiver_free(), "elements of other senders count, too");
        second_receiver.accept(second_receiver.try_next().unwrap().unwrap());
        second_receiver.request_held_records();
        assert!(!second.is_receiver_free());
        first_receiver.accept(first_receiver.try_next().unwrap().unwrap());
        assert!(second.is_receiver_free(), "the receiver is processing its last element");
        assert!(!other.is_woken(), "the receiver has not asked yet");
        second_receiver.request_held_records();
        assert!(other.is_woken() && !one.is_woken());
        let (inbox_wakeup, forgotten) = (inbox.wakeup.clone(), second_receiver);
        inbox_wakeup.wait(Duration::MAX);
        drop(second);
        inbox_wakeup.wait(Duration::MAX);
        assert!(forgotten.try_next().is_err(), "the sender is gone, and the receiver was woken");
    }
}
