//! The JSON Schema of the pipeline file, for editors. It is generated from the tables of settings that the parser uses (`sections`), with the
//! descriptions of `docs/pipeline-file.md`.
//!
//! The schema knows keys, types, choices and bounds of numbers. Only the parser knows which settings contradict each other, and what text
//! means: a pipeline that the schema refuses is refused by the parser too, but not the other way round.

use serde_json::{Map, Value, json};

use super::bounds::ID_PATTERN;
use super::connector::Connector;
use super::sections::{self, JOB_TABLES, NODE_KINDS, PIPELINE_SETTINGS};
use super::setting::{Setting, SettingKind, setting_keys};
use super::setting_rows::{SettingRow, setting_rows};

/// Whole numbers with units, the longest unit first.
const DURATION_PATTERN: &str = "^([0-9]+d *)?([0-9]+h *)?([0-9]+min *)?([0-9]+s *)?([0-9]+ms *)?([0-9]+us *)?$";
const SIGNED_DURATION_PATTERN: &str =
    "^-?([0-9]+d *)?([0-9]+h *)?([0-9]+min *)?([0-9]+s *)?([0-9]+ms *)?([0-9]+us *)?$";
const SIZE_PATTERN: &str = "^ *[0-9]+([.][0-9]*)? *([KkMmGgTtPpEe][Ii]?)?[Bb]? *$";
const SECRET_NAME_PATTERN: &str = "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$";

/// Returns the schema of pipeline files whose sources and sinks are of these connectors.
pub fn json_schema(connectors: &[&Connector]) -> Value {
    let rows = setting_rows();
    let table =
        |section: &'static str, settings: &[Setting]| SettingTable { section, settings, rows: &rows }.object(None);
    let mut schema = table("", PIPELINE_SETTINGS);
    let mut definitions = Map::new();
    for (name, settings) in JOB_TABLES {
        schema["properties"][name] = table(name, settings);
    }
    definitions.insert("operator".to_owned(), table("operator", &sections::operator_settings()));
    let mut kinds = [Vec::new(), vec![reference("operator")], Vec::new()];
    for connector in connectors {
        let sides = [("source", sections::source_settings(connector)), ("sink", sections::sink_settings(connector))];
        for (side, settings) in sides {
            let Some(settings) = settings else { continue };
            let name = format!("{side}-{}", connector.name);
            let mut definition = table(side, &settings);
            definition["properties"]["connector"] = json!({ "const": connector.name });
            kinds[if side == "source" { 0 } else { 2 }].push(reference(&name));
            definitions.insert(name, definition);
        }
    }
    for (kind, nodes) in NODE_KINDS.into_iter().zip(kinds) {
        schema["properties"][kind] = json!({
            "type": "object",
            "propertyNames": { "pattern": ID_PATTERN },
            "additionalProperties": { "oneOf": nodes },
        });
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Pipeline file of Cofferdam");
    schema["$defs"] = Value::Object(definitions);
    schema
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

/// The settings of one section, with what the documentation says of them.
struct SettingTable<'s> {
    section: &'static str,
    settings: &'s [Setting],
    rows: &'s [SettingRow],
}

impl SettingTable<'_> {
    /// Returns the schema of the section itself, or of its nested table `of`.
    fn object(&self, of: Option<&str>) -> Value {
        let own: Vec<&Setting> = self.settings.iter().filter(|setting| setting.is_in(of)).collect();
        let named = |name: &str| own.iter().copied().filter(|setting| setting.name() == name).collect::<Vec<_>>();
        let keys = setting_keys(self.settings, of);
        let properties: Map<String, Value> =
            keys.iter().map(|name| ((*name).to_owned(), self.property(&named(name)))).collect();
        let required: Vec<&str> = (own.iter())
            .filter(|setting| setting.is_required() && setting.condition.is_none())
            .map(|setting| setting.name())
            .collect();
        let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        let conditions = self.conditions(&own);
        if !conditions.is_empty() {
            object["allOf"] = Value::Array(conditions);
        }
        object
    }

    /// Returns the schema of a key, which has several settings if it depends on another one.
    fn property(&self, settings: &[&Setting]) -> Value {
        let mut kinds: Vec<Value> = Vec::new();
        for schema in settings.iter().map(|setting| self.value(setting.key, setting.kind)) {
            if !kinds.contains(&schema) {
                kinds.push(schema);
            }
        }
        let mut schema = if kinds.len() == 1 { kinds.remove(0) } else { json!({ "anyOf": kinds }) };
        if let [setting] = settings
            && let Some(default) = default_value(setting.default)
        {
            schema["default"] = default;
        }
        let meanings: Vec<String> = settings.iter().filter_map(|setting| self.meaning(setting)).collect();
        if !meanings.is_empty() {
            schema["description"] = json!(meanings.join("\n\n"));
        }
        schema
    }

    /// Returns what the documentation says of a setting.
    fn meaning(&self, setting: &Setting) -> Option<String> {
        // The settings of Avro are described with the sources.
        let sections = if self.section == "sink" { ["sink", "source"] } else { [self.section; 2] };
        let in_section = |section: &str| {
            self.rows
                .iter()
                .find(|row| row.section == section && row.key == setting.key && row.default == setting.default)
        };
        let row = sections.into_iter().find_map(in_section)?;
        match setting.condition {
            Some(condition) => {
                Some(format!("With {} {}: {}", condition.name, condition.values.join(", "), row.meaning))
            }
            None => (!row.meaning.is_empty()).then(|| row.meaning.clone()),
        }
    }

    /// Returns the rules for settings that depend on the choice of another one.
    fn conditions(&self, own: &[&Setting]) -> Vec<Value> {
        let Some(condition) = own.iter().find_map(|setting| setting.condition) else { return Vec::new() };
        let Some(control) = own.iter().find(|setting| setting.name() == condition.name) else { return Vec::new() };
        let SettingKind::Choice(choices) = control.kind else { return Vec::new() };
        let rule = |choice: &&str| {
            let (mut properties, mut required) = (Map::new(), Vec::new());
            for name in own.iter().filter(|setting| setting.condition.is_some()).map(|setting| setting.name()) {
                let with_choice = own.iter().find(|setting| setting.name() == name && setting.exists_with(choice));
                let property = with_choice.map_or(Value::Bool(false), |setting| self.value(setting.key, setting.kind));
                properties.insert(name.to_owned(), property);
                if with_choice.is_some_and(|setting| setting.is_required()) && !required.contains(&name) {
                    required.push(name);
                }
            }
            let mut chosen = json!({ "properties": { (control.name()): { "const": choice } } });
            if default_value(control.default) != Some(json!(choice)) {
                chosen["required"] = json!([control.name()]);
            }
            json!({ "if": chosen, "then": { "properties": properties, "required": required } })
        };
        choices.iter().map(rule).collect()
    }

    /// Returns the schema of values of a kind.
    fn value(&self, key: &str, kind: SettingKind) -> Value {
        match kind {
            SettingKind::Text | SettingKind::Path => json!({ "type": "string", "minLength": 1 }),
            SettingKind::AnyText => json!({ "type": "string" }),
            SettingKind::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
            SettingKind::Choice(choices) => json!({ "type": "string", "enum": choices }),
            SettingKind::Boolean => json!({ "type": "boolean" }),
            SettingKind::Number { min, max } => number(min, max),
            SettingKind::Decimal { min, max } => {
                json!({ "type": "number", "minimum": min as f64 / 1000.0, "maximum": max as f64 / 1000.0 })
            }
            SettingKind::Duration { .. } => json!({ "type": "string", "pattern": DURATION_PATTERN, "minLength": 2 }),
            SettingKind::DurationOr { word, min_ms } => {
                let duration = SettingKind::Duration { min_ms, max_ms: u64::MAX };
                json!({ "anyOf": [{ "const": word }, self.value(key, duration)] })
            }
            SettingKind::SignedDuration => {
                json!({ "type": "string", "pattern": SIGNED_DURATION_PATTERN, "minLength": 2 })
            }
            SettingKind::Size { min, max } => {
                json!({ "anyOf": [number(min, max), { "type": "string", "pattern": SIZE_PATTERN }] })
            }
            SettingKind::Scalar => json!({ "type": ["string", "number", "boolean"] }),
            SettingKind::Time => json!({ "type": ["string", "integer"] }),
            SettingKind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            SettingKind::Names => json!({
                "type": "array", "minItems": 1, "uniqueItems": true, "items": { "type": "string", "minLength": 1 }
            }),
            SettingKind::Choices(choices) => {
                json!({ "type": "array", "items": { "type": "string", "enum": choices } })
            }
            SettingKind::TextOrTexts => {
                let text = self.value(key, SettingKind::Text);
                json!({ "anyOf": [text, { "type": "array", "minItems": 1, "items": text }] })
            }
            SettingKind::ChoiceOrTable(choices) => {
                json!({ "anyOf": [self.value(key, SettingKind::Choice(choices)), self.object(Some(key))] })
            }
            SettingKind::Table => self.object(Some(key)),
            SettingKind::Tables(max) => {
                json!({ "type": "array", "maxItems": max, "items": self.object(Some(key)) })
            }
            SettingKind::Map { keys, values } => {
                let mut schema = json!({ "type": "object", "additionalProperties": self.value(key, *values) });
                if !keys.is_empty() {
                    schema["propertyNames"] = json!({ "pattern": keys });
                }
                schema
            }
            SettingKind::Secret => secret(),
            SettingKind::TextOrSecret => json!({ "anyOf": [self.value(key, SettingKind::Text), secret()] }),
        }
    }
}

fn number(min: u64, max: u64) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": min });
    if max < u64::MAX {
        schema["maximum"] = json!(max);
    }
    schema
}

fn secret() -> Value {
    json!({
        "type": "object",
        "description": "a reference to a secret: { secret = \"NAME\" }; with `cofferdam run` also { env = \"VARIABLE\" } or { file = \"PATH\" }",
        "properties": {
            "secret": { "type": "string", "pattern": SECRET_NAME_PATTERN },
            "env": { "type": "string", "pattern": "^[^=]+$" },
            "file": { "type": "string", "minLength": 1 },
        },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// Returns the default as JSON, if the documentation shows it as a value.
fn default_value(documented: &str) -> Option<Value> {
    let value = documented.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(documented);
    serde_json::from_str(value).or_else(|_| serde_json::from_str(&value.replace('_', ""))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values_or_sentences() {
        assert_eq!(default_value("`\"1MiB\"`"), Some(json!("1MiB")));
        assert_eq!(default_value("`1_000_000`"), Some(json!(1_000_000)));
        assert_eq!(default_value("1.5"), Some(json!(1.5)));
        assert_eq!(default_value("`false`"), Some(json!(false)));
        assert_eq!(default_value("the pipeline's"), None);
        assert_eq!(default_value("none"), None);
        assert_eq!(default_value(""), None);
    }

    #[test]
    fn a_setting_that_depends_on_another_one_is_refused_beside_other_choices() {
        let schema = json_schema(&[]);
        let window = &schema["$defs"]["operator"]["properties"]["window"];
        let rules = window["allOf"].as_array().unwrap();
        let rule = |choice: &str| {
            let is = |rule: &&Value| rule["if"]["properties"]["type"]["const"] == choice;
            rules.iter().find(is).unwrap()["then"].clone()
        };
        assert_eq!(rule("session")["required"], json!(["gap"]));
        assert_eq!(rule("session")["properties"]["size"], json!(false));
        assert_eq!(rule("sliding")["required"], json!(["size", "slide"]));
        // Without a strategy the default one applies.
        let rules = schema["properties"]["restart"]["allOf"].as_array().unwrap();
        let without: Vec<_> = rules.iter().filter(|rule| rule["if"].get("required").is_none()).collect();
        assert_eq!(without.len(), 1);
        assert_eq!(without[0]["if"]["properties"]["strategy"]["const"], "fixed-delay");
    }
}
