//! Where the time of a subtask's thread goes.
//!
//! A thread is busy, waits for input, waits for a receiver of its output, or waits for a permit. The ledger is written when that
//! changes, never for each record: one reading of the clock at the beginning of a wait and one at its end. A thread that runs a chain
//! of several nodes also notes which node works, once for each batch that passes from one to the next.
//!
//! Only the subtask's thread writes. Another thread reads the ledger at any time, also in the middle of a wait. It reads once more if
//! the ledger was written meanwhile, so that the parts always add up to the whole.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use crate::clock::SharedClock;

/// The thread has not begun, or has ended.
const OFF: u8 = 0;
/// The thread works.
const BUSY: u8 = 1;
/// The thread waits for input.
const IDLE: u8 = 2;
/// The thread waits until a receiver takes its output.
const BACKPRESSURED: u8 = 3;
/// The thread waits for a permit.
const THROTTLED: u8 = 4;

/// What a thread of a subtask waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Something to process. The subtask is idle.
    Input,
    /// A subtask that takes its output. The subtask is backpressured.
    Output,
    /// A peer such as a broker or the disk, in the middle of its work. The subtask is busy: it is what others wait for.
    Peer,
}

/// The state that a thread is in until it enters the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LedgerState(u8);

impl LedgerState {
    pub(super) const OFF: LedgerState = LedgerState(OFF);
    pub(super) const BUSY: LedgerState = LedgerState(BUSY);
    pub(super) const THROTTLED: LedgerState = LedgerState(THROTTLED);

    pub(super) fn waiting_for(reason: WaitReason) -> LedgerState {
        match reason {
            WaitReason::Input => LedgerState(IDLE),
            WaitReason::Output => LedgerState(BACKPRESSURED),
            WaitReason::Peer => LedgerState(BUSY),
        }
    }
}

/// The time of a thread, by what it did.
pub(super) struct TimeLedger {
    clock: SharedClock,
    /// Odd while the other fields are written.
    version: AtomicU32,
    state: AtomicU8,
    /// The node that works, by its index in the chain.
    node: AtomicU32,
    /// When the state or the node last changed, in monotonic nanoseconds.
    since_ns: AtomicU64,
    idle_ns: AtomicU64,
    throttled_ns: AtomicU64,
    nodes: Box<[NodeLedger]>,
}

/// The time of a thread in one node of its chain.
#[derive(Default)]
struct NodeLedger {
    busy_ns: AtomicU64,
    backpressured_ns: AtomicU64,
}

/// The time of a thread since it began, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Time without input.
    pub idle_ns: u64,
    /// Time without a permit.
    pub throttled_ns: u64,
    /// The rest, by the node that worked: the time in which it was busy, and that in which its output was not taken.
    pub nodes: Vec<(u64, u64)>,
}

impl TimeLedger {
    /// Creates the ledger of a thread that runs this many nodes.
    pub(super) fn new(clock: SharedClock, nodes: usize) -> TimeLedger {
        TimeLedger {
            clock,
            version: AtomicU32::new(0),
            state: AtomicU8::new(OFF),
            node: AtomicU32::new(0),
            since_ns: AtomicU64::new(0),
            idle_ns: AtomicU64::new(0),
            throttled_ns: AtomicU64::new(0),
            nodes: std::iter::repeat_with(NodeLedger::default).take(nodes.max(1)).collect(),
        }
    }

    /// Notes that the thread enters a state. Returns the one that it was in.
    pub(super) fn enter(&self, state: LedgerState) -> LedgerState {
        let before = self.state.load(Ordering::Relaxed);
        if before != state.0 {
            self.change(state.0, self.node.load(Ordering::Relaxed));
        }
        LedgerState(before)
    }

    /// Notes that another node of the chain works from now on.
    pub(super) fn enter_node(&self, node: usize) {
        self.change(self.state.load(Ordering::Relaxed), u32::try_from(node).unwrap_or(u32::MAX));
    }

    fn change(&self, state: u8, node: u32) {
        let now_ns = self.clock.monotonic_ns();
        let passed_ns = now_ns.saturating_sub(self.since_ns.load(Ordering::Relaxed));
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let account = self.account(self.state.load(Ordering::Relaxed), self.node.load(Ordering::Relaxed));
        if let Some(account) = account {
            account.store(account.load(Ordering::Relaxed).saturating_add(passed_ns), Ordering::Relaxed);
        }
        self.state.store(state, Ordering::Relaxed);
        self.node.store(node, Ordering::Relaxed);
        self.since_ns.store(now_ns, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn account(&self, state: u8, node: u32) -> Option<&AtomicU64> {
        let node = self.nodes.get(node as usize);
        match state {
            BUSY => node.map(|node| &node.busy_ns),
            BACKPRESSURED => node.map(|node| &node.backpressured_ns),
            IDLE => Some(&self.idle_ns),
            THROTTLED => Some(&self.throttled_ns),
            _ => None,
        }
    }

    /// Returns the time of the thread until now, with a wait that lasts.
    pub(super) fn read(&self) -> ThreadTimes {
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version.is_multiple_of(2) {
                let times = self.read_once();
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return times;
                }
            }
            std::thread::yield_now();
        }
    }

    fn read_once(&self) -> ThreadTimes {
        let (state, node) = (self.state.load(Ordering::Relaxed), self.node.load(Ordering::Relaxed) as usize);
        let mut times = ThreadTimes {
            idle_ns: self.idle_ns.load(Ordering::Relaxed),
            throttled_ns: self.throttled_ns.load(Ordering::Relaxed),
            nodes: self
                .nodes
                .iter()
                .map(|node| (node.busy_ns.load(Ordering::Relaxed), node.backpressured_ns.load(Ordering::Relaxed)))
                .collect(),
        };
        let since_ns = self.since_ns.load(Ordering::Relaxed);
        let lasts_ns = self.clock.monotonic_ns().saturating_sub(since_ns);
        match (state, times.nodes.get_mut(node)) {
            (BUSY, Some((busy_ns, _))) => *busy_ns += lasts_ns,
            (BACKPRESSURED, Some((_, backpressured_ns))) => *backpressured_ns += lasts_ns,
            (IDLE, _) => times.idle_ns += lasts_ns,
            (THROTTLED, _) => times.throttled_ns += lasts_ns,
            _ => {}
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::clock::{ManualClock, SystemClock};

    #[test]
    fn time_is_charged_to_the_state_and_the_node_that_it_was_spent_in() {
        let clock = Arc::<ManualClock>::default();
        let ledger = TimeLedger::new(clock.clone(), 2);
        let at = |ms: i64| clock.set_ms(ms);
        at(1000);
        ledger.enter(LedgerState::BUSY);
        at(1010);
        ledger.enter_node(1);
        at(1030);
        let before = ledger.enter(LedgerState::waiting_for(WaitReason::Output));
        at(1070);
        ledger.enter(LedgerState::THROTTLED);
        at(1075);
        ledger.enter(before);
        at(1076);
        // A wait for a peer is part of the work.
        ledger.enter(LedgerState::waiting_for(WaitReason::Peer));
        at(1078);
        ledger.enter_node(0);
        ledger.enter(LedgerState::waiting_for(WaitReason::Input));
        at(1178);
        let ms = 1_000_000;
        let times =
            ThreadTimes { idle_ns: 100 * ms, throttled_ns: 5 * ms, nodes: vec![(10 * ms, 0), (23 * ms, 40 * ms)] };
        assert_eq!(ledger.read(), times, "with the wait that lasts");
        ledger.enter(LedgerState::OFF);
        at(5000);
        assert_eq!(ledger.read(), times, "a thread that has ended spends no time");
    }

    #[test]
    fn what_is_read_while_the_ledger_is_written_adds_up() {
        let clock = SystemClock::shared();
        let ledger = TimeLedger::new(clock.clone(), 3);
        let before_ns = clock.monotonic_ns();
        ledger.enter(LedgerState::BUSY);
        let begun_ns = clock.monotonic_ns();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut step = 0;
                while !is_over.load(Ordering::Relaxed) {
                    step += 1;
                    ledger.enter([LedgerState::BUSY, LedgerState(IDLE), LedgerState(BACKPRESSURED)][step % 3]);
                    ledger.enter_node(step / 3 % 3);
                }
            });
            for _ in 0..20_000 {
                let from_ns = clock.monotonic_ns();
                let times = ledger.read();
                let nodes: u64 = times.nodes.iter().map(|(busy, backpressured)| busy + backpressured).sum();
                let sum_ns = times.idle_ns + times.throttled_ns + nodes;
                let until_ns = clock.monotonic_ns();
                // The first state was entered between both.
                let (least, most) = (from_ns - begun_ns, until_ns - before_ns);
                assert!((least..=most).contains(&sum_ns), "{sum_ns} is not between {least} and {most}");
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
