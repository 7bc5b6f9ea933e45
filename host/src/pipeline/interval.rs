//! `interval` of `[operator.ID]`: how close in event time the records lie to each other that an interval join makes pairs of.

use super::reader::{TomlItem, TomlSection};
use crate::error::Result;

/// A record of the second input joins one of the first whose time it is, plus `lower_ms` to `upper_ms`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinInterval {
    pub lower_ms: i64,
    pub upper_ms: i64,
}

pub(super) fn read(item: &TomlItem<'_>) -> Result<JoinInterval> {
    let section = item.section()?;
    section.check_keys(&["lower", "upper", "lower_exclusive", "upper_exclusive"])?;
    let is_exclusive =
        |key| -> Result<bool> { Ok(section.get(key).map(|item| item.bool()).transpose()?.unwrap_or(false)) };
    let lower_ms = bound(&section, "lower")?.saturating_add(i64::from(is_exclusive("lower_exclusive")?));
    let upper_ms = bound(&section, "upper")?.saturating_sub(i64::from(is_exclusive("upper_exclusive")?));
    if lower_ms > upper_ms {
        return Err(item.invalid("has no time in it: `lower` is behind `upper`"));
    }
    Ok(JoinInterval { lower_ms, upper_ms })
}

/// A duration with or without a `-` in front of it.
fn bound(section: &TomlSection<'_>, key: &str) -> Result<i64> {
    section.need(key)?.signed_ms()
}
