//! Reads `window`, `trigger`, `evictor` and `aggregate` of `[operator.ID]`, and rejects contradictions between them.
//!
//! The plan of the job checks later whether the function fits.

use std::time::Duration;

use super::duration;
use super::key_selector::field_or_column;
use super::setting::{Setting, SettingKind, setting_keys, setting_keys_with};
use super::toml_reader::{TomlItem, TomlSection};
use super::window_settings::{
    Aggregate, Evictor, NumericAggregate, RetainedElements, WindowAssigner, WindowSettings, WindowTrigger,
};
use crate::error::{Result, manifest_invalid, manifest_key};
use crate::model::TimeDomain;

/// Maximum number of windows that one record may belong to.
const WINDOWS_MAX: i64 = 100_000;

const ANY_DURATION: SettingKind = SettingKind::Duration { min_ms: 0, max_ms: u64::MAX };
const ONE_MS: SettingKind = SettingKind::Duration { min_ms: 1, max_ms: u64::MAX };
const RECORDS_MAX: u64 = u64::MAX >> 1;
const TOP_MAX: u64 = 100_000;
const WITH_STARTS: &[&str] = &["tumbling", "sliding"];
const OF_NUMBERS: &[&str] = &["sum", "min", "max", "average", "top"];

/// The settings of operators that this file reads.
pub(super) const WINDOW_SETTINGS: &[Setting] = &[
    Setting::new("window", SettingKind::Table, "none"),
    Setting::required("window.type", SettingKind::Choice(&["tumbling", "sliding", "session", "global"])),
    Setting::required("window.size", ONE_MS).only_with("type", WITH_STARTS),
    Setting::required("window.slide", ONE_MS).only_with("type", &["sliding"]),
    Setting::new("window.offset", SettingKind::SignedDuration, "`\"0s\"`").only_with("type", WITH_STARTS),
    Setting::required("window.gap", ONE_MS).only_with("type", &["session"]),
    Setting::new("window.time", SettingKind::Choice(&["event", "processing"]), "`\"event\"`"),
    Setting::new("window.allowed_lateness", ANY_DURATION, "`\"0s\"`"),
    Setting::new("trigger", SettingKind::Table, "none"),
    Setting::required("trigger.type", SettingKind::Choice(&["event-time", "processing-time", "count", "continuous"])),
    Setting::required("trigger.count", SettingKind::Number { min: 1, max: RECORDS_MAX }).only_with("type", &["count"]),
    Setting::required("trigger.interval", ONE_MS).only_with("type", &["continuous"]),
    Setting::new("trigger.purge", SettingKind::Boolean, "`false`"),
    Setting::new("evictor", SettingKind::Table, "none"),
    Setting::required("evictor.type", SettingKind::Choice(&["count", "time"])),
    Setting::required("evictor.keep", SettingKind::Number { min: 0, max: RECORDS_MAX }).only_with("type", &["count"]),
    Setting::required("evictor.keep", ONE_MS).only_with("type", &["time"]),
    Setting::new("evictor.after", SettingKind::Boolean, "`false`"),
    Setting::new("aggregate", SettingKind::Table, "none"),
    Setting::required("aggregate.type", SettingKind::Choice(&["count", "sum", "min", "max", "average", "top"])),
    Setting::new("aggregate.field", SettingKind::Text, "none").only_with("type", OF_NUMBERS),
    Setting::new("aggregate.column", SettingKind::Number { min: 0, max: u32::MAX as u64 }, "none")
        .only_with("type", OF_NUMBERS),
    Setting::required("aggregate.n", SettingKind::Number { min: 1, max: TOP_MAX }).only_with("type", &["top"]),
];

/// Refuses keys that a table does not have with its `type`.
fn check_keys_of_type(table: &str, section: &TomlSection<'_>) -> Result<()> {
    let chosen = section.need("type")?;
    section.check_keys(&setting_keys_with(WINDOW_SETTINGS, Some(table), chosen.string()?))
}

/// Reads the windows of an operator. Returns `None` if it has none.
pub(super) fn read(operator: &TomlSection<'_>) -> Result<Option<WindowSettings>> {
    let Some(item) = operator.get("window") else {
        let stray = setting_keys(WINDOW_SETTINGS, None).into_iter().find_map(|key| operator.get(key));
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
    let section = item.section()?;
    let types = [
        ("tumbling", WindowType::Tumbling),
        ("sliding", WindowType::Sliding),
        ("session", WindowType::Session),
        ("global", WindowType::Global),
    ];
    let chosen = section.need("type")?.choose(&types)?;
    check_keys_of_type("window", &section)?;
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
    check_keys_of_type("trigger", &section)?;
    settings.trigger = match chosen {
        TriggerType::EventTime if settings.time == TimeDomain::Processing => {
            return Err(section.need("type")?.invalid("cannot be `event-time` for windows in processing time"));
        }
        TriggerType::EventTime => WindowTrigger::EventTime,
        TriggerType::ProcessingTime => WindowTrigger::ProcessingTime,
        TriggerType::Count => WindowTrigger::Count { records: section.need("count")?.count(1, RECORDS_MAX)? },
        TriggerType::Continuous => WindowTrigger::Continuous { interval_ms: ms(&section.need("interval")?, 1)? },
    };
    settings.purge = section.get("purge").map(|item| item.bool()).transpose()?.unwrap_or(false);
    Ok(())
}

fn evictor(item: &TomlItem<'_>) -> Result<Evictor> {
    let section = item.section()?;
    let by_count = section.need("type")?.choose(&[("count", true), ("time", false)])?;
    check_keys_of_type("evictor", &section)?;
    let keep = section.need("keep")?;
    let keeps = if by_count {
        RetainedElements::Count(keep.count(0, RECORDS_MAX)?)
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
    check_keys_of_type("aggregate", &section)?;
    let function = match chosen {
        AggregateType::Count => return Ok(Aggregate::Count),
        AggregateType::Sum => NumericAggregate::Sum,
        AggregateType::Min => NumericAggregate::Min,
        AggregateType::Max => NumericAggregate::Max,
        AggregateType::Average => NumericAggregate::Average,
        AggregateType::Top => NumericAggregate::Top(u32::try_from(section.need("n")?.count(1, TOP_MAX)?).unwrap_or(1)),
    };
    Ok(Aggregate::Numeric { function, field: field_or_column(item, &section)? })
}
