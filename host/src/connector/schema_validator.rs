//! Validates JSON by a JSON Schema, as far as the schema of the pipeline file uses it. Panics for a keyword that it does not know.
//!
//! The well-known crates change the features of `serde_json` for all tests, so that floats would be read otherwise than by the binary.
//! `cargo xtask docs` checks the schema and the examples with an independent program.

use std::collections::HashMap;

use parking_lot::Mutex;
use regex_automata::Input;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use serde_json::{Map, Value};

/// Keywords that say nothing about values.
const NOTES: [&str; 6] = ["$schema", "$defs", "title", "description", "default", "then"];

pub(super) struct SchemaValidator {
    schema: Value,
    patterns: Mutex<HashMap<String, DFA<Vec<u32>>>>,
}

impl SchemaValidator {
    pub(super) fn new(schema: Value) -> SchemaValidator {
        SchemaValidator { schema, patterns: Mutex::default() }
    }

    /// Returns what is wrong with a value, with its place.
    pub(super) fn defects(&self, value: &Value) -> Vec<String> {
        self.check(&self.schema, value, "")
    }

    fn accepts(&self, schema: &Value, value: &Value) -> bool {
        self.check(schema, value, "").is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let Some(schema) = schema.as_object() else {
            return if schema == &Value::Bool(true) { Vec::new() } else { vec![format!("{place}: is not allowed")] };
        };
        let rules = schema.iter().filter(|(keyword, _)| !NOTES.contains(&keyword.as_str()));
        rules.flat_map(|(keyword, rule)| self.check_rule(schema, keyword, rule, value, place)).collect()
    }

    fn check_rule(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        place: &str,
    ) -> Vec<String> {
        let holds = match keyword {
            "$ref" => {
                let target = self.schema.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                return self.check(target, value, place);
            }
            "properties" | "additionalProperties" => return self.check_members(schema, keyword, rule, value, place),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                return items.flat_map(|(index, item)| self.check(rule, item, &format!("{place}/{index}"))).collect();
            }
            "allOf" => {
                return rule.as_array().unwrap().iter().flat_map(|rule| self.check(rule, value, place)).collect();
            }
            "if" if self.accepts(rule, value) => return self.check(&schema["then"], value, place),
            "if" => true,
            "anyOf" => rule.as_array().unwrap().iter().any(|rule| self.accepts(rule, value)),
            "oneOf" => rule.as_array().unwrap().iter().filter(|rule| self.accepts(rule, value)).count() == 1,
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| has_type(value, name.as_str().unwrap())),
                name => has_type(value, name.as_str().unwrap()),
            },
            "pattern" => value.as_str().is_none_or(|text| self.matches(rule.as_str().unwrap(), text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "uniqueItems" => value
                .as_array()
                .is_none_or(|items| items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))),
            "required" => value.as_object().is_none_or(|members| {
                rule.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
            }),
            "propertyNames" => value
                .as_object()
                .is_none_or(|members| members.keys().all(|name| self.accepts(rule, &Value::String(name.clone())))),
            "minProperties" => value.as_object().is_none_or(|members| members.len() as u64 >= rule.as_u64().unwrap()),
            "maxProperties" => value.as_object().is_none_or(|members| members.len() as u64 <= rule.as_u64().unwrap()),
            unknown => {
                panic!("the schema of the pipeline file has the keyword `{unknown}`, which this validator lacks")
            }
        };
        if holds { Vec::new() } else { vec![format!("{place}: {value} breaks {keyword} {rule}")] }
    }

    fn check_members(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        rule: &Value,
        value: &Value,
        place: &str,
    ) -> Vec<String> {
        let declared = schema.get("properties").and_then(Value::as_object);
        let members = value.as_object().into_iter().flatten();
        let of_rule = members.filter_map(|(name, member)| match declared.and_then(|declared| declared.get(name)) {
            Some(declared) => (keyword == "properties").then_some((name, member, declared)),
            None => (keyword == "additionalProperties").then_some((name, member, rule)),
        });
        of_rule.flat_map(|(name, member, rule)| self.check(rule, member, &format!("{place}/{name}"))).collect()
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.lock();
        let automaton = patterns.entry(pattern.to_owned()).or_insert_with(|| DFA::new(pattern).unwrap());
        automaton.try_search_fwd(&Input::new(text)).unwrap().is_some()
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        unknown => panic!("unknown type `{unknown}`"),
    }
}

#[test]
fn the_validator_tells_right_from_wrong() {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["a", "b"] },
            "size": { "type": "integer", "minimum": 1, "maximum": 3 },
            "text": { "type": "string", "pattern": "^[0-9]+(ms|s)$", "minLength": 2 },
            "list": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/name" } },
            "one": { "oneOf": [{ "const": "x" }, { "type": "boolean" }] },
        },
        "required": ["kind"],
        "additionalProperties": false,
        "allOf": [{ "if": { "properties": { "kind": { "const": "b" } } }, "then": { "properties": { "size": false }, "required": ["text"] } }],
        "$defs": { "name": { "type": "string" } },
    });
    let validator = SchemaValidator::new(schema);
    let defects = |text: &str| validator.defects(&serde_json::from_str(text).unwrap()).len();
    for right in [
        r#"{"kind":"a"}"#,
        r#"{"kind":"a","size":3,"text":"5s","list":["x","y"],"one":true}"#,
        r#"{"kind":"b","text":"10ms","one":"x"}"#,
    ] {
        assert_eq!(defects(right), 0, "{right}");
    }
    for wrong in [
        "1",
        "{}",
        r#"{"kind":"c"}"#,
        r#"{"kind":"a","size":4}"#,
        r#"{"kind":"a","size":1.5}"#,
        r#"{"kind":"a","text":"s"}"#,
        r#"{"kind":"a","list":[]}"#,
        r#"{"kind":"a","list":["x","x"]}"#,
        r#"{"kind":"a","list":[1]}"#,
        r#"{"kind":"a","one":1}"#,
        r#"{"kind":"a","kinds":1}"#,
        r#"{"kind":"b","size":1,"text":"1s"}"#,
        r#"{"kind":"b"}"#,
    ] {
        assert!(defects(wrong) > 0, "{wrong}");
    }
}
