//! Reads `interval` of `[operator.ID]`: the distance in event time between the records that an interval join pairs.

use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// The settings of operators that this file reads.
pub(super) const INTERVAL_SETTINGS: &[Setting] = &[
    Setting::new("interval", SettingKind::Table, "none"),
    Setting::required("interval.lower", SettingKind::SignedDuration),
    Setting::required("interval.upper", SettingKind::SignedDuration),
    Setting::new("interval.lower_exclusive", SettingKind::Boolean, "`false`"),
    Setting::new("interval.upper_exclusive", SettingKind::Boolean, "`false`"),
];

/// The interval of an interval join. A record of the second input joins a record of the first one if its time is the
/// first one's time plus `lower_ms` to `upper_ms`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinInterval {
    /// Lower bound in milliseconds, inclusive.
    pub lower_ms: i64,
    /// Upper bound in milliseconds, inclusive.
    pub upper_ms: i64,
}

/// Reads an interval.
pub(super) fn read(item: &TomlItem<'_>) -> Result<JoinInterval> {
    let section = item.section()?;
    section.check_keys(&setting_keys(INTERVAL_SETTINGS, Some("interval")))?;
    let is_exclusive =
        |key| -> Result<bool> { Ok(section.get(key).map(|item| item.bool()).transpose()?.unwrap_or(false)) };
    let lower_ms = bound(&section, "lower")?.saturating_add(i64::from(is_exclusive("lower_exclusive")?));
    let upper_ms = bound(&section, "upper")?.saturating_sub(i64::from(is_exclusive("upper_exclusive")?));
    if lower_ms > upper_ms {
        return Err(item.invalid("is empty, because `lower` is greater than `upper`"));
    }
    Ok(JoinInterval { lower_ms, upper_ms })
}

/// Reads a duration that may begin with `-`.
fn bound(section: &TomlSection<'_>, key: &str) -> Result<i64> {
    section.need(key)?.signed_ms()
}
