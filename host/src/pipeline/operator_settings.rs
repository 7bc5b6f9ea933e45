//! The settings of operators that no other file of this module reads as a whole.

use super::setting::{Setting, SettingKind};
use crate::model::MAX_PARALLELISM_LIMIT;

const KEY: SettingKind = SettingKind::ChoiceOrTable(&["value", "emitted", "record"]);
const COLUMN: SettingKind = SettingKind::Number { min: 0, max: u32::MAX as u64 };
const WITHOUT_COMPONENT: &str = "required unless `aggregate`, `filter` or `select` is set";

/// The settings of operators besides those of `fault_settings`, `interval`, `limits`, `grants`, `window` and `row_operator`.
pub(super) const OPERATOR_SETTINGS: &[Setting] = &[
    Setting::new("input", SettingKind::TextOrTexts, "one is required"),
    Setting::new("inputs", SettingKind::TextOrTexts, "one is required"),
    Setting::new("second", SettingKind::TextOrTexts, "none"),
    Setting::new("broadcast", SettingKind::TextOrTexts, "none"),
    Setting::new("key", KEY, "none"),
    Setting::new("key.field", SettingKind::Text, "none"),
    Setting::new("key.fields", SettingKind::Names, "none"),
    Setting::new("key.column", COLUMN, "none"),
    Setting::new("second_key", KEY, "the value of `key`"),
    Setting::new("second_key.field", SettingKind::Text, "none"),
    Setting::new("second_key.fields", SettingKind::Names, "none"),
    Setting::new("second_key.column", COLUMN, "none"),
    Setting::new("component", SettingKind::Text, WITHOUT_COMPONENT),
    Setting::new("function", SettingKind::Text, WITHOUT_COMPONENT),
    Setting::new("config", SettingKind::map_of(&SettingKind::Scalar), "empty"),
    Setting::new("log", SettingKind::Choice(&["off", "error", "warn", "info", "debug", "trace"]), "the server's"),
    Setting::new("parallelism", SettingKind::Number { min: 1, max: MAX_PARALLELISM_LIMIT as u64 }, "the pipeline's"),
];
