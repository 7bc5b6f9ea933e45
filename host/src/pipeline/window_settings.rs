//! The definition of an operator's windows: assigner, trigger, evictor and aggregate. Times are in milliseconds.

use super::key_selector::KeySelector;
use crate::model::TimeDomain;

/// The checked settings of a window operator. Terms and semantics are those of Flink.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSettings {
    /// Assigns records to windows.
    pub assigner: WindowAssigner,
    /// The time domain of the windows.
    pub time: TimeDomain,
    /// Time after its end during which a window still accepts records.
    pub allowed_lateness_ms: i64,
    /// Decides when a window fires.
    pub trigger: WindowTrigger,
    /// Whether firing removes the elements of the window.
    pub purge: bool,
    /// Removes elements when a window fires.
    pub evictor: Option<Evictor>,
    /// The built-in aggregate that replaces a function.
    pub aggregate: Option<Aggregate>,
}

/// Assigns records to windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowAssigner {
    /// Windows of equal size, one after another.
    Tumbling {
        /// Length of a window.
        size_ms: i64,
        /// Offset of the windows from the epoch.
        offset_ms: i64,
    },
    /// Overlapping windows of equal size.
    Sliding {
        /// Length of a window.
        size_ms: i64,
        /// Time between the starts of two windows.
        slide_ms: i64,
        /// Offset of the windows from the epoch.
        offset_ms: i64,
    },
    /// Windows that end after a gap without records.
    Session {
        /// Length of the gap.
        gap_ms: i64,
    },
    /// One window for all records of a key.
    Global,
}

/// Decides when a window fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowTrigger {
    /// Fires when the watermark passes the end of the window.
    EventTime,
    /// Fires when the processing time passes the end of the window.
    ProcessingTime,
    /// Fires after every `records` records.
    Count {
        /// Number of records.
        records: u64,
    },
    /// Fires at every multiple of the interval and at the end of the window, in the time domain of the windows.
    Continuous {
        /// Time between two firings.
        interval_ms: i64,
    },
}

/// Removes elements from a window when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evictor {
    /// The elements that stay.
    pub keeps: RetainedElements,
    /// Whether elements are removed after the function is called, not before.
    pub after: bool,
}

/// The elements that an evictor retains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedElements {
    /// The last elements, up to this number.
    Count(u64),
    /// The elements whose timestamps are less than this many milliseconds before the latest one.
    TimeMs(i64),
}

/// A built-in aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Counts records.
    Count,
    /// Aggregates a number in each record.
    Numeric {
        /// The aggregate function.
        function: NumericAggregate,
        /// The field that contains the number.
        field: KeySelector,
    },
}

/// A built-in aggregate of a number in each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericAggregate {
    /// The sum.
    Sum,
    /// The smallest number.
    Min,
    /// The largest number.
    Max,
    /// The arithmetic mean.
    Average,
    /// The records with the largest numbers, up to this many.
    Top(u32),
}

impl WindowSettings {
    /// Returns windows with their default trigger, without an evictor and without allowed lateness.
    pub fn new(assigner: WindowAssigner, time: TimeDomain) -> WindowSettings {
        WindowSettings {
            assigner,
            time,
            allowed_lateness_ms: 0,
            trigger: match time {
                TimeDomain::Event => WindowTrigger::EventTime,
                TimeDomain::Processing => WindowTrigger::ProcessingTime,
            },
            purge: false,
            evictor: None,
            aggregate: None,
        }
    }
}

impl WindowSettings {
    /// Returns whether the windows or their trigger need event timestamps.
    pub fn needs_timestamps(&self) -> bool {
        // A continuous trigger counts its intervals from the timestamp of a record.
        let is_by_time =
            self.assigner != WindowAssigner::Global || matches!(self.trigger, WindowTrigger::Continuous { .. });
        self.time == TimeDomain::Event && is_by_time
    }

    /// Returns whether windows fire only when the watermark advances.
    pub fn waits_for_watermark(&self) -> bool {
        let by_time = matches!(self.trigger, WindowTrigger::EventTime | WindowTrigger::Continuous { .. });
        self.time == TimeDomain::Event && by_time
    }
}
