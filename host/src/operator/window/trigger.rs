//! When a window fires: Flink's triggers, as changes to what is kept of one window.

use crate::model::TimeDomain;
use crate::pipeline::{WindowSettings, WindowTrigger};

use super::span::Window;

/// Whether a window fires, and whether it is emptied then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub fires: bool,
    pub purges: bool,
}

/// A timer of a window that a trigger registers or deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerChange {
    pub domain: TimeDomain,
    pub time: i64,
    pub is_registered: bool,
}

/// The two clocks, as they stand during a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub watermark: i64,
    pub processing_ms: i64,
}

/// What a trigger works on. `kept` is the number of records since the last firing, or the next time at which a continuous
/// trigger fires.
pub(super) struct Triggered<'a> {
    pub window: Window,
    pub now: Now,
    pub kept: &'a mut Option<i64>,
    pub timers: &'a mut Vec<TimerChange>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Trigger {
    kind: WindowTrigger,
    /// The clock of the windows, by which a continuous trigger fires.
    time: TimeDomain,
    purges: bool,
}

impl Trigger {
    pub fn new(settings: &WindowSettings) -> Trigger {
        Trigger { kind: settings.trigger, time: settings.time, purges: settings.purge }
    }

    /// Whether it keeps anything of a window.
    pub fn is_stateful(&self) -> bool {
        matches!(self.kind, WindowTrigger::Count { .. } | WindowTrigger::Continuous { .. })
    }

    /// Whether all that it does for a record of a window that is not over is to register the same timer.
    pub fn is_by_end(&self) -> bool {
        matches!(self.kind, WindowTrigger::EventTime | WindowTrigger::ProcessingTime)
    }

    /// The clock by which it fires; that of the windows where it counts.
    pub fn clock(&self) -> TimeDomain {
        match self.kind {
            WindowTrigger::EventTime => TimeDomain::Event,
            WindowTrigger::ProcessingTime => TimeDomain::Processing,
            WindowTrigger::Count { .. } | WindowTrigger::Continuous { .. } => self.time,
        }
    }

    fn fire(&self, fires: bool) -> Verdict {
        Verdict { fires, purges: fires && self.purges }
    }

    /// A record with this timestamp came into the window.
    pub fn on_element(&self, timestamp: i64, on: &mut Triggered<'_>) -> Verdict {
        let last = on.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime if last <= on.now.watermark => self.fire(true),
            WindowTrigger::EventTime => {
                on.register(TimeDomain::Event, last);
                self.fire(false)
            }
            WindowTrigger::ProcessingTime => {
                on.register(TimeDomain::Processing, last);
                self.fire(false)
            }
            WindowTrigger::Count { records } => {
                let count = on.kept.unwrap_or(0).saturating_add(1);
                let fires = u64::try_from(count).is_ok_and(|count| count >= records);
                *on.kept = (!fires).then_some(count);
                self.fire(fires)
            }
            WindowTrigger::Continuous { interval_ms } => {
                let timestamp = match self.time {
                    TimeDomain::Event if last <= on.now.watermark => return self.fire(true),
                    TimeDomain::Event => {
                        on.register(TimeDomain::Event, last);
                        timestamp
                    }
                    TimeDomain::Processing => on.now.processing_ms,
                };
                if on.kept.is_none() {
                    let begin = timestamp.saturating_sub(timestamp.rem_euclid(interval_ms));
                    self.next_fire(begin, interval_ms, on);
                }
                self.fire(false)
            }
        }
    }

    /// A timer of the window is due.
    pub fn on_timer(&self, domain: TimeDomain, time: i64, on: &mut Triggered<'_>) -> Verdict {
        let last = on.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime => self.fire(domain == TimeDomain::Event && time == last),
            WindowTrigger::ProcessingTime => self.fire(domain == TimeDomain::Processing),
            WindowTrigger::Count { .. } => self.fire(false),
            WindowTrigger::Continuous { .. } if domain != self.time => self.fire(false),
            WindowTrigger::Continuous { interval_ms } => {
                if domain == TimeDomain::Event && time == last {
                    return self.fire(true);
                }
                if *on.kept != Some(time) {
                    return self.fire(false);
                }
                *on.kept = None;
                self.next_fire(self.last_due(time, interval_ms, on.now), interval_ms, on);
                self.fire(true)
            }
        }
    }

    /// The last time at which the trigger is due, having fired for `time`: the clock may have jumped over many intervals. No
    /// record has come in between, so that they are fired as one.
    fn last_due(&self, time: i64, interval_ms: i64, now: Now) -> i64 {
        let now = match self.time {
            TimeDomain::Event => now.watermark,
            TimeDomain::Processing => now.processing_ms,
        };
        let over = now.saturating_sub(time).max(0) / interval_ms;
        time.saturating_add(over.saturating_mul(interval_ms))
    }

    fn next_fire(&self, from: i64, interval_ms: i64, on: &mut Triggered<'_>) {
        let last = on.window.max_timestamp();
        // Behind the end of the input a window without an end would fire for ever.
        let ended = on.now.watermark == i64::MAX && last == i64::MAX && self.time == TimeDomain::Event;
        let next = if ended { last } else { from.saturating_add(interval_ms).min(last) };
        *on.kept = Some(next);
        on.register(self.time, next);
    }

    /// The window is the result of a merge of windows of which these things were kept.
    pub fn on_merge(&self, merged: impl Iterator<Item = Option<i64>>, on: &mut Triggered<'_>) {
        let last = on.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime if last > on.now.watermark => on.register(TimeDomain::Event, last),
            WindowTrigger::EventTime => {}
            WindowTrigger::ProcessingTime if last > on.now.processing_ms => on.register(TimeDomain::Processing, last),
            WindowTrigger::ProcessingTime => {}
            WindowTrigger::Count { .. } => *on.kept = merged.flatten().reduce(i64::saturating_add),
            WindowTrigger::Continuous { .. } => {
                *on.kept = merged.flatten().min();
                if let Some(next) = *on.kept {
                    on.register(self.time, next);
                }
            }
        }
    }

    /// The window goes, or has become part of another.
    pub fn clear(&self, on: &mut Triggered<'_>) {
        match self.kind {
            WindowTrigger::EventTime => on.delete(TimeDomain::Event, on.window.max_timestamp()),
            WindowTrigger::ProcessingTime => on.delete(TimeDomain::Processing, on.window.max_timestamp()),
            WindowTrigger::Count { .. } => {}
            WindowTrigger::Continuous { .. } => {
                if let Some(next) = *on.kept {
                    on.delete(self.time, next);
                }
            }
        }
        *on.kept = None;
    }
}

impl Triggered<'_> {
    fn register(&mut self, domain: TimeDomain, time: i64) {
        self.timers.push(TimerChange { domain, time, is_registered: true });
    }

    fn delete(&mut self, domain: TimeDomain, time: i64) {
        self.timers.push(TimerChange { domain, time, is_registered: false });
    }
}

#[cfg(test)]
#[path = "trigger_tests.rs"]
mod tests;
