//! Valid and invalid descriptions of components.

use super::text_limits::{DECLARATIONS_MAX, TOTAL_BYTES_MAX};
use super::{FunctionDescription, check};
use crate::error::Result;
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;
use crate::state::{ReadableForm, StateDescription, StateForm, StateKind, StateLayout, TimeToLive, TtlUpdate};

fn form(schema: &str) -> wit::FormResult {
    wit::FormResult { codec: "raw".into(), schema: schema.into() }
}

fn reads(schema: &str) -> wit::ReadableForm {
    wit::ReadableForm { form: form(schema), with_keys: false, with_sub_keys: false }
}

fn raw_port() -> wit::Port {
    let (name, codec, key_type) = ("port".into(), "raw".into(), String::new());
    wit::Port { name, codec, schema: vec![], layout: wit::PortLayout::Packed, key_type }
}

fn state(name: &str, kind: wit::StateKind) -> wit::StateDescription {
    let map_key = if kind == wit::StateKind::Map { "ordered:u64" } else { "" };
    let (name, map_key) = (name.to_owned(), map_key.to_owned());
    wit::StateDescription { name, kind, form: form("u64"), map_key, ttl: None, reads: vec![], writes: vec![] }
}

fn check_one(
    kind: wit::FunctionKind,
    inputs: usize,
    states: Vec<wit::StateDescription>,
) -> Result<FunctionDescription> {
    let (inputs, outputs) = (vec![raw_port(); inputs], vec![raw_port()]);
    check_described(wit::FunctionDescription { name: "f".into(), kind, inputs, outputs, states, timers: vec![] })
}

fn check_described(function: wit::FunctionDescription) -> Result<FunctionDescription> {
    let component = wit::ComponentDescription { sdk: "by hand".into(), functions: vec![function] };
    Ok(check(component)?.functions.remove(0))
}

fn check_states(states: Vec<wit::StateDescription>) -> Result<StateLayout> {
    Ok(check_one(wit::FunctionKind::KeyedProcess, 1, states)?.states)
}

fn ttl(milliseconds: u64) -> Option<wit::TimeToLive> {
    Some(wit::TimeToLive { milliseconds, update: wit::TtlUpdate::ReadAndWrite, return_expired: true })
}

#[test]
fn every_kind_of_keyed_state_is_accepted() {
    let [value, list, map] = [wit::StateKind::Value, wit::StateKind::List, wit::StateKind::Map];
    let [reducing, aggregating] = [wit::StateKind::Reducing, wit::StateKind::Aggregating];
    let old =
        wit::StateDescription { ttl: ttl(5), reads: vec![reads("u32")], writes: vec![form("u8")], ..state("m", map) };
    let states = [("v", value), ("l", list), ("r", reducing), ("a", aggregating)];
    let states = states.into_iter().map(|(name, kind)| state(name, kind));
    let layout = check_states(states.chain([old]).collect()).unwrap();
    let kinds: Vec<_> = layout.iter().map(|state| state.kind.as_str()).collect();
    assert_eq!(kinds, ["value", "list", "reducing", "aggregating", "map"]);
    let lifetime = TimeToLive { milliseconds: 5, update: TtlUpdate::ReadAndWrite, return_expired: true };
    let expected = StateDescription::new("m", StateKind::Map, "raw", "u64");
    let (reads, writes) =
        (vec![ReadableForm::new("raw", "u32")], vec![StateForm { codec: "raw".into(), schema: "u8".into() }]);
    let map_key = "ordered:u64".into();
    assert_eq!(layout[4], StateDescription { map_key, ttl: Some(lifetime), reads, writes, ..expected });
}

#[test]
fn a_broadcast_function_has_two_inputs_and_its_broadcast_states_last() {
    let kind = wit::FunctionKind::BroadcastProcess;
    let rules = || wit::StateDescription { map_key: "ordered:u64".into(), ..state("r", wit::StateKind::Broadcast) };
    let value = || state("v", wit::StateKind::Value);
    let function = check_one(kind, 2, vec![value(), rules()]).unwrap();
    assert!(function.second_input.is_some());
    assert_eq!((function.states[0].kind, function.states.len()), (StateKind::Value, 1));
    assert_eq!((function.broadcast_states[0].kind, function.broadcast_states.len()), (StateKind::Broadcast, 1));
    assert_eq!(function.all_states().len(), 2);
    let without_key = wit::StateDescription { map_key: String::new(), ..rules() };
    let with_ttl = wit::StateDescription { ttl: ttl(5), ..rules() };
    let keyed = wit::FunctionKind::KeyedProcess;
    for (refused, part) in [
        (check_one(kind, 1, vec![]), "describes 1 inputs, but a function of kind broadcast-process has two"),
        (check_one(kind, 3, vec![]), "describes 3 inputs"),
        (check_one(keyed, 2, vec![]), "describes 2 inputs, but a function of kind keyed-process has one"),
        (check_one(keyed, 1, vec![rules()]), "no broadcast input to write it"),
        (check_one(kind, 2, vec![rules(), value()]), "describes the state `v` after a broadcast state"),
        (check_one(kind, 2, vec![without_key]), "the codec of the keys of the map `r`"),
        (check_one(kind, 2, vec![with_ttl]), "a time to live for the broadcast state `r`"),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.code, "component-description");
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[test]
fn an_impossible_state_is_an_error() {
    let (value, map) = (wit::StateKind::Value, wit::StateKind::Map);
    let many: Vec<_> = (0..=DECLARATIONS_MAX).map(|n| reads(&n.to_string())).collect();
    let sub_keys = wit::ReadableForm { with_sub_keys: true, ..reads("u32") };
    for (defect, part) in [
        (wit::StateDescription { map_key: String::new(), ..state("s", map) }, "the codec of the keys of the map `s`"),
        (wit::StateDescription { map_key: "ordered:u64".into(), ..state("s", value) }, "which is not a map"),
        (wit::StateDescription { map_key: "x".repeat(1100), ..state("s", map) }, "printable bytes"),
        (wit::StateDescription { ttl: ttl(0), ..state("s", value) }, "a time to live of zero"),
        (wit::StateDescription { reads: many, ..state("s", value) }, "more than 256 older forms"),
        (wit::StateDescription { reads: vec![reads("\u{1b}")], ..state("s", value) }, "printable bytes"),
        (wit::StateDescription { writes: vec![form(&"x".repeat(1100))], ..state("s", value) }, "printable bytes"),
        (wit::StateDescription { reads: vec![reads("u64")], ..state("s", value) }, "as an older form, too"),
        (wit::StateDescription { writes: vec![form("u64")], ..state("s", value) }, "as an older form, too"),
        (wit::StateDescription { reads: vec![reads("u8"), reads("u8")], ..state("s", value) }, "twice"),
        (wit::StateDescription { reads: vec![sub_keys], ..state("s", value) }, "which is not a map"),
    ] {
        let error = check_states(vec![defect]).unwrap_err();
        assert_eq!(error.code, "component-description");
        assert!(error.message.contains(part), "{}", error.message);
    }
}

fn check_input(port: wit::Port) -> Result<FunctionDescription> {
    let kind = wit::FunctionKind::Process;
    let (inputs, outputs) = (vec![port], vec![raw_port()]);
    check_described(wit::FunctionDescription {
        name: "f".into(),
        kind,
        inputs,
        outputs,
        states: vec![],
        timers: vec![],
    })
}

fn field(name: &str, field_type: &str) -> wit::Field {
    let (name, field_type) = (name.into(), field_type.into());
    wit::Field { name, field_type, nullable: false, aliases: vec![], default_value: None }
}

#[test]
fn a_port_of_rows_has_a_schema_and_the_type_of_its_keys() {
    let delay = wit::Field {
        nullable: true,
        aliases: vec!["dep_delay".into()],
        default_value: Some("0".into()),
        ..field("delay", "i32")
    };
    let schema = vec![field("tailnum", "string"), delay, field("legs", "list<{to:string}>")];
    let port = wit::Port { codec: "row".into(), schema, key_type: "(string,i64)".into(), ..raw_port() };
    let input = check_input(port).unwrap().input;
    let schema = input.schema.unwrap();
    assert_eq!(schema.to_string(), "{tailnum:string,delay:i32?,legs:list<{to:string}>}");
    assert_eq!(schema.fields()[1].aliases, ["dep_delay"]);
    assert_eq!(schema.fields()[1].default.as_deref(), Some("0"));
    assert_eq!(input.key_type, "(string, i64)");
    let raw = check_input(wit::Port { key_type: " u8 ".into(), ..raw_port() }).unwrap().input;
    assert_eq!((raw.schema, &raw.key_type[..]), (None, "u8"));
}

#[test]
fn an_impossible_port_is_an_error() {
    let row = |schema| wit::Port { codec: "row".into(), schema, ..raw_port() };
    let key = |key_type: &str| wit::Port { key_type: key_type.into(), ..raw_port() };
    let default = wit::Field { default_value: Some("{".into()), ..field("a", "i64") };
    let aliases = wit::Field { aliases: vec!["b".into(); 65], ..field("a", "i64") };
    for (port, part) in [
        (wit::Port { codec: "csv".into(), ..raw_port() }, "the codecs of records are row, json and raw"),
        (wit::Port { codec: "x".repeat(1 << 20), ..raw_port() }, "the codecs of records are row, json and raw"),
        (wit::Port { layout: wit::PortLayout::Fields, ..row(vec![field("a", "i64")]) }, "the layout `fields`"),
        (wit::Port { schema: vec![field("a", "i64")], ..raw_port() }, "its codec `raw` has none"),
        (row(vec![]), "at least one field"),
        (row(vec![field("a", "i64"), field("a", "i64")]), "`a`"),
        (row(vec![field("a", "int")]), "its type"),
        (row(vec![field("a", &"list<".repeat(100))]), "its type"),
        (row(vec![field("\n", "i64")]), "control character"),
        (row(vec![field("", "i64")]), "is not 1 to 255 bytes long"),
        (row(vec![default]), "not JSON"),
        (row(vec![aliases]), "more than 64 aliases"),
        (row(vec![field("a", &"x".repeat(20_000))]), "longer than 16384 bytes"),
        (row((0..5000).map(|n| field(&n.to_string(), "i64")).collect()), "more than 4096 fields"),
        (key("f64"), "a key is a string"),
        (key("i64?"), "the invalid key type `i64?`"),
        (key("(string)"), "2 to 64 parts"),
        (key("()"), "the invalid key type"),
        (key(&"x".repeat(2000)), "longer than 1024 bytes"),
    ] {
        let error = check_input(port).unwrap_err();
        assert_eq!(error.code, "component-description");
        assert!(error.message.contains(part), "{}", error.message);
        assert!(error.message.len() < 40_000);
    }
}

#[test]
fn a_description_is_limited_in_sum() {
    let schema = "x".repeat(1000);
    let states = |functions: usize| {
        let state = |at: usize| wit::StateDescription {
            form: form(&schema),
            ..state(&format!("s{at}"), wit::StateKind::Value)
        };
        let functions = (0..functions).map(|at| wit::FunctionDescription {
            name: format!("f{at}"),
            kind: wit::FunctionKind::KeyedProcess,
            inputs: vec![raw_port()],
            outputs: vec![raw_port()],
            states: (0..100).map(state).collect(),
            timers: vec![],
        });
        check(wit::ComponentDescription { sdk: "by hand".into(), functions: functions.collect() })
    };
    assert!(states(15).is_ok());
    let error = states(25).unwrap_err();
    assert_eq!(error.code, "component-description");
    assert!(error.message.contains(&TOTAL_BYTES_MAX.to_string()), "{error}");

    let alias = "a".repeat(16 << 10);
    let field = wit::Field {
        name: "n".into(),
        field_type: "i64".into(),
        nullable: false,
        aliases: vec![alias; 130],
        default_value: None,
    };
    let port = wit::Port { codec: "row".into(), schema: vec![field], ..raw_port() };
    let (kind, outputs) = (wit::FunctionKind::Process, vec![raw_port()]);
    let error = check_described(wit::FunctionDescription {
        name: "f".into(),
        kind,
        inputs: vec![port],
        outputs,
        states: vec![],
        timers: vec![],
    });
    assert!(error.unwrap_err().message.contains("its description has"));
}
