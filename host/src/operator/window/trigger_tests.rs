//! Triggers by Flink's definitions, on the window [0, 1000) and its neighbours.

use super::*;
use crate::pipeline::WindowAssigner;

const WINDOW: Window = Window { start: 0, end: 1000 };

struct Kept {
    kept: Option<i64>,
    timers: Vec<TimerChange>,
}

impl Kept {
    fn new() -> Kept {
        Kept { kept: None, timers: Vec::new() }
    }

    fn at(&mut self, watermark: i64, processing_ms: i64) -> Triggered<'_> {
        let now = Now { watermark, processing_ms };
        Triggered { window: WINDOW, now, kept: &mut self.kept, timers: &mut self.timers }
    }

    /// What was registered (true) and deleted since the last time.
    fn changes(&mut self) -> Vec<(i64, bool)> {
        self.timers.drain(..).map(|change| (change.time, change.is_registered)).collect()
    }
}

fn trigger(kind: WindowTrigger, time: TimeDomain, purges: bool) -> Trigger {
    let assigner = WindowAssigner::Tumbling { size_ms: 1000, offset_ms: 0 };
    let settings = WindowSettings { trigger: kind, purge: purges, ..WindowSettings::new(assigner, time) };
    Trigger::new(&settings)
}

const NOTHING: Verdict = Verdict { fires: false, purges: false };
const FIRE: Verdict = Verdict { fires: true, purges: false };
const FIRE_AND_PURGE: Verdict = Verdict { fires: true, purges: true };

#[test]
fn event_time_fires_at_the_end_and_with_every_record_behind_it() {
    let trigger = trigger(WindowTrigger::EventTime, TimeDomain::Event, false);
    let mut kept = Kept::new();
    assert_eq!(trigger.on_element(5, &mut kept.at(998, 0)), NOTHING);
    assert_eq!(kept.changes(), [(999, true)]);
    assert_eq!(trigger.on_element(5, &mut kept.at(999, 0)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut kept.at(999, 0)), FIRE);
    // The cleanup's timer, later by the lateness.
    assert_eq!(trigger.on_timer(TimeDomain::Event, 1499, &mut kept.at(1499, 0)), NOTHING);
    trigger.on_merge([None, None].into_iter(), &mut kept.at(998, 0));
    trigger.on_merge([None, None].into_iter(), &mut kept.at(999, 0));
    trigger.clear(&mut kept.at(0, 0));
    assert_eq!(kept.changes(), [(999, true), (999, false)]);
}

#[test]
fn processing_time_fires_when_the_clock_says_so_and_never_for_a_record() {
    let trigger = trigger(WindowTrigger::ProcessingTime, TimeDomain::Processing, true);
    let mut kept = Kept::new();
    assert_eq!(trigger.on_element(5, &mut kept.at(i64::MAX, 2000)), NOTHING);
    assert_eq!(kept.timers.drain(..).map(|change| change.domain).collect::<Vec<_>>(), [TimeDomain::Processing]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut kept.at(0, 999)), NOTHING);
    assert_eq!(trigger.on_timer(TimeDomain::Processing, 999, &mut kept.at(0, 999)), FIRE_AND_PURGE);
}

#[test]
fn count_fires_with_every_so_many_records_and_begins_anew() {
    let trigger = trigger(WindowTrigger::Count { records: 3 }, TimeDomain::Event, true);
    let mut kept = Kept::new();
    let verdicts: Vec<Verdict> = (0..6).map(|at| trigger.on_element(at, &mut kept.at(0, 0))).collect();
    assert_eq!(verdicts, [NOTHING, NOTHING, FIRE_AND_PURGE, NOTHING, NOTHING, FIRE_AND_PURGE]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut kept.at(999, 0)), NOTHING);
    // Two and one make three, and the record that merged them fires.
    trigger.on_merge([Some(2), None, Some(1)].into_iter(), &mut kept.at(0, 0));
    assert_eq!(kept.kept, Some(3));
    assert_eq!(trigger.on_element(7, &mut kept.at(0, 0)), FIRE_AND_PURGE);
    assert!(kept.timers.is_empty());
}

/// Interval 300: a record at 350 makes it fire at 600, 900 and at the end.
#[test]
fn continuous_fires_at_multiples_of_the_interval_and_at_the_end() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    let mut kept = Kept::new();
    assert_eq!(trigger.on_element(350, &mut kept.at(0, 0)), NOTHING);
    assert_eq!(kept.changes(), [(999, true), (600, true)]);
    assert_eq!(trigger.on_element(20, &mut kept.at(0, 0)), NOTHING);
    assert_eq!(kept.changes(), [(999, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 600, &mut kept.at(600, 0)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 700, &mut kept.at(700, 0)), NOTHING);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 900, &mut kept.at(900, 0)), FIRE);
    assert_eq!(kept.changes(), [(900, true), (999, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 999, &mut kept.at(999, 0)), FIRE);
    trigger.clear(&mut kept.at(999, 0));
    assert_eq!((kept.changes(), kept.kept), (vec![(999, false)], None));
    trigger.on_merge([Some(600), Some(300), None].into_iter(), &mut kept.at(0, 0));
    assert_eq!((kept.changes(), kept.kept), (vec![(300, true)], Some(300)));
    assert_eq!(trigger.on_element(5, &mut kept.at(999, 0)), FIRE);
}

#[test]
fn continuous_in_processing_time_goes_by_the_clock() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Processing, false);
    let mut kept = Kept::new();
    assert_eq!(trigger.on_element(5, &mut kept.at(i64::MAX, 350)), NOTHING);
    assert_eq!(kept.changes(), [(600, true)]);
    assert_eq!(trigger.on_timer(TimeDomain::Processing, 600, &mut kept.at(0, 650)), FIRE);
    assert_eq!(trigger.on_timer(TimeDomain::Event, 900, &mut kept.at(0, 900)), NOTHING);
}

/// At the end of the input the watermark is the end of time, and a global window has no other end.
#[test]
fn continuous_in_a_global_window_does_not_count_to_the_end_of_time() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    let (mut kept, mut timers) = (Some(600), Vec::new());
    let now = Now { watermark: i64::MAX, processing_ms: 0 };
    let mut on = Triggered { window: Window::GLOBAL, now, kept: &mut kept, timers: &mut timers };
    assert_eq!(trigger.on_timer(TimeDomain::Event, 600, &mut on), FIRE);
    assert_eq!(timers, [TimerChange { domain: TimeDomain::Event, time: i64::MAX, is_registered: true }]);
}

/// Interval 300: before the epoch the multiple behind -350 is -300, and not 0.
#[test]
fn continuous_fires_at_multiples_of_the_interval_before_the_epoch_too() {
    let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, TimeDomain::Event, false);
    for (timestamp, expected) in [(-350, -300), (-300, 0), (-1, 0), (i64::MIN + 1, i64::MIN + 300)] {
        let (mut kept, mut timers) = (None, Vec::new());
        let now = Now { watermark: i64::MIN, processing_ms: 0 };
        let mut on = Triggered { window: Window::GLOBAL, now, kept: &mut kept, timers: &mut timers };
        assert_eq!(trigger.on_element(timestamp, &mut on), NOTHING);
        assert_eq!(kept, Some(expected), "of a record at {timestamp}");
    }
}

/// Interval 300: no record comes in a leap of the clock, so that all firings within it are the same.
#[test]
fn continuous_fires_once_where_its_clock_leaps() {
    for time in [TimeDomain::Event, TimeDomain::Processing] {
        let trigger = trigger(WindowTrigger::Continuous { interval_ms: 300 }, time, false);
        let (mut kept, mut timers) = (Some(600), Vec::new());
        let leap = 1_700_000_000_000;
        let now = match time {
            TimeDomain::Event => Now { watermark: leap, processing_ms: 0 },
            TimeDomain::Processing => Now { watermark: 0, processing_ms: leap },
        };
        let mut on = Triggered { window: Window::GLOBAL, now, kept: &mut kept, timers: &mut timers };
        assert_eq!(trigger.on_timer(time, 600, &mut on), FIRE);
        assert_eq!(kept, Some(1_700_000_000_100), "the first multiple behind the leap");
    }
}
