//! Finds the connector that a section names, and refuses settings that it does not have.

use super::toml_reader::{TomlSection, suggestion};
use crate::error::{Result, manifest_unknown_key};

/// The settings of the sources or sinks of one connector, with those that all have.
pub(super) struct ConnectorKeys {
    pub connector: &'static str,
    pub keys: Vec<&'static str>,
}

/// Returns the index in `known` of the connector that a section names. Refuses a setting that the connector does not have.
pub(super) fn choose(section: &TomlSection<'_>, known: &[ConnectorKeys]) -> Result<usize> {
    let choices: Vec<_> = known.iter().enumerate().map(|(index, known)| (known.connector, index)).collect();
    let chosen = section.get("connector").map(|item| item.choose(&choices));
    let Some(Ok(index)) = chosen else {
        // A misspelled key is reported before the key that is missing because of it.
        let mut all: Vec<&str> = Vec::new();
        for key in known.iter().flat_map(|known| &known.keys) {
            if !all.contains(key) {
                all.push(key);
            }
        }
        section.check_keys(&all)?;
        return section.need("connector")?.choose(&choices);
    };
    let ConnectorKeys { connector, keys } = &known[index];
    let Some((key, span)) = section.unknown_key(keys) else { return Ok(index) };
    let message = format!("{} has no key `{key}` with connector = \"{connector}\"", section.what);
    Err(section
        .error_at(&span, manifest_unknown_key(message).hint(suggestion(key, keys.iter().copied(), "the keys are"))))
}
