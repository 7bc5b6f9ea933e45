//! The settings that every sink has, besides those of its encoding.

use super::setting::{Setting, SettingKind};
use crate::model::MAX_PARALLELISM_LIMIT;

/// The settings that every sink has, besides those of its encoding.
pub(super) const SINK_SETTINGS: &[Setting] = &[
    Setting::new("input", SettingKind::TextOrTexts, "one is required"),
    Setting::new("inputs", SettingKind::TextOrTexts, "one is required"),
    Setting::required("connector", SettingKind::Text),
    Setting::new("parallelism", SettingKind::Number { min: 1, max: MAX_PARALLELISM_LIMIT as u64 }, "the pipeline's"),
];
