//! Checks the description that a component returned.

use super::component_description::{ComponentDescription, FunctionDescription, FunctionKind};
use super::port_check::check_port;
use super::state_check::{check_state, texts_of_state};
use super::text_limits::{NAME_BYTES_MAX, check_names, check_texts, check_total};
use crate::error::{self, Result};
use crate::model::TimeDomain;
use crate::sandbox::bindings::cofferdam::function::types::TimeDomain as WitDomain;
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;
use crate::state::StateKind;
use crate::turn::{sanitize_text, timer_states};

/// Checks the description that a component returned. Error: `component-description`.
pub(in crate::sandbox) fn check(description: wit::ComponentDescription) -> Result<ComponentDescription> {
    if description.functions.is_empty() {
        return Err(error::component_description("it describes no functions"));
    }
    check_total(&description)?;
    check_names("function", description.functions.iter().map(|function| &function.name))?;
    let functions = description.functions.into_iter().map(check_function).collect::<Result<_>>()?;
    let mut sdk = sanitize_text(description.sdk);
    sdk.truncate(sdk.floor_char_boundary(NAME_BYTES_MAX));
    Ok(ComponentDescription { sdk, functions })
}

fn check_function(function: wit::FunctionDescription) -> Result<FunctionDescription> {
    let name = function.name;
    let kind = match function.kind {
        wit::FunctionKind::Process => FunctionKind::Process,
        wit::FunctionKind::KeyedProcess => FunctionKind::KeyedProcess,
        wit::FunctionKind::Aggregate => FunctionKind::Aggregate,
        wit::FunctionKind::ProcessWindow => FunctionKind::ProcessWindow,
        wit::FunctionKind::CoProcess => FunctionKind::CoProcess,
        wit::FunctionKind::BroadcastProcess => FunctionKind::BroadcastProcess,
        wit::FunctionKind::CoGroup => FunctionKind::CoGroup,
        wit::FunctionKind::IntervalJoin => FunctionKind::IntervalJoin,
    };
    let described = |message: String| error::component_description(format!("function `{name}` {message}"));
    let (input, second_input) = inputs(function.inputs, kind).map_err(described)?;
    if function.outputs.is_empty() {
        return Err(described("describes no main output".into()));
    }
    if matches!(kind, FunctionKind::Process | FunctionKind::IntervalJoin) && !function.states.is_empty() {
        return Err(described(format!("declares state, but a function of kind {} cannot have state", kind.as_str())));
    }
    if !kind.may_have_timers() && !function.timers.is_empty() {
        return Err(described(format!("declares timers, but a function of kind {} cannot have timers", kind.as_str())));
    }
    let is_aggregate = matches!(&function.states[..], [state] if state.kind == wit::StateKind::Aggregating);
    if kind == FunctionKind::Aggregate && !is_aggregate {
        return Err(described(
            "is an aggregate and must declare exactly one state, its accumulator, of kind aggregating".into(),
        ));
    }
    check_texts(function.states.iter().flat_map(texts_of_state))?;
    check_texts(std::iter::once(&input).chain(&second_input).map(|port| &port.name))?;
    check_names("output", function.outputs.iter().map(|port| &port.name))?;
    check_names("state", function.states.iter().map(|state| &state.name))?;
    let is_taken = |name: &str| name == "dead-letter" || (name == "late" && kind.has_late_records());
    if let Some(port) = function.outputs.iter().skip(1).find(|port| is_taken(&port.name)) {
        return Err(described(format!("describes a side output `{}`, a name that its operator uses", port.name)));
    }
    let mut states = Vec::with_capacity(function.states.len());
    for state in function.states {
        states.push(check_state(state).map_err(described)?);
    }
    let keyed = states.iter().take_while(|state| state.kind != StateKind::Broadcast).count();
    let broadcast_states = states.split_off(keyed);
    if let Some(state) = broadcast_states.iter().find(|state| state.kind != StateKind::Broadcast) {
        return Err(described(format!("describes the state `{}` after a broadcast state", state.name)));
    }
    if let (Some(state), false) = (broadcast_states.first(), kind == FunctionKind::BroadcastProcess) {
        let name = &state.name;
        return Err(described(format!(
            "describes the broadcast state `{name}`, but has no broadcast input to write it"
        )));
    }
    let outputs = function.outputs.into_iter().map(check_port).collect::<Result<_, String>>().map_err(described)?;
    let input = check_port(input).map_err(described)?;
    let second_input = second_input.map(check_port).transpose().map_err(described)?;
    let timers = [(WitDomain::Event, TimeDomain::Event), (WitDomain::Processing, TimeDomain::Processing)];
    let timers = timers.into_iter().filter(|(declared, _)| function.timers.contains(declared));
    let timers: Vec<_> = timers.map(|(_, domain)| domain).collect();
    let internal = timer_states(&timers);
    Ok(FunctionDescription { kind, input, second_input, outputs, states, broadcast_states, timers, internal, name })
}

/// Returns the input of a function, and the second input if its kind has two. The error completes the sentence "function
/// `name` ...".
fn inputs(ports: Vec<wit::Port>, kind: FunctionKind) -> Result<(wit::Port, Option<wit::Port>), String> {
    let count = ports.len();
    let mut ports = ports.into_iter();
    match (ports.next(), ports.next(), kind.has_two_inputs()) {
        (Some(input), None, false) => Ok((input, None)),
        (Some(input), Some(second), true) if count == 2 => Ok((input, Some(second))),
        (.., two) => {
            let needed = if two { "two" } else { "one" };
            Err(format!("describes {count} inputs, but a function of kind {} has {needed}", kind.as_str()))
        }
    }
}
