//! The settings that every source has, besides those of its decoding.

use super::setting::{Setting, SettingKind};
use super::toml_reader::THOUSANDTHS_MAX;
use crate::model::MAX_PARALLELISM_LIMIT;

/// The settings that every source has, besides those of its decoding.
pub const SOURCE_SETTINGS: &[Setting] = &[
    Setting::required("connector", SettingKind::Text),
    Setting::new(
        "format",
        SettingKind::Choice(&["lines", "csv", "ndjson", "raw", "avro"]),
        "`\"lines\"`; `\"ndjson\"` of `http`; a generator's follows from its template",
    ),
    Setting::new("timestamp", SettingKind::ChoiceOrTable(&["record"]), "none"),
    Setting::new("timestamp.field", SettingKind::Text, "none"),
    Setting::new("timestamp.column", SettingKind::Number { min: 0, max: u32::MAX as u64 }, "none"),
    Setting::new(
        "timestamp.format",
        SettingKind::Pattern("^(rfc3339|unix-s|unix-ms|unix-us|.*%.*)$"),
        "required, except with `\"avro\"`",
    ),
    Setting::new("timestamp.zone", SettingKind::Text, "`\"UTC\"`"),
    Setting::new("watermark", SettingKind::ChoiceOrTable(&["ascending", "none"]), "`\"none\"`"),
    Setting::required("watermark.out_of_orderness", SettingKind::Duration { min_ms: 0, max_ms: u64::MAX }),
    Setting::new("watermark.idle_after", SettingKind::Duration { min_ms: 1, max_ms: u64::MAX }, "never"),
    Setting::new("watermark.alignment", SettingKind::Table, "none"),
    Setting::required("watermark.alignment.group", SettingKind::Text),
    Setting::required("watermark.alignment.max_drift", SettingKind::Duration { min_ms: 0, max_ms: u64::MAX }),
    Setting::new("rate", SettingKind::Decimal { min: 1, max: THOUSANDTHS_MAX }, "unlimited"),
    Setting::new("on_undecodable", SettingKind::Choice(&["fail", "skip", "dead-letter"]), "`\"fail\"`"),
    Setting::new("keep_raw", SettingKind::Boolean, "`false`"),
    Setting::new("parallelism", SettingKind::Number { min: 1, max: MAX_PARALLELISM_LIMIT as u64 }, "the pipeline's"),
];
