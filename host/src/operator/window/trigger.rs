//! Triggers decide when a window fires, with the semantics of Flink's triggers.
//!
//! A trigger works on one window at a time. It changes the window's trigger state and requests timers, but neither fires the window
//! nor touches its contents.

use super::time_window::TimeWindow;
use crate::model::TimeDomain;
use crate::pipeline::{WindowSettings, WindowTrigger};

/// Whether a window fires, and whether its contents are then removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriggerResult {
    pub fires: bool,
    pub purges: bool,
}

/// A timer of a window that is registered or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerChange {
    pub domain: TimeDomain,
    pub time: i64,
    pub is_registered: bool,
}

/// The readings of the two clocks during a turn.
#[derive(Clone, Copy, Debug)]
pub struct TurnClocks {
    pub watermark: i64,
    /// Milliseconds since the Unix epoch.
    pub processing_ms: i64,
}

/// The window that a trigger works on.
pub struct TriggerContext<'a> {
    pub window: TimeWindow,
    pub clocks: TurnClocks,
    /// The state of the trigger: the number of records since the last firing, or the next time at which a continuous trigger fires.
    pub state: &'a mut Option<i64>,
    pub timers: &'a mut Vec<TimerChange>,
}

/// The trigger of a window operator.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    kind: WindowTrigger,
    /// The clock of the windows. A continuous trigger fires by it.
    time: TimeDomain,
    purges: bool,
}

impl Trigger {
    pub fn new(settings: &WindowSettings) -> Trigger {
        Trigger { kind: settings.trigger, time: settings.time, purges: settings.purge }
    }

    /// Whether the trigger has a state per window.
    pub fn is_stateful(&self) -> bool {
        matches!(self.kind, WindowTrigger::Count { .. } | WindowTrigger::Continuous { .. })
    }

    /// Whether the only effect of a record in an open window is to register the timer at the window's end.
    pub fn fires_at_window_end(&self) -> bool {
        matches!(self.kind, WindowTrigger::EventTime | WindowTrigger::ProcessingTime)
    }

    /// The clock by which the trigger fires. For a count trigger, the clock of the windows.
    pub fn clock(&self) -> TimeDomain {
        match self.kind {
            WindowTrigger::EventTime => TimeDomain::Event,
            WindowTrigger::ProcessingTime => TimeDomain::Processing,
            WindowTrigger::Count { .. } | WindowTrigger::Continuous { .. } => self.time,
        }
    }

    fn fire(&self, fires: bool) -> TriggerResult {
        TriggerResult { fires, purges: fires && self.purges }
    }

    /// Handles a record that was added to the window.
    pub fn on_element(&self, timestamp: i64, context: &mut TriggerContext<'_>) -> TriggerResult {
        let last = context.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime if last <= context.clocks.watermark => self.fire(true),
            WindowTrigger::EventTime => {
                context.register(TimeDomain::Event, last);
                self.fire(false)
            }
            WindowTrigger::ProcessingTime => {
                context.register(TimeDomain::Processing, last);
                self.fire(false)
            }
            WindowTrigger::Count { records } => {
                let count = context.state.unwrap_or(0).saturating_add(1);
                let fires = u64::try_from(count).is_ok_and(|count| count >= records);
                *context.state = (!fires).then_some(count);
                self.fire(fires)
            }
            WindowTrigger::Continuous { interval_ms } => {
                let timestamp = match self.time {
                    TimeDomain::Event if last <= context.clocks.watermark => return self.fire(true),
                    TimeDomain::Event => {
                        context.register(TimeDomain::Event, last);
                        timestamp
                    }
                    TimeDomain::Processing => context.clocks.processing_ms,
                };
                if context.state.is_none() {
                    let begin = timestamp.saturating_sub(timestamp.rem_euclid(interval_ms));
                    self.next_fire(begin, interval_ms, context);
                }
                self.fire(false)
            }
        }
    }

    /// Handles a due timer of the window.
    pub fn on_timer(&self, domain: TimeDomain, time: i64, context: &mut TriggerContext<'_>) -> TriggerResult {
        let last = context.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime => self.fire(domain == TimeDomain::Event && time == last),
            WindowTrigger::ProcessingTime => self.fire(domain == TimeDomain::Processing),
            WindowTrigger::Count { .. } => self.fire(false),
            WindowTrigger::Continuous { .. } if domain != self.time => self.fire(false),
            WindowTrigger::Continuous { interval_ms } => {
                if domain == TimeDomain::Event && time == last {
                    return self.fire(true);
                }
                if *context.state != Some(time) {
                    return self.fire(false);
                }
                *context.state = None;
                self.next_fire(self.last_due(time, interval_ms, context.clocks), interval_ms, context);
                self.fire(true)
            }
        }
    }

    /// The last time at which a continuous trigger is due, given that its timer at `time` fires.
    ///
    /// The clock may have jumped over many intervals. No record has been added in between, so the window fires once for all of them.
    fn last_due(&self, time: i64, interval_ms: i64, clocks: TurnClocks) -> i64 {
        let now = match self.time {
            TimeDomain::Event => clocks.watermark,
            TimeDomain::Processing => clocks.processing_ms,
        };
        let over = now.saturating_sub(time).max(0) / interval_ms;
        time.saturating_add(over.saturating_mul(interval_ms))
    }

    fn next_fire(&self, from: i64, interval_ms: i64, context: &mut TriggerContext<'_>) {
        let last = context.window.max_timestamp();
        // After the end of the input, a window without an end would fire forever.
        let is_over = context.clocks.watermark == i64::MAX && last == i64::MAX && self.time == TimeDomain::Event;
        let next = if is_over { last } else { from.saturating_add(interval_ms).min(last) };
        *context.state = Some(next);
        context.register(self.time, next);
    }

    /// Handles a window that is the result of a merge of windows with these trigger states.
    pub fn on_merge(&self, merged: impl Iterator<Item = Option<i64>>, context: &mut TriggerContext<'_>) {
        let last = context.window.max_timestamp();
        match self.kind {
            WindowTrigger::EventTime if last > context.clocks.watermark => context.register(TimeDomain::Event, last),
            WindowTrigger::EventTime => {}
            WindowTrigger::ProcessingTime if last > context.clocks.processing_ms => {
                context.register(TimeDomain::Processing, last)
            }
            WindowTrigger::ProcessingTime => {}
            WindowTrigger::Count { .. } => *context.state = merged.flatten().reduce(i64::saturating_add),
            WindowTrigger::Continuous { .. } => {
                *context.state = merged.flatten().min();
                if let Some(next) = *context.state {
                    context.register(self.time, next);
                }
            }
        }
    }

    /// Deletes the state and the timers of a window that is removed, or merged into another.
    pub fn clear(&self, context: &mut TriggerContext<'_>) {
        match self.kind {
            WindowTrigger::EventTime => context.delete(TimeDomain::Event, context.window.max_timestamp()),
            WindowTrigger::ProcessingTime => context.delete(TimeDomain::Processing, context.window.max_timestamp()),
            WindowTrigger::Count { .. } => {}
            WindowTrigger::Continuous { .. } => {
                if let Some(next) = *context.state {
                    context.delete(self.time, next);
                }
            }
        }
        *context.state = None;
    }
}

impl TriggerContext<'_> {
    fn register(&mut self, domain: TimeDomain, time: i64) {
        self.timers.push(TimerChange { domain, time, is_registered: true });
    }

    fn delete(&mut self, domain: TimeDomain, time: i64) {
        self.timers.push(TimerChange { domain, time, is_registered: false });
    }
}
