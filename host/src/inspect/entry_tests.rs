//! Entries of every kind: what is shown, that it is read to the same bytes, and what is refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::state::{TimeToLive, TtlUpdate};

const TTL: TimeToLive = TimeToLive { milliseconds: 1000, update: TtlUpdate::CreateAndWrite, return_expired: false };

fn state(kind: StateKind, codec: &str, schema: &str) -> StateDescription {
    let map_key = if matches!(kind, StateKind::Map | StateKind::Broadcast) { "ordered:u16" } else { "" };
    StateDescription { map_key: map_key.into(), ..StateDescription::new("s", kind, codec, schema) }
}

/// The line that shows an entry.
fn show(state: &StateDescription, key: &[u8], sub_key: &[u8], value: &[u8]) -> String {
    let entry = Entry { group: 0, state: 0, key, sub_key, value };
    serde_json::to_string(&EntryForm::new("op", state).show(entry).unwrap()).unwrap()
}

fn read(state: &StateDescription, line: &str) -> Result<Stored, String> {
    let entry: StateEntry = serde_json::from_str(line).map_err(|error| error.to_string())?;
    EntryForm::new("op", state).read(&entry, 7)
}

fn list(elements: &[&[u8]]) -> Vec<u8> {
    let mut stored = Vec::new();
    elements.iter().for_each(|element| list::push_element(&mut stored, &[], element));
    stored
}

#[test]
fn each_kind_looks_like_itself_and_is_read_again() {
    let map = state(StateKind::Map, "json", "json:u8");
    let broadcast = state(StateKind::Broadcast, "raw", "raw:string");
    let ttl_list = StateDescription { ttl: Some(TTL), ..state(StateKind::List, "postcard", "postcard:bool") };
    let ttl_value = StateDescription { ttl: Some(TTL), ..state(StateKind::Value, "raw", "raw:string") };
    let element = |time: i64, value: u8| [&time.to_le_bytes()[..], &[value]].concat();
    for (state, key, sub_key, value, extra) in [
        (
            &state(StateKind::Value, "postcard", "postcard:(u64,i64,)"),
            "k",
            &[][..],
            vec![3, 7],
            json!({"value": [3, -4]}),
        ),
        (&state(StateKind::Reducing, "csv", "csv:(u8,)"), "k", &[], b"1,2".to_vec(), json!({"value": "1,2"})),
        (&state(StateKind::Value, "postcard", "postcard:#12"), "k", &[], vec![3, 7], json!({"value": {"hex": "0307"}})),
        (&state(StateKind::List, "postcard", "postcard:i32"), "k", &[], list(&[&[2], &[1]]), json!({"value": [1, -1]})),
        (&map, "k", &[1, 0], b"{\"b\":1.10}".to_vec(), json!({"value": {"b": 1.10}, "map_key": 256})),
        (
            &map,
            "k",
            &[1],
            b"{\"hex\":\"00\"}".to_vec(),
            json!({"value": {"hex": "7b22686578223a223030227d"}, "map_key": {"hex": "01"}}),
        ),
        (&map, "\0", &[0, 1], b"x".to_vec(), json!({"key": {"hex": "00"}, "value": {"hex": "78"}, "map_key": 1})),
        (&broadcast, "", &[0, 1], b"rule".to_vec(), json!({"value": "rule", "map_key": 1, "key": null})),
        (
            &ttl_list,
            "k",
            &[],
            list(&[&element(5, 1), &element(6, 0)]),
            json!({"value": [true, false], "updated_at": [5, 6]}),
        ),
        (&ttl_value, "k", &[], element(9, b'v'), json!({"value": "v", "updated_at": 9})),
    ] {
        let mut expected = json!({"operator": "op", "state": "s", "kind": state.kind.as_str(), "key": key});
        expected.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        expected.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let shown = show(state, key.as_bytes(), sub_key, &value);
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), expected);
        let stored = Stored { key: key.into(), sub_key: sub_key.into(), value };
        assert_eq!(read(state, &shown), Ok(stored));
    }
}

#[test]
fn an_entry_that_does_not_fit_its_state_is_refused() {
    let value = state(StateKind::Value, "postcard", "postcard:u8");
    let list = state(StateKind::List, "postcard", "postcard:u8");
    let map = state(StateKind::Map, "postcard", "postcard:u8");
    let line = |extra: Value| {
        let mut line = json!({"operator": "op", "state": "s", "key": "k", "value": 1});
        line.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        line.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        line
    };
    for (state, extra, why) in [
        (&value, json!({"kind": "list"}), "`kind` is \"list\", but the state is a value"),
        (&value, json!({"key": 5}), "`key`: expected a string or {\"hex\": ...}"),
        (&value, json!({"key": null}), "it has no `key`"),
        (&value, json!({"value": null}), "missing field `value`"),
        (&value, json!({"value": "1"}), "`value`: expected an unsigned integer of 8 bits"),
        (&value, json!({"value": {"hex": "0"}}), "`value`: the digits in \"hex\": Odd number of digits"),
        (&value, json!({"map_key": 1}), "it has a `map_key`, and a value has none"),
        (&value, json!({"updated_at": 1}), "it has `updated_at`, and the state has no time to live"),
        (&value, json!({"valeu": 1}), "unknown field `valeu`"),
        (&list, json!({}), "`value`: expected a list of elements"),
        (&list, json!({"value": []}), "an empty list, and that is no entry"),
        (&list, json!({"value": [1, true]}), "`value`, element 1: expected an unsigned integer of 8 bits"),
        (&map, json!({}), "it has no `map_key`"),
        (&map, json!({"map_key": 65536}), "`map_key`: expected an unsigned integer of 16 bits"),
    ] {
        let refused = read(state, &line(extra).to_string()).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_value_without_its_time_is_as_old_as_the_load() {
    let state = StateDescription { ttl: Some(TTL), ..state(StateKind::Value, "raw", "raw:string") };
    let stored = read(&state, r#"{"operator": "op", "state": "s", "key": "k", "value": "v"}"#).unwrap();
    assert_eq!(stored.value, [7, 0, 0, 0, 0, 0, 0, 0, b'v']);
}

#[test]
fn a_sub_key_on_the_command_line_is_json_text_or_hex() {
    let of = |map_key: &str, argument: &str| {
        let state = StateDescription { map_key: map_key.into(), ..state(StateKind::Map, "json", "json:u8") };
        EntryForm::new("op", &state).sub_key_of_argument(argument)
    };
    assert_eq!(of("ordered:u16", "258"), Ok(vec![1, 2]));
    assert_eq!(of("ordered:u16", "hex:0102"), Ok(vec![1, 2]));
    assert_eq!(of("ordered:string", "258"), Ok(b"258".to_vec()));
    assert_eq!(of("ordered:char", "a"), Ok(vec![0, 0, 0, 97]));
    assert_eq!(of("ordered:(u8,bool)", "[1,true]"), Ok(vec![1, 1]));
    assert_eq!(of("", "hex:00"), Ok(vec![0]));
    assert!(of("ordered:u16", "x").is_err() && of("", "1").is_err());
}

proptest! {
    /// Whatever is stored, a dump of it loads to the same bytes.
    #[test]
    fn what_is_shown_is_read_to_the_same_bytes(
        kind in prop_oneof![Just(StateKind::Value), Just(StateKind::Map)],
        codec in "(json|raw|csv|postcard|other)",
        shape in r"(u64|f64|string|option<option<u8,>,>|\{hex:string,\}|map<string,u8,>|enum<A\|B\(f32,\)\|>)",
        key: Vec<u8>,
        sub_key: Vec<u8>,
        value in prop_oneof![any::<Vec<u8>>(), "[\\[\\]{}\",: hex0-9.e\\n-]{0,12}".prop_map(String::into_bytes)],
    ) {
        let state = state(kind, &codec, &format!("{codec}:{shape}"));
        let sub_key = if kind == StateKind::Map { sub_key } else { Vec::new() };
        let shown = EntryForm::new("op", &state).show(Entry { group: 0, state: 0, key: &key, sub_key: &sub_key, value: &value });
        let line = serde_json::to_string(&shown.unwrap()).unwrap();
        prop_assert!(!line.contains('\n'));
        let entry: StateEntry = serde_json::from_str(&line).unwrap();
        let stored = EntryForm::new("op", &state).read(&entry, 0).unwrap();
        // JSON keeps what it says; the line ends in it become blanks.
        let value = if codec == "json" && !line.contains("hex") { value.iter().map(|&b| if b == b'\n' { b' ' } else { b }).collect() } else { value };
        prop_assert_eq!(stored, Stored { key, sub_key, value });
    }
}
