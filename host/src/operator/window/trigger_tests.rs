//! Triggers behave as Flink defines them. Most tests use the window [0, 1000).

use super::time_window::TimeWindow;
use super::trigger::{TimerChange, Trigger, TriggerContext, TriggerResult, TurnClocks};
use crate::model::TimeDomain;
use crate::pipeline::{WindowAssigner, WindowSettings, WindowTrigger};

const WINDOW: TimeWindow = TimeWindow { start: 0, end: 1000 };

/// The state and the timers of a trigger.
struct TriggerFixture {
    state: Option<i64>,
    timers: Vec<TimerChange>,
}

impl TriggerFixture {
    fn new() -> TriggerFixture {
        TriggerFixture { state: None, timers: Vec::new() }
    }

    fn at(&mut self, watermark: i64, processing_ms: i64) -> TriggerContext<'_> {
        let clocks = TurnClocks { watermark, processing_ms };
        TriggerContext { window: WINDOW, clocks, state: &mut self.state, timers: &mut self.timers }
    }

    /// The timers that were registered (true) or deleted since the last call.
    fn changes(&mut self) -> Vec<(i64, bool)> {
        self.timers.drain(..).map(|change| (change.time, change.is_registered)).collect()
    }
}

fn trigger(kind: WindowTrigger, time: TimeDomain, purges: bool) -> Trigger {
    let assigner = WindowAssigner::Tumbling { size_ms: 1000, offset_ms: 0 };
    let settings = WindowSettings { trigger: kind, purge: purges, ..WindowSettings::new(assigner, time) };
    Trigger::new(&settings)
}

const NOTHING: TriggerResult = TriggerResult { fires: false, purges: false };
const FIRE: TriggerResult = TriggerResult { fires: true, purges: false };
const FIRE_AND_PURGE: TriggerResult = TriggerResult { fires: true, purges: true };

#[test]
fn an_event_time_trigger_fires_at_the_end_and_for_each_late_record() {
    let trigger = trigger(WindowTrigger::EventTime, TimeDomain::Event, false);
    let mut fixture = TriggerFixture::new();
    assert_eq!(trigger.on_element(5, &mut fixture.at(998, 0)), NOTHING);
    assert_eq!(fixture.changes(), [(999, true)]);
    assert_eq!(trigger.on_element(5, &mut fixture.at(999, 0)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut fixture.at(999, 0)), FIRE);
    // The clean-up timer is later by the allowed lateness, and does not fire the window.
    assert_eq!(trigger.on_timer(TimeDomain::Event, 1499, &mut fixture.at(1499, 0)), NOTHING);
    trigger.on_merge([None, None].into_iter(), &mut fixture.at(998, 0));
    trigger.on_merge([None, None].into_iter(), &mut fixture.at(999, 0));
    trigger.clear(&mut fixture.at(0, 0));
    assert_eq!(fixture.changes(), [(999, true), (999, false)]);
}

#[test]
fn a_processing_time_trigger_fires_by_the_clock_and_never_for_a_record() {
    let trigger = trigger(WindowTrigger::ProcessingTime, TimeDomain::Processing, true);
    let mut fixture = TriggerFixture::new();
    assert_eq!(trigger.on_element(5, &mut fixture.at(i64::MAX, 2000)), NOTHING);
    assert_eq!(fixture.timers.drain(..).map(|change| change.domain).collect::<Vec<_>>(), [TimeDomain::Processing]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut fixture.at(0, 999)), NOTHING);
    assert_eq!(trigger.on_timer(TimeDomain::Processing, 999, &mut fixture.at(0, 999)), FIRE_AND_PURGE);
}

#[test]
fn a_count_trigger_fires_after_every_n_records() {
    let trigger = trigger(WindowTrigger::Count { records: 3 }, TimeDomain::Event, true);
    let mut fixture = TriggerFixture::new();
    let results: Vec<TriggerResult> = (0..6).map(|at| trigger.on_element(at, &mut fixture.at(0, 0))).collect();
    assert_eq!(results, [NOTHING, NOTHING, FIRE_AND_PURGE, NOTHING, NOTHING, FIRE_AND_PURGE]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut fixture.at(999, 0)), NOTHING);
    // Counts are added in a merge: 2 + 1 = 3. The record that caused the merge fires the window.
    trigger.on_merge([Some(2), None, Some(1)].into_iter(), &mut fixture.at(0, 0));
    assert_eq!(fixture.state, Some(3));
    assert_eq!(trigger.on_element(7, &mut fixture.at(0, 0)), FIRE_AND_PURGE);
    assert!(fixture.timers.is_empty());
}

/// The interval is 300. After a record at 350, the trigger fires at 600, at 900 and at the end.
#[test]
fn a_continuous_trigger_fires_at_multiples_of_the_interval_and_at_the_end() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    let mut fixture = TriggerFixture::new();
    assert_eq!(trigger.on_element(350, &mut fixture.at(0, 0)), NOTHING);
    assert_eq!(fixture.changes(), [(999, true), (600, true)]);
    assert_eq!(trigger.on_element(20, &mut fixture.at(0, 0)), NOTHING);
    assert_eq!(fixture.changes(), [(999, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 600, &mut fixture.at(600, 0)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 700, &mut fixture.at(700, 0)), NOTHING);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 900, &mut fixture.at(900, 0)), FIRE);
    assert_eq!(fixture.changes(), [(900, true), (999, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut fixture.at(999, 0)), FIRE);
    trigger.clear(&mut fixture.at(999, 0));
    assert_eq!((fixture.changes(), fixture.state), (vec![(999, false)], None));
    trigger.on_merge([Some(600), Some(300), None].into_iter(), &mut fixture.at(0, 0));
    assert_eq!((fixture.changes(), fixture.state), (vec![(300, true)], Some(300)));
    assert_eq!(trigger.on_element(5, &mut fixture.at(999, 0)), FIRE);
}

#[test]
fn a_continuous_trigger_in_processing_time_uses_the_clock() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Processing, false);
    let mut fixture = TriggerFixture::new();
    assert_eq!(trigger.on_element(5, &mut fixture.at(i64::MAX, 350)), NOTHING);
    assert_eq!(fixture.changes(), [(600, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Processing, 600, &mut fixture.at(0, 650)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 900, &mut fixture.at(0, 900)), NOTHING);
}

/// At the end of the input the watermark is the end of time, which is also the end of a global window.
#[test]
fn a_continuous_trigger_stops_when_the_input_of_a_global_window_ends() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    let (mut state, mut timers) = (Some(600), Vec::new());
    let clocks = TurnClocks { watermark: i64::MAX, processing_ms: 0 };
    let mut context = TriggerContext { window: TimeWindow::GLOBAL, clocks, state: &mut state, timers: &mut timers };
    assert_eq!(trigger.on_timer(TimeDomain::Event, 600, &mut context), FIRE);
    assert_eq!(timers, [TimerChange { domain: TimeDomain::Event, time: i64::MAX, is_registered: true }]);
}

/// The interval is 300. Before the epoch, the next multiple after -350 is -300, not 0.
#[test]
fn a_continuous_trigger_fires_at_multiples_of_the_interval_before_the_epoch() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    for (timestamp, expected) in [(-350, -300), (-300, 0), (-1, 0), (i64::MIN + 1, i64::MIN + 300)] {
        let (mut state, mut timers) = (None, Vec::new());
        let clocks = TurnClocks { watermark: i64::MIN, processing_ms: 0 };
        let mut context = TriggerContext { window: TimeWindow::GLOBAL, clocks, state: &mut state, timers: &mut timers };
        assert_eq!(trigger.on_element(timestamp, &mut context), NOTHING);
        assert_eq!(state, Some(expected), "for a record at {timestamp}");
    }
}

/// The interval is 300. No record is added while the clock jumps, so one firing stands for all.
#[test]
fn a_continuous_trigger_fires_once_when_its_clock_jumps() {
    for time in [TimeDomain::Event, TimeDomain::Processing] {
        let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, time, false);
        let (mut state, mut timers) = (Some(600), Vec::new());
        let jump = 1_700_000_000_000;
        let clocks = match time {
            TimeDomain::Event => TurnClocks { watermark: jump, processing_ms: 0 },
            TimeDomain::Processing => TurnClocks { watermark: 0, processing_ms: jump },
        };
        let mut context = TriggerContext { window: TimeWindow::GLOBAL, clocks, state: &mut state, timers: &mut timers };
        assert_eq!(trigger.on_timer(time, 600, &mut context), FIRE);
        assert_eq!(state, Some(1_700_000_000_100), "the first multiple after the jump");
    }
}
