//! Valid and invalid descriptions of components.

use super::bindings::exports::cofferdam::function::function as wit;
use super::description::{DECLARATIONS_MAX, FunctionDescription, check};
use crate::error::Result;
use crate::state::{StateDescription, StateKind, StateLayout, TimeToLive, TtlUpdate};

fn state(name: &str, kind: wit::StateKind) -> wit::StateDescription {
    let map_key = if kind == wit::StateKind::Map { "ordered:u64" } else { "" };
    let (name, map_key) = (name.to_owned(), map_key.to_owned());
    wit::StateDescription {
        name,
        kind,
        codec: "raw".into(),
        schema: "u64".into(),
        map_key,
        ttl: None,
        previous: vec![],
    }
}

fn check_one(
    kind: wit::FunctionKind,
    inputs: usize,
    states: Vec<wit::StateDescription>,
) -> Result<FunctionDescription> {
    let port = wit::Port { name: "port".into(), codec: "raw".into() };
    let (inputs, outputs) = (vec![port.clone(); inputs], vec![port]);
    let function = wit::FunctionDescription { name: "f".into(), kind, inputs, outputs, states, timers: vec![] };
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
    let old = wit::StateDescription { ttl: ttl(5), previous: vec!["u32".into()], ..state("m", map) };
    let states = [("v", value), ("l", list), ("r", reducing), ("a", aggregating)];
    let states = states.into_iter().map(|(name, kind)| state(name, kind));
    let layout = check_states(states.chain([old]).collect()).unwrap();
    let kinds: Vec<_> = layout.iter().map(|state| state.kind.as_str()).collect();
    assert_eq!(kinds, ["value", "list", "reducing", "aggregating", "map"]);
    let lifetime = TimeToLive { milliseconds: 5, update: TtlUpdate::ReadAndWrite, return_expired: true };
    let expected = StateDescription::new("m", StateKind::Map, "raw", "u64");
    let (map_key, previous) = ("ordered:u64".into(), vec!["u32".into()]);
    assert_eq!(layout[4], StateDescription { map_key, ttl: Some(lifetime), previous, ..expected });
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
    let many = vec!["old".to_owned(); DECLARATIONS_MAX + 1];
    for (defect, part) in [
        (wit::StateDescription { map_key: String::new(), ..state("s", map) }, "the codec of the keys of the map `s`"),
        (wit::StateDescription { map_key: "ordered:u64".into(), ..state("s", value) }, "which is not a map"),
        (wit::StateDescription { map_key: "x".repeat(1100), ..state("s", map) }, "printable bytes"),
        (wit::StateDescription { ttl: ttl(0), ..state("s", value) }, "a time to live of zero"),
        (wit::StateDescription { previous: many, ..state("s", value) }, "more than 256 older forms"),
        (wit::StateDescription { previous: vec!["\u{1b}".into()], ..state("s", value) }, "printable bytes"),
    ] {
        let error = check_states(vec![defect]).unwrap_err();
        assert_eq!(error.code, "component-description");
        assert!(error.message.contains(part), "{}", error.message);
    }
}
