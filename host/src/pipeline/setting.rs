//! The settings of connectors as tables: their keys, the kinds of their values, and their defaults.
//!
//! The parser refuses keys that are in no table. Tests compare the tables with the documentation, and try wrong values of each kind.

/// What the value of a setting is. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Text with at least one character.
    Text,
    /// The path of a file or folder.
    Path,
    /// One of these texts.
    Choice(&'static [&'static str]),
    Boolean,
    /// A whole number.
    Number {
        min: u64,
        max: u64,
    },
    /// A number that may have a fraction. Bounds are in thousandths.
    Decimal {
        min: u64,
        max: u64,
    },
    /// A duration such as `"200ms"`.
    Duration {
        min_ms: u64,
        /// `u64::MAX` if there is none.
        max_ms: u64,
    },
    /// A number of bytes such as `"64MiB"`.
    Size {
        min: u64,
        max: u64,
    },
    /// A list of texts.
    Texts,
    /// One text or a list of them.
    TextOrTexts,
    /// A text or a table.
    TextOrTable,
    /// A table, whose keys are settings of their own.
    Table,
    /// A reference to a secret.
    Secret,
    /// A text, or a reference to a secret.
    TextOrSecret,
}

impl SettingKind {
    /// Returns the kind as the tables of the documentation call it.
    pub fn documented(self) -> &'static str {
        match self {
            SettingKind::Text | SettingKind::Choice(_) => "text",
            SettingKind::Path => "path",
            SettingKind::Boolean => "boolean",
            SettingKind::Number { .. } | SettingKind::Decimal { .. } => "number",
            SettingKind::Duration { .. } => "duration",
            SettingKind::Size { .. } => "size",
            SettingKind::Texts => "list of texts",
            SettingKind::TextOrTexts => "text or list",
            SettingKind::TextOrTable => "text or table",
            SettingKind::Table => "table",
            SettingKind::Secret => "secret",
            SettingKind::TextOrSecret => "text or secret",
        }
    }
}

/// A setting of a connector. The page of the connector in `docs/connectors/` has a table of the same keys, kinds and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key. Keys of a nested table follow its key and a dot: `security.protocol`.
    pub key: &'static str,
    /// What its value is.
    pub kind: SettingKind,
    /// The default as the documentation shows it, or `required`.
    pub default: &'static str,
}

impl Setting {
    /// A setting with its default as the documentation shows it.
    pub const fn new(key: &'static str, kind: SettingKind, default: &'static str) -> Setting {
        Setting { key, kind, default }
    }

    /// A setting without a default.
    pub const fn required(key: &'static str, kind: SettingKind) -> Setting {
        Setting { key, kind, default: "required" }
    }
}

/// Returns the keys of a table of settings: of the section itself, or of the nested table `of`.
pub fn setting_keys(settings: &'static [Setting], of: Option<&str>) -> Vec<&'static str> {
    let key = |setting: &Setting| match (setting.key.rsplit_once('.'), of) {
        (None, None) => Some(setting.key),
        (Some((table, key)), Some(of)) if table == of => Some(key),
        _ => None,
    };
    settings.iter().filter_map(key).collect()
}
