//! The settings of the pipeline file as tables: their keys, the kinds of their values, and their defaults.
//!
//! The parser refuses keys that are in no table. The JSON Schema is generated from the tables (`json_schema`). Tests compare them with the
//! documentation, and try wrong values of each kind.

/// What the value of a setting is. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingKind {
    /// Text with at least one character.
    Text,
    /// Text that may be empty.
    AnyText,
    /// Text that this regular expression matches. The parser checks it by itself.
    Pattern(&'static str),
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
    /// A duration, or this word.
    DurationOr {
        word: &'static str,
        min_ms: u64,
    },
    /// A duration that may begin with `-`.
    SignedDuration,
    /// A number of bytes such as `"64MiB"`.
    Size {
        min: u64,
        max: u64,
    },
    /// A text, a number or a boolean.
    Scalar,
    /// A point in time: text, or milliseconds since 1970.
    Time,
    /// A list of texts.
    Texts,
    /// A list of different texts, at least one.
    Names,
    /// A list of these texts.
    Choices(&'static [&'static str]),
    /// One text or a list of them, at least one.
    TextOrTexts,
    /// One of these texts, or a table, whose keys are settings of their own.
    ChoiceOrTable(&'static [&'static str]),
    /// A table, whose keys are settings of their own.
    Table,
    /// A list of up to this number of tables, whose keys are settings of their own.
    Tables(u64),
    /// A table with keys that this regular expression matches, and with values of one kind.
    Map {
        keys: &'static str,
        values: &'static SettingKind,
    },
    /// A reference to a secret.
    Secret,
    /// A text, or a reference to a secret.
    TextOrSecret,
}

impl SettingKind {
    /// A table with any keys, whose values are of this kind.
    pub const fn map_of(values: &'static SettingKind) -> SettingKind {
        SettingKind::Map { keys: "", values }
    }

    /// Returns the kind as the tables of the documentation call it.
    pub fn documented(self) -> &'static str {
        match self {
            SettingKind::Text | SettingKind::AnyText | SettingKind::Pattern(_) | SettingKind::Choice(_) => "text",
            SettingKind::Path => "path",
            SettingKind::Boolean => "boolean",
            SettingKind::Number { .. } | SettingKind::Decimal { .. } => "number",
            SettingKind::Duration { .. } | SettingKind::DurationOr { .. } | SettingKind::SignedDuration => "duration",
            SettingKind::Scalar => "text, number or boolean",
            SettingKind::Time => "text or number",
            SettingKind::Size { .. } => "size",
            SettingKind::Texts | SettingKind::Names | SettingKind::Choices(_) => "list of texts",
            SettingKind::TextOrTexts => "text or list",
            SettingKind::ChoiceOrTable(_) => "text or table",
            SettingKind::Table | SettingKind::Map { .. } => "table",
            SettingKind::Tables(_) => "list of tables",
            SettingKind::Secret => "secret",
            SettingKind::TextOrSecret => "text or secret",
        }
    }
}

/// The choices of another setting with which a setting exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingCondition {
    /// Name of the other setting, which is in the same table.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// A setting. The documentation has a table with the same keys and defaults; the pages of connectors also have the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key. Keys of a nested table follow its key and a dot: `security.protocol`.
    pub key: &'static str,
    /// What its value is.
    pub kind: SettingKind,
    /// The default as the documentation shows it, or `required`.
    pub default: &'static str,
    /// What the setting depends on. A key that depends on different choices has an entry for each.
    pub condition: Option<SettingCondition>,
}

impl Setting {
    /// A setting with its default as the documentation shows it.
    pub const fn new(key: &'static str, kind: SettingKind, default: &'static str) -> Setting {
        Setting { key, kind, default, condition: None }
    }

    /// A setting without a default.
    pub const fn required(key: &'static str, kind: SettingKind) -> Setting {
        Setting::new(key, kind, "required")
    }

    /// The setting, which exists only if the setting `name` of its table is one of these values.
    pub const fn only_with(self, name: &'static str, values: &'static [&'static str]) -> Setting {
        Setting { condition: Some(SettingCondition { name, values }), ..self }
    }

    /// Returns whether the setting has no default.
    pub fn is_required(&self) -> bool {
        self.default == "required"
    }

    /// Returns the key within its table.
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Returns whether the setting is in the nested table `of`, or in the section itself.
    pub fn is_in(&self, of: Option<&str>) -> bool {
        self.key.rsplit_once('.').map(|(table, _)| table) == of
    }

    /// Returns whether the setting exists if the setting that it depends on has this value.
    pub fn exists_with(&self, value: &str) -> bool {
        self.condition.is_none_or(|condition| condition.values.contains(&value))
    }
}

/// Returns one table with the settings of several. `N` is their number.
pub const fn joined_settings<const N: usize>(tables: &[&[Setting]]) -> [Setting; N] {
    let mut joined = [Setting::required("", SettingKind::Text); N];
    let (mut table, mut row, mut count) = (0, 0, 0);
    while table < tables.len() {
        if row == tables[table].len() {
            (table, row) = (table + 1, 0);
            continue;
        }
        joined[count] = tables[table][row];
        (row, count) = (row + 1, count + 1);
    }
    assert!(count == N, "the number of settings is wrong");
    joined
}

/// Returns the keys of a table of settings: of the section itself, or of the nested table `of`.
pub fn setting_keys(settings: &[Setting], of: Option<&str>) -> Vec<&'static str> {
    keys(settings.iter().filter(|setting| setting.is_in(of)))
}

/// Returns the keys that exist if the setting on which others depend has this value.
pub(super) fn setting_keys_with(settings: &[Setting], of: Option<&str>, value: &str) -> Vec<&'static str> {
    keys(settings.iter().filter(|setting| setting.is_in(of) && setting.exists_with(value)))
}

fn keys<'s>(settings: impl Iterator<Item = &'s Setting>) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for name in settings.map(Setting::name) {
        if !keys.contains(&name) {
            keys.push(name);
        }
    }
    keys
}
