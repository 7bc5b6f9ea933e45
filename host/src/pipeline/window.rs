//! What a window operator is told: how records get into windows, when these fire, what stays in them, what is computed.
//!
//! Reads `window`, `trigger`, `evictor` and `aggregate` of `[operator.ID]` and refuses what contradicts itself. Times are in
//! milliseconds. Whether the function fits is checked by the job's plan.

use std::time::Duration;

use super::node::place;
use super::reader::{TomlItem, TomlSection};
use super::{KeySelector, duration};
use crate::error::{Result, manifest_invalid, manifest_key};
use crate::model::TimeDomain;

/// A checked definition of windows. The words and what they mean are Flink's.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSettings {
    pub assigner: WindowAssigner,
    /// The clock by which records get into windows.
    pub time: TimeDomain,
    pub allowed_lateness_ms: i64,
    pub trigger: WindowTrigger,
    /// Whether a window that fires is emptied.
    pub purge: bool,
    pub evictor: Option<Evictor>,
    /// In place of a function.
    pub aggregate: Option<Aggregate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowAssigner {
    Tumbling { size_ms: i64, offset_ms: i64 },
    Sliding { size_ms: i64, slide_ms: i64, offset_ms: i64 },
    Session { gap_ms: i64 },
    Global,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowTrigger {
    /// When the watermark passes the end.
    EventTime,
    /// When the clock passes the end.
    ProcessingTime,
    /// With every so many records.
    Count { records: u64 },
    /// At every multiple of the interval, and at the end; by the clock of the windows.
    Continuous { interval_ms: i64 },
}

/// What is taken out of a window when it fires, before the function sees it or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evictor {
    pub keeps: RetainedElements,
    pub after: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetainedElements {
    /// The last so many.
    Count(u64),
    /// Those less than this before the latest timestamp.
    TimeMs(i64),
}

/// An aggregate that needs no function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Count,
    /// Of a number in each record.
    Numeric {
        function: NumericAggregate,
        field: KeySelector,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumericAggregate {
    Sum,
    Min,
    Max,
    Average,
    /// The records with the largest so many.
    Top(u32),
}

impl WindowSettings {
    /// Windows with their own trigger, without an evictor and without lateness.
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
    /// Whether a record gets into windows, or a trigger fires, by its event timestamp.
    pub fn needs_timestamps(&self) -> bool {
        // A continuous trigger counts its intervals from the record on.
        let is_by_time =
            self.assigner != WindowAssigner::Global || matches!(self.trigger, WindowTrigger::Continuous { .. });
        self.time == TimeDomain::Event && is_by_time
    }

    /// Whether no window fires before the watermark moves.
    pub fn waits_for_watermark(&self) -> bool {
        let by_time = matches!(self.trigger, WindowTrigger::EventTime | WindowTrigger::Continuous { .. });
        self.time == TimeDomain::Event && by_time
    }
}

/// The keys of `[operator.ID]` that are read here.
pub(super) const KEYS: [&str; 4] = ["window", "trigger", "evictor", "aggregate"];

/// The windows of an operator; None where it has none.
pub(super) fn read(operator: &TomlSection<'_>) -> Result<Option<WindowSettings>> {
    let Some(item) = operator.get("window") else {
        let stray = KEYS[1..].iter().find_map(|key| operator.get(key));
        return match stray {
            Some(item) => Err(item.invalid("means nothing without a `window`")),
            None => Ok(None),
        };
    };
    let mut settings = window(&item)?;
    match operator.get("trigger") {
        Some(item) => trigger(&item, &mut settings)?,
        None if settings.assigner == WindowAssigner::Global => {
            let message = format!("{} is global, so that it never fires without a `trigger`", item.what);
            return Err(item.error(manifest_invalid(message).hint("trigger = { type = \"count\", count = 100 }")));
        }
        None => {}
    }
    settings.evictor = operator.get("evictor").map(|item| evictor(&item)).transpose()?;
    settings.aggregate = operator.get("aggregate").map(|item| aggregate(&item)).transpose()?;
    let beside = ["component", "function"].iter().find_map(|key| operator.get(key));
    if let (Some(_), Some(beside)) = (&settings.aggregate, beside) {
        return Err(beside.invalid("cannot stand beside `aggregate`, which needs no function"));
    }
    if operator.get("key").is_none() {
        let message = format!("{} needs a `key`: windows are of each key", operator.what);
        let hint = "key = { field = \"name\" }, { column = 0 }, \"value\" or \"emitted\"";
        return Err(operator.error(manifest_key(message).hint(hint)));
    }
    Ok(Some(settings))
}

fn ms(item: &TomlItem<'_>, min_ms: u64) -> Result<i64> {
    let duration = item.duration(Duration::from_millis(min_ms))?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(item.invalid("must be whole milliseconds"));
    }
    i64::try_from(duration.as_millis()).map_err(|_| item.invalid("is too long"))
}

/// A duration with a sign.
fn signed_ms(item: &TomlItem<'_>) -> Result<i64> {
    match item.as_str().and_then(|text| text.strip_prefix('-')) {
        Some(text) => {
            let example = "must be a duration like \"-8h\" or \"15min\"";
            let duration = duration::parse(text).map_err(|why| item.invalid(format_args!("{example}: {why}")))?;
            let ms = i64::try_from(duration.as_millis()).map_err(|_| item.invalid("is too long"))?;
            Ok(-ms)
        }
        None => ms(item, 0),
    }
}

#[derive(Clone, Copy)]
enum WindowType {
    Tumbling,
    Sliding,
    Session,
    Global,
}

fn window(item: &TomlItem<'_>) -> Result<WindowSettings> {
    const COMMON: &[&str] = &["type", "time", "allowed_lateness"];
    let section = item.section()?;
    let types = [
        ("tumbling", WindowType::Tumbling),
        ("sliding", WindowType::Sliding),
        ("session", WindowType::Session),
        ("global", WindowType::Global),
    ];
    let chosen = section.need("type")?;
    let chosen = chosen.choose(&types)?;
    let own: &[&str] = match chosen {
        WindowType::Tumbling => &["size", "offset"],
        WindowType::Sliding => &["size", "slide", "offset"],
        WindowType::Session => &["gap"],
        WindowType::Global => &[],
    };
    section.check_keys(&[COMMON, own].concat())?;
    let offset = || section.get("offset").map(|item| signed_ms(&item)).transpose();
    let assigner = match chosen {
        WindowType::Tumbling => {
            WindowAssigner::Tumbling { size_ms: ms(&section.need("size")?, 1)?, offset_ms: offset()?.unwrap_or(0) }
        }
        WindowType::Sliding => WindowAssigner::Sliding {
            size_ms: ms(&section.need("size")?, 1)?,
            slide_ms: ms(&section.need("slide")?, 1)?,
            offset_ms: offset()?.unwrap_or(0),
        },
        WindowType::Session => WindowAssigner::Session { gap_ms: ms(&section.need("gap")?, 1)? },
        WindowType::Global => WindowAssigner::Global,
    };
    if let WindowAssigner::Tumbling { size_ms: every, offset_ms }
    | WindowAssigner::Sliding { slide_ms: every, offset_ms, .. } = assigner
        && offset_ms.unsigned_abs() >= every.unsigned_abs()
        && let Some(item) = section.get("offset")
    {
        return Err(item.invalid("must be smaller than the time from one window to the next"));
    }
    if let WindowAssigner::Sliding { size_ms, slide_ms, .. } = assigner
        && size_ms / slide_ms > WINDOWS_MAX
    {
        return Err(section.need("slide")?.invalid(format_args!("puts a record into more than {WINDOWS_MAX} windows")));
    }
    let times = [("event", TimeDomain::Event), ("processing", TimeDomain::Processing)];
    let time = section.get("time").map(|item| item.choose(&times)).transpose()?.unwrap_or(TimeDomain::Event);
    let mut settings = WindowSettings::new(assigner, time);
    if let Some(item) = section.get("allowed_lateness") {
        settings.allowed_lateness_ms = ms(&item, 0)?;
        if time == TimeDomain::Processing {
            return Err(item.invalid("means nothing with time = \"processing\", where no record is late"));
        }
    }
    Ok(settings)
}

/// Windows that one record may fall into.
const WINDOWS_MAX: i64 = 100_000;

fn trigger(item: &TomlItem<'_>, settings: &mut WindowSettings) -> Result<()> {
    #[derive(Clone, Copy, PartialEq)]
    enum TriggerType {
        EventTime,
        ProcessingTime,
        Count,
        Continuous,
    }
    let section = item.section()?;
    let types = [
        ("event-time", TriggerType::EventTime),
        ("processing-time", TriggerType::ProcessingTime),
        ("count", TriggerType::Count),
        ("continuous", TriggerType::Continuous),
    ];
    let chosen = section.need("type")?.choose(&types)?;
    let own: &[&str] = match chosen {
        TriggerType::EventTime | TriggerType::ProcessingTime => &[],
        TriggerType::Count => &["count"],
        TriggerType::Continuous => &["interval"],
    };
    section.check_keys(&[&["type", "purge"], own].concat())?;
    settings.trigger = match chosen {
        TriggerType::EventTime if settings.time == TimeDomain::Processing => {
            return Err(section.need("type")?.invalid("cannot be `event-time` for windows of processing time"));
        }
        TriggerType::EventTime => WindowTrigger::EventTime,
        TriggerType::ProcessingTime => WindowTrigger::ProcessingTime,
        TriggerType::Count => WindowTrigger::Count { records: section.need("count")?.count(1, u64::MAX >> 1)? },
        TriggerType::Continuous => WindowTrigger::Continuous { interval_ms: ms(&section.need("interval")?, 1)? },
    };
    settings.purge = section.get("purge").map(|item| item.bool()).transpose()?.unwrap_or(false);
    Ok(())
}

fn evictor(item: &TomlItem<'_>) -> Result<Evictor> {
    let section = item.section()?;
    section.check_keys(&["type", "keep", "after"])?;
    let by_count = section.need("type")?.choose(&[("count", true), ("time", false)])?;
    let keep = section.need("keep")?;
    let keeps = if by_count {
        RetainedElements::Count(keep.count(0, u64::MAX >> 1)?)
    } else {
        RetainedElements::TimeMs(ms(&keep, 1)?)
    };
    let after = section.get("after").map(|item| item.bool()).transpose()?.unwrap_or(false);
    Ok(Evictor { keeps, after })
}

fn aggregate(item: &TomlItem<'_>) -> Result<Aggregate> {
    #[derive(Clone, Copy, PartialEq)]
    enum AggregateType {
        Count,
        Sum,
        Min,
        Max,
        Average,
        Top,
    }
    let section = item.section()?;
    let types = [
        ("count", AggregateType::Count),
        ("sum", AggregateType::Sum),
        ("min", AggregateType::Min),
        ("max", AggregateType::Max),
        ("average", AggregateType::Average),
        ("top", AggregateType::Top),
    ];
    let chosen = section.need("type")?.choose(&types)?;
    let own: &[&str] = match chosen {
        AggregateType::Count => &[],
        AggregateType::Top => &["field", "column", "n"],
        _ => &["field", "column"],
    };
    section.check_keys(&[&["type"], own].concat())?;
    let what = match chosen {
        AggregateType::Count => return Ok(Aggregate::Count),
        AggregateType::Sum => NumericAggregate::Sum,
        AggregateType::Min => NumericAggregate::Min,
        AggregateType::Max => NumericAggregate::Max,
        AggregateType::Average => NumericAggregate::Average,
        AggregateType::Top => NumericAggregate::Top(u32::try_from(section.need("n")?.count(1, 100_000)?).unwrap_or(1)),
    };
    Ok(Aggregate::Numeric { function: what, field: place(item, &section)? })
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
