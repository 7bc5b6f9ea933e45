//! What all subtasks of an operator share of its limits: the size of its state, the rate of its log, the names of its metrics and
//! the share of its bad records. Counts what was exceeded, for the metrics of the operator.
//!
//! | limit | checked | if it is exceeded |
//! |---|---|---|
//! | `state` | after each commit that has changed the size | the job fails with `state-exceeded` |
//! | the namespace's quota of state | the same | the job fails with `quota-exceeded` |
//! | `log_lines`, `log_bytes`, and those of the job | for each log line of the function | the line is dropped and counted |
//! | names of metrics | for each name that is new to a subtask | the metric is dropped and counted |
//! | `faults` | for each batch | the job fails with `too-many-faults` |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock::{SharedClock, SystemClock};
use crate::error::{self, Result};
use crate::job_log::NodeLog;
use crate::log_limit::LogLimit;
use crate::model::FaultCode;
use crate::namespace_usage::{ByteAccount, Charge};
use crate::pipeline::{FaultShareLimit, LimitKey, OperatorLimits};

/// Maximum number of metric names per operator.
pub const METRIC_NAMES_MAX: usize = 64;

/// A function may write this many seconds' worth of log lines at once.
const LOG_BURST_SECONDS: u64 = 10;

/// Number of parts of the window in which bad records are counted.
const WINDOW_PARTS: u64 = 10;

/// The limits that all subtasks of an operator share, and what they have used of them.
pub struct SharedLimits {
    operator: String,
    clock: SharedClock,
    state_bytes_max: u64,
    state_bytes: AtomicU64,
    /// The state of all jobs of the namespace.
    namespace_state: ByteAccount,
    log_lines: LogLimit,
    log_bytes: LogLimit,
    /// The level of the operator's log, and the limit of its job.
    log: Arc<NodeLog>,
    /// Dropped log lines that no line has reported yet.
    unreported_lines: AtomicU64,
    metric_names: Mutex<BTreeSet<String>>,
    fault_share: Option<(FaultShareLimit, Mutex<FaultWindow>)>,
    /// Number of faults of each code, in the order of [`FaultCode::ALL`].
    faults: [AtomicU64; FaultCode::ALL.len()],
    log_lines_dropped: AtomicU64,
    metrics_dropped: AtomicU64,
    batches_divided: AtomicU64,
}

/// What an operator has exceeded since its attempt began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    /// Number of faults by their code.
    pub faults: BTreeMap<&'static str, u64>,
    /// Log lines that were dropped.
    pub log_lines_dropped: u64,
    /// Changes of metrics that were dropped because of their name.
    pub metrics_dropped: u64,
    /// Turns that were divided without a fault because they were too large.
    pub batches_divided: u64,
}

impl LimitCounts {
    /// Adds the counts of another attempt.
    pub fn add(&mut self, other: &LimitCounts) {
        for (code, count) in &other.faults {
            *self.faults.entry(code).or_default() += count;
        }
        self.log_lines_dropped += other.log_lines_dropped;
        self.metrics_dropped += other.metrics_dropped;
        self.batches_divided += other.batches_divided;
    }
}

impl SharedLimits {
    /// Returns the limits of an operator of which nothing is used. `clock` measures rates.
    pub fn new(operator: &str, limits: &OperatorLimits, log: Arc<NodeLog>, clock: SharedClock) -> SharedLimits {
        let rate = |key| {
            let per_second = limits.get(key);
            LogLimit::new(per_second.saturating_mul(LOG_BURST_SECONDS), per_second)
        };
        SharedLimits {
            operator: operator.to_owned(),
            clock,
            state_bytes_max: limits.get(LimitKey::State),
            state_bytes: AtomicU64::new(0),
            namespace_state: ByteAccount::default(),
            log_lines: rate(LimitKey::LogLines),
            log_bytes: rate(LimitKey::LogBytes),
            log,
            unreported_lines: AtomicU64::new(0),
            metric_names: Mutex::default(),
            fault_share: limits.faults.map(|limit| (limit, Mutex::default())),
            faults: Default::default(),
            log_lines_dropped: AtomicU64::new(0),
            metrics_dropped: AtomicU64::new(0),
            batches_divided: AtomicU64::new(0),
        }
    }

    /// Charges the state to the account of a namespace, too.
    pub fn with_namespace_state(self, account: &ByteAccount) -> SharedLimits {
        SharedLimits { namespace_state: account.clone(), ..self }
    }

    /// Returns a charge for the state of one subtask.
    pub(super) fn namespace_charge(&self) -> Charge {
        Charge::to(&self.namespace_state)
    }

    /// Returns by how much the state of a subtask may change before it must call [`SharedLimits::change_state`].
    pub fn state_step_bytes(&self) -> u64 {
        (self.state_bytes_max / 256).min(64 << 10)
    }

    /// Notes that the state of a subtask has changed from `before` to `after` bytes. Error: `state-exceeded`.
    pub fn change_state(&self, before: u64, after: u64) -> Result<()> {
        let change = after.wrapping_sub(before);
        let total = self.state_bytes.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        if total <= self.state_bytes_max || after <= before {
            return Ok(());
        }
        let (key, operator) = (LimitKey::State, &self.operator);
        let (total, limit) = (key.format(total), key.format(self.state_bytes_max));
        let message = format!("the state of operator `{operator}` has {total}, more than {key}, {limit}");
        Err(error::state_exceeded(message)
            .hint("clear keys that are no longer needed, set a time to live, or raise the limit"))
    }

    /// Returns whether a log line of this length may be written. Counts it if not.
    pub fn admit_line(&self, bytes: usize) -> bool {
        let now_ns = self.clock.monotonic_ns();
        let is_admitted = self.log_lines.take_tokens(1, now_ns)
            && self.log_bytes.take_tokens(bytes as u64, now_ns)
            && self.log.admit(bytes, now_ns);
        if !is_admitted {
            self.note_dropped_line();
        }
        is_admitted
    }

    /// Counts a log line that was dropped.
    pub(super) fn note_dropped_line(&self) {
        self.log.note_suppressed();
        self.log_lines_dropped.fetch_add(1, Ordering::Relaxed);
        self.unreported_lines.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the log of the operator.
    pub fn log(&self) -> &Arc<NodeLog> {
        &self.log
    }

    /// Returns the number of dropped lines that were not reported yet. The caller reports them.
    pub fn take_dropped_lines(&self) -> u64 {
        self.unreported_lines.swap(0, Ordering::Relaxed)
    }

    /// Returns whether lines were dropped that were not reported yet.
    pub fn has_dropped_lines(&self) -> bool {
        self.unreported_lines.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the operator may have a metric of this name.
    pub(super) fn admit_metric(&self, name: &str) -> bool {
        let mut names = self.metric_names.lock();
        names.contains(name) || (names.len() < METRIC_NAMES_MAX && names.insert(name.to_owned()))
    }

    /// Counts a change of a metric that was dropped.
    pub(super) fn note_dropped_metric(&self) {
        self.metrics_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault.
    pub fn note_fault(&self, code: FaultCode) {
        if let Some(index) = FaultCode::ALL.iter().position(|other| *other == code) {
            self.faults[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a turn that was divided because it was too large.
    pub fn note_divided(&self) {
        self.batches_divided.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that `bad` of `records` records were bad. Error: `too-many-faults`.
    pub fn note_records(&self, records: u64, bad: u64) -> Result<()> {
        let Some((limit, window)) = &self.fault_share else { return Ok(()) };
        let part_ns = (limit.window.as_nanos() as u64 / WINDOW_PARTS).max(1);
        let mut window = window.lock();
        window.add(self.clock.monotonic_ns() / part_ns, records, bad);
        let (records, bad) = window.sum();
        let share_max = u128::from(limit.share_thousandths);
        if records < limit.records_min || u128::from(bad) * 1000 <= u128::from(records) * share_max {
            return Ok(());
        }
        let (operator, window) = (&self.operator, humantime::format_duration(limit.window));
        let share = f64::from(limit.share_thousandths) / 1000.0;
        let message = format!(
            "{bad} of {records} records of operator `{operator}` were bad within {window}, more than the share {share} of limits.faults"
        );
        Err(error::too_many_faults(message)
            .hint("look at the latest faults, and correct the input, the function or the limit"))
    }

    /// Returns what was exceeded.
    pub fn counts(&self) -> LimitCounts {
        let faults = FaultCode::ALL.iter().zip(&self.faults);
        let faults = faults.map(|(code, count)| (code.as_str(), count.load(Ordering::Relaxed)));
        LimitCounts {
            faults: faults.filter(|(_, count)| *count > 0).collect(),
            log_lines_dropped: self.log_lines_dropped.load(Ordering::Relaxed),
            metrics_dropped: self.metrics_dropped.load(Ordering::Relaxed),
            batches_divided: self.batches_divided.load(Ordering::Relaxed),
        }
    }
}

/// The default limits, for functions that run outside of a job.
impl Default for SharedLimits {
    fn default() -> SharedLimits {
        SharedLimits::new("", &OperatorLimits::default(), Arc::default(), SystemClock::shared())
    }
}

/// Counts records within the latest parts of a window.
#[derive(Default)]
struct FaultWindow {
    /// Number of the current part.
    part: u64,
    /// Records and bad records of each part. The index is the number of the part, modulo their count.
    counts: [(u64, u64); WINDOW_PARTS as usize],
}

impl FaultWindow {
    fn add(&mut self, part: u64, records: u64, bad: u64) {
        let elapsed = part.saturating_sub(self.part).min(WINDOW_PARTS);
        for passed in 0..elapsed {
            self.counts[((part - passed) % WINDOW_PARTS) as usize] = (0, 0);
        }
        self.part = self.part.max(part);
        let current = &mut self.counts[(self.part % WINDOW_PARTS) as usize];
        *current = (current.0 + records, current.1 + bad);
    }

    fn sum(&self) -> (u64, u64) {
        self.counts.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    fn shared(limits: &OperatorLimits) -> (SharedLimits, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        (SharedLimits::new("op", limits, Arc::default(), clock.clone()), clock)
    }

    #[test]
    fn the_state_of_all_subtasks_together_is_limited() {
        let (shared, _) = shared(&OperatorLimits::default().with(LimitKey::State, 1000));
        shared.change_state(0, 600).unwrap();
        shared.change_state(0, 400).unwrap();
        let error = shared.change_state(400, 401).unwrap_err();
        assert_eq!(error.code, "state-exceeded");
        assert!(error.message.contains("`op`") && error.message.contains("limits.state"), "{error}");
        shared.change_state(600, 599).unwrap();
        shared.change_state(401, 300).unwrap();
        shared.change_state(300, 401).unwrap();
    }

    #[test]
    fn log_lines_are_limited_by_number_and_by_bytes() {
        let limits = OperatorLimits::default().with(LimitKey::LogLines, 2).with(LimitKey::LogBytes, 100);
        let (shared, clock) = shared(&limits);
        assert_eq!((0..50).filter(|_| shared.admit_line(1)).count(), 20, "ten seconds' worth at once");
        clock.set_ms(1_000_000);
        assert_eq!((0..50).filter(|_| shared.admit_line(300)).count(), 3);
        clock.set_ms(1_001_000);
        assert!(!shared.admit_line(300) && shared.admit_line(50));
        assert_eq!((shared.counts().log_lines_dropped, shared.take_dropped_lines()), (78, 78));
        assert!(!shared.has_dropped_lines());
    }

    #[test]
    fn an_operator_has_at_most_64_metrics() {
        let shared = SharedLimits::default();
        assert_eq!((0..100).filter(|n| shared.admit_metric(&n.to_string())).count(), METRIC_NAMES_MAX);
        assert!(shared.admit_metric("7"), "another subtask may use the same names");
    }

    #[test]
    fn the_share_of_bad_records_is_limited_within_the_window() {
        let window = Duration::from_secs(10);
        let faults = Some(FaultShareLimit { share_thousandths: 100, window, records_min: 50 });
        let mut limits = OperatorLimits::default();
        limits.faults = faults;
        let (shared, clock) = shared(&limits);
        shared.note_records(49, 49).unwrap();
        clock.set_ms(10_500);
        shared.note_records(1000, 100).unwrap();
        clock.set_ms(15_000);
        let error = shared.note_records(1, 1).unwrap_err();
        assert_eq!(error.code, "too-many-faults");
        assert!(error.message.starts_with("101 of 1001 records of operator `op` were bad within 10s"), "{error}");
        clock.set_ms(20_500);
        shared.note_records(110, 10).unwrap();
        clock.set_ms(1_000_000);
        shared.note_records(40, 40).unwrap();
        assert!(shared.note_records(10, 0).is_err(), "the minimum is reached");
    }

    #[test]
    fn faults_are_counted_by_their_code() {
        let shared = SharedLimits::default();
        shared.note_fault(FaultCode::StateExceeded);
        shared.note_fault(FaultCode::StateExceeded);
        shared.note_fault(FaultCode::GuestTrap);
        shared.note_divided();
        let counts = shared.counts();
        assert_eq!(counts.faults, BTreeMap::from([("guest-trap", 1), ("state-exceeded", 2)]));
        assert_eq!((counts.batches_divided, counts.metrics_dropped), (1, 0));
    }
}
