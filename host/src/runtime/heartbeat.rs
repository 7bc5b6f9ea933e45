//! Finds subtasks that make no progress although they have something to do, such as one whose connector hangs.
//!
//! A subtask beats with each step of its loop and each tick of a guest call. One that waits for input, for a credit or for a permit need
//! not beat. Neither need one that is being opened: a restore may take any time.

use std::sync::Arc;
use std::time::Duration;

use crate::permits::SubtaskActivity;
use crate::pipeline::HeartbeatSettings;

/// The heartbeats of all subtasks of an attempt.
pub(crate) struct HeartbeatMonitor {
    interval_ns: u64,
    timeout_ns: u64,
    /// When the heartbeats are checked next, in monotonic nanoseconds.
    next_ns: u64,
    subtasks: Vec<MonitoredSubtask>,
}

struct MonitoredSubtask {
    activity: Arc<SubtaskActivity>,
    /// The beats that were seen last.
    beats: u64,
    /// When they were seen first, in monotonic nanoseconds.
    since_ns: u64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl HeartbeatMonitor {
    pub(crate) fn new(settings: HeartbeatSettings) -> HeartbeatMonitor {
        let HeartbeatSettings { interval, timeout } = settings;
        HeartbeatMonitor {
            interval_ns: nanoseconds(interval),
            timeout_ns: nanoseconds(timeout),
            next_ns: 0,
            subtasks: Vec::new(),
        }
    }

    /// Adds a subtask. Its index is the number of those added before.
    pub(crate) fn add(&mut self, activity: Arc<SubtaskActivity>) {
        self.subtasks.push(MonitoredSubtask { activity, beats: 0, since_ns: 0 });
    }

    /// Time without a beat after which a subtask hangs.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout_ns)
    }

    /// Returns the time until the next check is due, in nanoseconds.
    pub(crate) fn wait_ns(&self, now_ns: u64) -> u64 {
        self.next_ns.saturating_sub(now_ns)
    }

    /// Checks the heartbeats if that is due. Returns the index of a subtask that has missed them for the timeout.
    pub(crate) fn check(&mut self, now_ns: u64) -> Option<usize> {
        if now_ns < self.next_ns {
            return None;
        }
        self.next_ns = now_ns.saturating_add(self.interval_ns);
        let timeout_ns = self.timeout_ns;
        let hangs = |subtask: &mut MonitoredSubtask| {
            let beats = subtask.activity.beats();
            if subtask.since_ns == 0 || beats != subtask.beats || subtask.activity.is_waiting() {
                (subtask.beats, subtask.since_ns) = (beats, now_ns.max(1));
            }
            now_ns.saturating_sub(subtask.since_ns) >= timeout_ns
        };
        self.subtasks.iter_mut().position(hangs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interrupt;
    use crate::permits::{self, JobShare};

    const SECOND_NS: u64 = 1_000_000_000;

    fn monitor(activity: &Arc<SubtaskActivity>) -> HeartbeatMonitor {
        let mut monitor = HeartbeatMonitor::new(HeartbeatSettings::default());
        monitor.add(Arc::default());
        monitor.subtasks[0].activity = activity.clone();
        monitor
    }

    #[test]
    fn a_subtask_without_progress_is_found_after_the_timeout() {
        let activity = Arc::<SubtaskActivity>::default();
        let mut monitor = monitor(&activity);
        let _permit = permits::enter(&JobShare::default(), activity, Interrupt::default());
        for second in [0, 10, 20, 30, 40] {
            assert_eq!(monitor.check(second * SECOND_NS), None, "after {second} s");
        }
        permits::check();
        for second in [50, 60, 70, 80, 90, 99] {
            assert_eq!(monitor.check(second * SECOND_NS), None, "after {second} s");
        }
        assert_eq!(monitor.wait_ns(99 * SECOND_NS), SECOND_NS);
        assert_eq!(monitor.check(100 * SECOND_NS), Some(0), "50 s after the last beat was seen");
    }

    #[test]
    fn a_subtask_that_waits_and_one_that_has_ended_need_not_beat() {
        let activity = Arc::<SubtaskActivity>::default();
        let mut monitor = monitor(&activity);
        let permit = permits::enter(&JobShare::default(), activity, Interrupt::default());
        permits::while_waiting(permits::WaitReason::Input, || {
            for second in (0..1000).step_by(10) {
                assert_eq!(monitor.check(second * SECOND_NS), None, "after {second} s");
            }
        });
        drop(permit);
        for second in (1000..2000).step_by(10) {
            assert_eq!(monitor.check(second * SECOND_NS), None, "after {second} s");
        }
    }
}
