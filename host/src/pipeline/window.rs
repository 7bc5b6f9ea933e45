//! Reads `window`, `trigger`, `evictor` and `aggregate` of `[operator.ID]`, and rejects contradictions between them.
//!
//! The plan of the job checks later whether the function fits.

use std::time::Duration;

use super::duration;
use super::key_selector::field_or_column;
use super::toml_reader::{TomlItem, TomlSection};
use super::window_settings::{
    Aggregate, Evictor, NumericAggregate, RetainedElements, WindowAssigner, WindowSettings, WindowTrigger,
};
use crate::error::{Result, manifest_invalid, manifest_key};
use crate::model::TimeDomain;

/// Maximum number of windows that one record may belong to.
const WINDOWS_MAX: i64 = 100_000;

/// The settings of `[operator.ID]` that this file reads.
pub(super) const KEYS: [&str; 4] = ["window", "trigger", "evictor", "aggregate"];

/// Reads the windows of an operator. Returns `None` if it has none.
pub(super) fn read(operator: &TomlSection<'_>) -> Result<Option<WindowSettings>> {
    let Some(item) = operator.get("window") else {
        let stray = KEYS[1..].iter().find_map(|key| operator.get(key));
        return match stray {
            Some(item) => Err(item.invalid("has no effect without a `window`")),
            None => Ok(None),
        };
    };
    let mut settings = window(&item)?;
    match operator.get("trigger") {
        Some(item) => trigger(&item, &mut settings)?,
        None if settings.assigner == WindowAssigner::Global => {
            let message = format!("{} is global, so it never fires without a `trigger`", item.what);
            return Err(item.error(
                manifest_invalid(message).hint("add a trigger, such as trigger = { type = \"count\", count = 100 }"),
            ));
        }
        None => {}
    }
    settings.evictor = operator.get("evictor").map(|item| evictor(&item)).transpose()?;
    settings.aggregate = operator.get("aggregate").map(|item| aggregate(&item)).transpose()?;
    let beside = ["component", "function"].iter().find_map(|key| operator.get(key));
    if let (Some(_), Some(beside)) = (&settings.aggregate, beside) {
        return Err(beside.invalid("cannot be combined with `aggregate`, which needs no function"));
    }
    if operator.get("key").is_none() {
        let message = format!("{} needs a `key`, because each key has windows of its own", operator.what);
        let hint = "add a key: key = { field = \"name\" }, { column = 0 }, \"value\" or \"emitted\"";
        return Err(operator.error(manifest_key(message).hint(hint)));
    }
    Ok(Some(settings))
}

/// Reads a duration in whole milliseconds.
fn ms(item: &TomlItem<'_>, min_ms: u64) -> Result<i64> {
    let duration = item.duration(Duration::from_millis(min_ms))?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(item.invalid("must be whole milliseconds"));
    }
    i64::try_from(duration.as_millis()).map_err(|_| item.invalid("is too long"))
}

/// Reads a duration in whole milliseconds that may begin with `-`.
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
        return Err(item.invalid("must be smaller than the time between the starts of two windows"));
    }
    if let WindowAssigner::Sliding { size_ms, slide_ms, .. } = assigner
        && size_ms / slide_ms > WINDOWS_MAX
    {
        return Err(section
            .need("slide")?
            .invalid(format_args!("assigns a record to more than {WINDOWS_MAX} windows")));
    }
    let times = [("event", TimeDomain::Event), ("processing", TimeDomain::Processing)];
    let time = section.get("time").map(|item| item.choose(&times)).transpose()?.unwrap_or(TimeDomain::Event);
    let mut settings = WindowSettings::new(assigner, time);
    if let Some(item) = section.get("allowed_lateness") {
        settings.allowed_lateness_ms = ms(&item, 0)?;
        if time == TimeDomain::Processing {
            return Err(item.invalid("has no effect with time = \"processing\", because no record is late"));
        }
    }
    Ok(settings)
}

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
            return Err(section.need("type")?.invalid("cannot be `event-time` for windows in processing time"));
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
    let function = match chosen {
        AggregateType::Count => return Ok(Aggregate::Count),
        AggregateType::Sum => NumericAggregate::Sum,
        AggregateType::Min => NumericAggregate::Min,
        AggregateType::Max => NumericAggregate::Max,
        AggregateType::Average => NumericAggregate::Average,
        AggregateType::Top => NumericAggregate::Top(u32::try_from(section.need("n")?.count(1, 100_000)?).unwrap_or(1)),
    };
    Ok(Aggregate::Numeric { function, field: field_or_column(item, &section)? })
}
