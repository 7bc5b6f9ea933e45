//! Reads `select` and `filter` of `[operator.ID]`: operators on the fields of records that need no component.

use super::filter::{self, FilterExpression};
use super::record_format::names;
use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::{Result, manifest_invalid};

/// An operator without a component. It first filters the records and then selects their fields.
#[derive(Clone, Debug, PartialEq)]
pub struct RowOperator {
    /// The records that pass; all without a filter.
    pub filter: Option<FilterExpression>,
    /// The fields that pass; all without a selection.
    pub select: Option<FieldSelection>,
}

/// The fields of the records that an operator emits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelection {
    /// The fields to keep, in this order. `None` keeps all that are not dropped.
    pub keep: Option<Vec<String>>,
    /// The fields to drop.
    pub drop: Vec<String>,
    /// New names with the names of the input.
    pub rename: Vec<FieldRename>,
}

/// A new name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRename {
    /// The name in the output.
    pub new: String,
    /// The name in the input.
    pub old: String,
}

/// The settings of `[operator.ID]` that this file reads.
pub(super) const ROW_SETTINGS: &[Setting] = &[
    Setting::new("select", SettingKind::Table, "none"),
    Setting::new("select.keep", SettingKind::Names, "all"),
    Setting::new("select.drop", SettingKind::Names, "none"),
    Setting::new("select.rename", SettingKind::map_of(&SettingKind::Text), "none"),
    Setting::new("filter", SettingKind::Text, "none"),
];

/// The settings that need a function.
const FUNCTION_KEYS: [&str; 13] = [
    "component",
    "function",
    "window",
    "trigger",
    "evictor",
    "aggregate",
    "interval",
    "second",
    "broadcast",
    "key",
    "config",
    "limits",
    "grants",
];

/// Reads an operator without a component. Returns `None` if it has neither `select` nor `filter`.
pub(super) fn read(operator: &TomlSection<'_>) -> Result<Option<RowOperator>> {
    let keys = setting_keys(ROW_SETTINGS, None);
    let Some(present) = keys.iter().find(|key| operator.get(key).is_some()) else { return Ok(None) };
    if let Some(item) = FUNCTION_KEYS.iter().find_map(|key| operator.get(key)) {
        let hint = "give the function an operator of its own that reads this one";
        return Err(item
            .invalid(format_args!("cannot be combined with `{present}`, which needs no function"))
            .hint(hint));
    }
    Ok(Some(RowOperator {
        filter: operator.get("filter").map(|item| expression(&item)).transpose()?,
        select: operator.get("select").map(|item| selection(&item)).transpose()?,
    }))
}

fn expression(item: &TomlItem<'_>) -> Result<FilterExpression> {
    let text = item.string()?;
    filter::parse(text).map_err(|defect| {
        let shown: String = text[defect.at..].chars().take(20).collect();
        let place = match shown.is_empty() {
            true => "at its end".to_owned(),
            false => format!("at `{shown}`"),
        };
        let message = format!("{}: {} ({place})", item.what, defect.message);
        let hint = "a filter is a condition like: delay > 10 and (carrier = 'UA' or origin is null)";
        manifest_invalid(message).hint(hint).at(item.text.location(&item.span_within(text, defect.at)))
    })
}

fn selection(item: &TomlItem<'_>) -> Result<FieldSelection> {
    let section = item.section()?;
    section.check_keys(&setting_keys(ROW_SETTINGS, Some("select")))?;
    if let (Some(_), Some(drop)) = (section.get("keep"), section.get("drop")) {
        return Err(drop.invalid("cannot be combined with `keep`"));
    }
    let selection = FieldSelection {
        keep: section.get("keep").map(|item| names(&item)).transpose()?,
        drop: section.get("drop").map(|item| names(&item)).transpose()?.unwrap_or_default(),
        rename: section.get("rename").map(|item| renames(&item)).transpose()?.unwrap_or_default(),
    };
    if selection == FieldSelection::default() {
        return Err(item.invalid("needs `keep`, `drop` or `rename`"));
    }
    for FieldRename { old, .. } in &selection.rename {
        let is_kept = selection.keep.as_ref().is_none_or(|keep| keep.contains(old));
        if !is_kept || selection.drop.contains(old) {
            let item = section.need("rename")?;
            let hint = "`keep` and `drop` name the fields of the input";
            return Err(item.invalid(format_args!("renames `{old}`, which is not kept")).hint(hint));
        }
    }
    Ok(selection)
}

/// Reads `{ new = "old" }`.
fn renames(item: &TomlItem<'_>) -> Result<Vec<FieldRename>> {
    let mut renames: Vec<FieldRename> = Vec::new();
    for (new, _, item) in item.section()?.entries() {
        let old = item.string()?.to_owned();
        if renames.iter().any(|other| other.old == old) {
            return Err(item.invalid(format_args!("is `{old}`, which has another new name already")));
        }
        renames.push(FieldRename { new: new.to_owned(), old });
    }
    match renames.is_empty() {
        true => Err(item.invalid("must have at least one name, such as rename = { new = \"old\" }")),
        false => Ok(renames),
    }
}
