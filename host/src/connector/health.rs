//! The health of sources and sinks: whether they reach their peers, since when, and how far they are behind.
//!
//! A connector reports through the [`HealthReporter`] of its context, from any thread. The job reads the [`HealthBoard`] whenever
//! it is shown, so that a report needs no turn of the subtask. A change of the state is logged.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::access::SecretStore;
use crate::clock::{SharedClock, random_u64};
use crate::escape;
use crate::log_limit::LogLimit;

/// Maximum length of a message, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// Number of changes of one connector that are logged at once. Then one per second is logged.
const LOG_BURST: u64 = 10;

/// Whether a connector works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// It works.
    #[default]
    Healthy,
    /// It works in part: some of its peers or splits fail, or it is behind its limit.
    Degraded,
    /// It reads or writes nothing. It keeps trying.
    Down,
}

impl HealthState {
    /// Returns the state as the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthState::Healthy => "healthy",
            HealthState::Degraded => "degraded",
            HealthState::Down => "down",
        }
    }
}

/// The health of one source or sink, or of one subtask of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorHealth {
    /// Whether it works.
    pub state: HealthState,
    /// When the state began, in milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Why it does not work. Empty if it does.
    pub message: String,
    /// Number of records or bytes that wait at the peer, if that is known.
    pub lag: Option<u64>,
}

/// The health of all sources and sinks of a job. Cheap to clone.
#[derive(Clone, Default)]
pub struct HealthBoard(Arc<Mutex<BTreeMap<HealthSlot, SlotReport>>>);

/// A subtask of a node, or its publisher, which is `None`.
type HealthSlot = (String, Option<u32>);

/// The report of a slot. Only the newest reporter of a slot may change it.
struct SlotReport {
    reporter: u64,
    health: Option<ConnectorHealth>,
}

impl HealthBoard {
    /// Returns the health of a node: its worst state, the sum of the lags, and the message of the subtask that is worst for the
    /// longest time. `None` if none has reported anything.
    pub fn of_node(&self, node: &str) -> Option<ConnectorHealth> {
        let slots = self.0.lock();
        let first = (node.to_owned(), None);
        let reports =
            slots.range(first..).take_while(|((of, _), _)| of == node).filter_map(|(_, report)| report.health.as_ref());
        let mut all: Option<ConnectorHealth> = None;
        for health in reports {
            let lag = all.as_ref().and_then(|all| all.lag).into_iter().chain(health.lag).reduce(u64::saturating_add);
            let rank = |health: &ConnectorHealth| (health.state, std::cmp::Reverse(health.since_ms));
            let worst = all.take().filter(|all| rank(all) >= rank(health)).unwrap_or_else(|| health.clone());
            all = Some(ConnectorHealth { lag, ..worst });
        }
        all
    }
}

/// Reports the health of one subtask, or of a publisher. Cheap to clone.
#[derive(Clone)]
pub struct HealthReporter(Arc<ReporterParts>);

struct ReporterParts {
    /// Identifies the reporter.
    id: u64,
    board: HealthBoard,
    slot: HealthSlot,
    job: String,
    clock: SharedClock,
    secrets: SecretStore,
    log: LogLimit,
}

impl HealthReporter {
    /// Creates the reporter of a subtask of a node, or of its publisher, which is `None`. The reporter of an earlier attempt has no effect
    /// any more.
    pub fn new(
        board: &HealthBoard,
        (job, node): (&str, &str),
        subtask: Option<u32>,
        clock: &SharedClock,
        secrets: &SecretStore,
    ) -> HealthReporter {
        let slot = (node.to_owned(), subtask);
        let id = random_u64();
        board.0.lock().insert(slot.clone(), SlotReport { reporter: id, health: None });
        HealthReporter(Arc::new(ReporterParts {
            id,
            board: board.clone(),
            slot,
            job: job.to_owned(),
            clock: clock.clone(),
            secrets: secrets.clone(),
            log: LogLimit::new(LOG_BURST, 1),
        }))
    }

    /// The connector works.
    pub fn healthy(&self) {
        self.report(HealthState::Healthy, &"");
    }

    /// The connector works in part.
    pub fn degraded(&self, why: impl fmt::Display) {
        self.report(HealthState::Degraded, &why);
    }

    /// The connector reads or writes nothing, and keeps trying.
    pub fn down(&self, why: impl fmt::Display) {
        self.report(HealthState::Down, &why);
    }

    /// Sets the number of records or bytes that wait at the peer.
    pub fn set_lag(&self, lag: u64) {
        self.change(|health| health.lag = Some(lag));
    }

    /// Changes the report. The change gets a healthy one if there is none yet. Returns what it returns, unless another reporter has taken over.
    fn change<T>(&self, change: impl FnOnce(&mut ConnectorHealth) -> T) -> Option<T> {
        let ReporterParts { id, board, slot, clock, .. } = &*self.0;
        let mut slots = board.0.lock();
        let report = slots.get_mut(slot).filter(|report| report.reporter == *id)?;
        let health = report
            .health
            .get_or_insert_with(|| ConnectorHealth { since_ms: clock.wall_ms(), ..ConnectorHealth::default() });
        Some(change(health))
    }

    fn report(&self, state: HealthState, why: &dyn fmt::Display) {
        let ReporterParts { slot, job, clock, secrets, log, .. } = &*self.0;
        let shown = escape::one_line(&secrets.redact(&why.to_string())).to_string();
        let message: String = shown.chars().take(MESSAGE_CHARS_MAX).collect();
        let has_changed = self.change(|health| {
            let has_changed = health.state != state;
            if has_changed {
                (health.state, health.since_ms) = (state, clock.wall_ms());
            }
            health.message.clone_from(&message);
            has_changed
        });
        if has_changed == Some(true)
            && let Some(suppressed) = log.admit(clock.monotonic_ns())
        {
            let suppressed = (suppressed > 0).then_some(suppressed);
            let (node, subtask) = slot;
            match state {
                HealthState::Healthy => tracing::info!(job, node, subtask, suppressed, "connector is healthy again"),
                _ => tracing::warn!(job, node, subtask, suppressed, "connector is {}: {message}", state.as_str()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_node_is_as_healthy_as_its_worst_subtask() {
        let (board, clock) = (HealthBoard::default(), Arc::new(ManualClock::default()));
        let shared: SharedClock = clock.clone();
        let reporter =
            |node, subtask| HealthReporter::new(&board, ("j", node), subtask, &shared, &SecretStore::default());
        let (first, second, publisher, other) =
            (reporter("in", Some(0)), reporter("in", Some(1)), reporter("in", None), reporter("in-2", Some(0)));
        assert_eq!(board.of_node("in"), None, "nothing is reported yet");
        clock.set_ms(10);
        first.healthy();
        other.down("another node");
        assert_eq!(board.of_node("in").unwrap().state, HealthState::Healthy);
        clock.set_ms(20);
        second.down("refused\nby peer");
        clock.set_ms(30);
        second.down("refused again");
        first.degraded("slow");
        publisher.down("later");
        let health = board.of_node("in").unwrap();
        assert_eq!((health.state, health.since_ms), (HealthState::Down, 20), "the state has lasted since then");
        assert_eq!((health.message.as_str(), health.lag), ("refused again", None));
        first.set_lag(5);
        second.set_lag(7);
        assert_eq!(board.of_node("in").unwrap().lag, Some(12));
        second.healthy();
        publisher.healthy();
        let health = board.of_node("in").unwrap();
        assert_eq!((health.state, health.message.as_str()), (HealthState::Degraded, "slow"));
        reporter("in", Some(0));
        first.down("of an earlier attempt");
        assert_eq!(board.of_node("in").unwrap().state, HealthState::Healthy, "a new attempt has reported nothing");
    }
}
