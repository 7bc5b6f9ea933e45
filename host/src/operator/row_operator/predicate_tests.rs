//! What a filter lets pass: SQL's three-valued logic, exact comparisons of numbers, and errors that name the field.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::predicate::RowPredicate;
use crate::model::row::{RowSchema, read_json};
use crate::pipeline::{FilterExpression, NodeKind, PipelineSpec};

const SCHEMA: &str =
    "{i:i32?,u:u64?,f:f64?,g:f32?,s:string?,b:bytes?,o:bool?,t:timestamp?,d:date?,j:json?,r:{x:i64?}?}";

fn expression(filter: &str) -> FilterExpression {
    let text = format!(
        "name = \"p\"\n[source.a]\nconnector = \"generator\"\n[operator.b]\ninput = \"a\"\nfilter = {filter:?}\n\
         [sink.c]\ninput = \"b\"\nconnector = \"blackhole\""
    );
    match PipelineSpec::parse(&text, "p.toml").unwrap().nodes.swap_remove(1).kind {
        NodeKind::Operator(operator) => operator.rows.unwrap().filter.unwrap(),
        _ => panic!("not an operator"),
    }
}

fn compile(filter: &str) -> Result<RowPredicate, String> {
    RowPredicate::compile(&expression(filter), &SCHEMA.parse().unwrap())
}

fn passes(filter: &str, record: &Value) -> bool {
    let schema: RowSchema = SCHEMA.parse().unwrap();
    let mut row = Vec::new();
    read_json(&schema, record.to_string().as_bytes(), &mut row).unwrap();
    compile(filter).unwrap().is_true(&row).unwrap()
}

#[test]
fn values_are_compared_by_their_type() {
    let record = json!({
        "i": -5, "u": u64::MAX, "f": 0.5, "g": 0.1, "s": "bcd", "o": true, "t": "2013-01-01T05:00:00Z", "d": "2013-02-01",
        "j": {"n": 1}, "r": {"x": 9007199254740993_i64}
    });
    for filter in [
        "i = -5",
        "i < 0 and i >= -5",
        "i != 5",
        "-5 = i",
        "i < -4.5",
        "i > -5.5",
        "i = -5.0",
        "u = 18446744073709551615",
        "u > 1e19",
        "u < 1e20",
        "u < 99999999999999999999999999999999999999",
        "f = 0.5",
        "f > 0",
        "f < 1",
        "g = 0.1",
        "g >= 0.1",
        "s = 'bcd'",
        "s > 'bc'",
        "s < 'c'",
        "s >= 'B'",
        "o",
        "o = true",
        "not (o = false)",
        "o > false",
        "t = '2013-01-01T00:00:00-05:00'",
        "t >= '2013-01-01'",
        "t < '2013-01-02'",
        "t = 1357016400000",
        "d = '2013-02-01'",
        "d > '2013-01-31'",
        "r.x = 9007199254740993",
        "r.x != 9007199254740992.0",
        "r.x > 9007199254740992.0",
        "i < r.x",
        "j is not null",
        "not (j is null)",
    ] {
        assert!(passes(filter, &record), "{filter}");
        assert!(!passes(&format!("not ({filter})"), &record), "not {filter}");
    }
}

#[test]
fn a_json_field_is_compared_by_the_type_of_its_value() {
    for (value, filter, expected) in [
        (json!(3), "j = 3", true),
        (json!(3.0), "j = 3", true),
        (json!("3"), "j = 3", false),
        (json!("3"), "j != 3", false),
        (json!("a\nb"), "j = 'a\nb'", true),
        (json!(true), "j", true),
        (json!(1), "j", false),
        (json!([1]), "j = 1", false),
        (Value::Null, "j is null", true),
        (json!({"a": null}), "j is null", false),
    ] {
        assert_eq!(passes(filter, &json!({ "j": value })), expected, "{value} {filter}");
    }
}

#[test]
fn a_comparison_with_null_is_unknown_and_unknown_does_not_pass() {
    let nothing = json!({});
    for filter in
        ["i = 1", "i != 1", "not (i = 1)", "i = u", "o", "not o", "r.x = 1", "i = 1 and true", "false or i = 1"]
    {
        assert!(!passes(filter, &nothing), "{filter}");
    }
    for filter in ["i is null", "r.x is null", "i = 1 or true", "not (i = 1 and false)", "j is null", "true"] {
        assert!(passes(filter, &nothing), "{filter}");
    }
    assert!(!passes("r is not null", &nothing));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    for (filter, message) in [
        ("i = 'a'", "the field `i`, which is a number, cannot be compared with the text 'a'"),
        ("s > 3", "the field `s`, which is a string, cannot be compared with the number 3"),
        ("s = i", "the field `s`, which is a string, cannot be compared with the field `i`, which is a number,"),
        ("o = 1", "cannot be compared"),
        ("d = 3", "the field `d`, which is a date, cannot be compared with the number 3"),
        ("t = 'soon'", "the text 'soon' is not a time"),
        ("d = '2013-13-01'", "is not a date"),
        ("r = 1", "the field `r` is `{x:i64?}`, which cannot be compared"),
        ("i", "the field `i` is `i32`, not `bool`"),
        ("ii = 1", "there is no field `ii`; did you mean `i`?"),
        ("r.y = 1", "there is no field `r.y`"),
        ("x is null", "there is no field `x`"),
    ] {
        let error = compile(filter).unwrap_err();
        assert!(error.contains(message), "{filter}: {error}");
    }
}

/// SQL's logic on values of which `None` is unknown.
fn oracle(filter: &Value, i: Option<i64>, o: Option<bool>) -> Option<bool> {
    match filter[0].as_str().unwrap() {
        "and" => match (oracle(&filter[1], i, o), oracle(&filter[2], i, o)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        "or" => match (oracle(&filter[1], i, o), oracle(&filter[2], i, o)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        "not" => oracle(&filter[1], i, o).map(|value| !value),
        "i>" => i.map(|i| i > filter[1].as_i64().unwrap()),
        "i null" => Some(i.is_none()),
        _ => o,
    }
}

fn text(filter: &Value) -> String {
    match filter[0].as_str().unwrap() {
        word @ ("and" | "or") => format!("({} {word} {})", text(&filter[1]), text(&filter[2])),
        "not" => format!("not {}", text(&filter[1])),
        "i>" => format!("i > {}", filter[1]),
        "i null" => "i is null".into(),
        _ => "o".into(),
    }
}

fn any_filter() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![(-3_i64..3).prop_map(|number| json!(["i>", number])), Just(json!(["i null"])), Just(json!(["o"])),];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!(["and", a, b])),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!(["or", a, b])),
            inner.prop_map(|a| json!(["not", a])),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_follows_the_logic_of_sql(
        filter in any_filter(),
        i in proptest::option::of(-3_i64..3),
        o in proptest::option::of(any::<bool>()),
    ) {
        let expected = oracle(&filter, i, o) == Some(true);
        prop_assert_eq!(passes(&text(&filter), &json!({ "i": i, "o": o })), expected, "{}", text(&filter));
    }
}
