//! The description of the component: all functions, in the order of their tables.

use crate::exports::cofferdam::function::guest::{
    ComponentDescription, Form, FunctionDescription, FunctionKind, Port, PortLayout, ReadableForm, StateDescription,
    StateKind, TimeDomain,
};
use crate::{AGGREGATES, BROADCAST, JOINS, KEYED, MIGRATIONS, PLAIN, TIMED, WINDOWED};

/// Returns the names of all functions. The index of a name is the index of its function.
pub fn names() -> impl Iterator<Item = &'static str> {
    let tables = PLAIN.iter().chain(KEYED).chain(TIMED).map(|(name, _)| *name);
    tables.chain([WINDOWED, AGGREGATES, BROADCAST, JOINS, MIGRATIONS].into_iter().flatten().copied())
}

pub fn component() -> ComponentDescription {
    ComponentDescription { sdk: "by hand".to_string(), functions: names().map(function).collect() }
}

fn function(name: &'static str) -> FunctionDescription {
    let listed = |table: &[(&str, crate::Misdeed)]| table.iter().any(|(listed, _)| *listed == name);
    let one = || vec![port("in")];
    let two = || vec![port("in"), port("second")];
    let keyed_states =
        || vec![state("value", StateKind::Value), state("list", StateKind::List), state("map", StateKind::Map)];
    let (kind, inputs, states) = match name {
        _ if listed(PLAIN) => (FunctionKind::Process, one(), Vec::new()),
        _ if listed(KEYED) => (FunctionKind::KeyedProcess, one(), keyed_states()),
        _ if listed(TIMED) => (FunctionKind::KeyedProcess, one(), Vec::new()),
        _ if WINDOWED.contains(&name) => (FunctionKind::ProcessWindow, one(), Vec::new()),
        _ if AGGREGATES.contains(&name) => {
            (FunctionKind::Aggregate, one(), vec![state("accumulator", StateKind::Aggregating)])
        }
        _ if BROADCAST.contains(&name) => {
            (FunctionKind::BroadcastProcess, two(), vec![state("rules", StateKind::Broadcast)])
        }
        _ if JOINS.contains(&name) => (FunctionKind::IntervalJoin, two(), Vec::new()),
        "migrate-from" => (FunctionKind::KeyedProcess, one(), vec![state("value", StateKind::Value)]),
        _ => (FunctionKind::KeyedProcess, one(), vec![migrated_state()]),
    };
    let timers = if listed(TIMED) { vec![TimeDomain::Event, TimeDomain::Processing] } else { Vec::new() };
    FunctionDescription { name: name.to_string(), kind, inputs, outputs: vec![port("out")], states, timers }
}

fn port(name: &str) -> Port {
    Port {
        name: name.to_string(),
        codec: "raw".to_string(),
        schema: Vec::new(),
        layout: PortLayout::Packed,
        key_type: String::new(),
    }
}

fn form(schema: &str) -> Form {
    Form { codec: "raw".to_string(), schema: schema.to_string() }
}

fn state(name: &str, kind: StateKind) -> StateDescription {
    let map_key = if matches!(kind, StateKind::Map | StateKind::Broadcast) { "raw" } else { "" };
    StateDescription {
        name: name.to_string(),
        kind,
        form: form("first"),
        map_key: map_key.to_string(),
        ttl: None,
        reads: Vec::new(),
        writes: Vec::new(),
    }
}

/// The state of `migrate-from`, in another form.
fn migrated_state() -> StateDescription {
    let reads = vec![ReadableForm { form: form("first"), with_keys: false, with_sub_keys: false }];
    StateDescription { form: form("second"), reads, ..state("value", StateKind::Value) }
}
