//! The description of a component: its functions, inputs, outputs and states.
//!
//! Invariant: a checked description contains only what this version can run.

use super::bindings::cofferdam::function::types::TimeDomain as WitDomain;
use super::bindings::exports::cofferdam::function::function as wit;
use crate::error::{self, Result};
use crate::model::TimeDomain;
use crate::state::{StateDescription, StateKind, StateLayout, TimeToLive, TtlUpdate};
use crate::turn::{sanitize_text, timer_states};

/// Maximum number of functions, ports and states of one component, and of older forms of one state.
pub(super) const DECLARATIONS_MAX: usize = 256;
/// Maximum length of a name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Maximum length of a schema's fingerprint and of the name of a codec or map key, in bytes. They are part of every
/// checkpoint and every list of components.
const TEXT_BYTES_MAX: usize = 1024;

/// The checked description of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentDescription {
    /// Name and version of the SDK that built the component.
    pub sdk: String,
    /// The functions in the order of their indices.
    pub functions: Vec<FunctionDescription>,
}

/// The checked description of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDescription {
    /// The name, unique in the component.
    pub name: String,
    /// The kind.
    pub kind: FunctionKind,
    /// The only or first input.
    pub input: PortDescription,
    /// The second input, if the kind has two. The kind determines its role.
    pub second_input: Option<PortDescription>,
    /// The main output, then the side outputs.
    pub outputs: Vec<PortDescription>,
    /// The keyed states that the function declares.
    pub states: StateLayout,
    /// The broadcast states that the function declares. Their indices follow those of the keyed states.
    pub broadcast_states: StateLayout,
    /// The time domains in which it registers timers.
    pub timers: Vec<TimeDomain>,
    /// The keyed states of the host: timers and the contents of windows.
    pub internal: StateLayout,
}

/// The kind of a function, which determines the calls to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// Processes records without keys.
    Process,
    /// Processes records of a keyed stream, with state and timers.
    KeyedProcess,
    /// Aggregates the records of a window incrementally.
    Aggregate,
    /// Processes all elements of a window at once.
    ProcessWindow,
    /// Processes two keyed inputs that share state.
    CoProcess,
    /// Processes a keyed input and a broadcast input.
    BroadcastProcess,
    /// Processes all elements of a window of two inputs at once.
    CoGroup,
    /// Processes pairs of records of two inputs.
    IntervalJoin,
}

impl FunctionKind {
    /// Returns the name of the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            FunctionKind::Process => "process",
            FunctionKind::KeyedProcess => "keyed-process",
            FunctionKind::Aggregate => "aggregate",
            FunctionKind::ProcessWindow => "process-window",
            FunctionKind::CoProcess => "co-process",
            FunctionKind::BroadcastProcess => "broadcast-process",
            FunctionKind::CoGroup => "co-group",
            FunctionKind::IntervalJoin => "interval-join",
        }
    }

    /// Returns whether functions of this kind have two inputs.
    pub fn has_two_inputs(self) -> bool {
        use FunctionKind::*;
        matches!(self, CoProcess | BroadcastProcess | CoGroup | IntervalJoin)
    }

    /// Returns whether its operator drops late records, and has an output for them.
    pub fn has_late_records(self) -> bool {
        use FunctionKind::*;
        matches!(self, Aggregate | ProcessWindow | CoGroup | IntervalJoin)
    }

    /// Returns whether functions of this kind may register timers.
    fn may_have_timers(self) -> bool {
        matches!(self, FunctionKind::KeyedProcess | FunctionKind::CoProcess | FunctionKind::BroadcastProcess)
    }

    /// Returns the interface that the host calls in addition to `function`, if any.
    pub(super) fn interface(self) -> Option<&'static str> {
        match self {
            FunctionKind::Aggregate => Some("aggregate"),
            FunctionKind::ProcessWindow | FunctionKind::CoGroup => Some("window"),
            FunctionKind::IntervalJoin => Some("join"),
            _ => None,
        }
    }
}

/// An input or output of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDescription {
    /// The name, unique among the outputs of a function.
    pub name: String,
    /// The codec of its values.
    pub codec: String,
}

impl FunctionDescription {
    /// Returns all states. The declared ones come first, in the order of their indices in calls.
    pub fn all_states(&self) -> StateLayout {
        self.states.iter().chain(&self.broadcast_states).chain(&self.internal).cloned().collect()
    }

    /// Returns the states that a state backend stores.
    pub fn keyed_states(&self) -> StateLayout {
        self.states.iter().chain(&self.internal).cloned().collect()
    }
}

impl ComponentDescription {
    /// Finds a function and its index by name.
    pub fn function(&self, name: &str) -> Option<(u32, &FunctionDescription)> {
        let index = self.functions.iter().position(|function| function.name == name)?;
        Some((index as u32, &self.functions[index]))
    }
}

/// Checks the description that a component returned. Error: `component-description`.
pub(super) fn check(description: wit::ComponentDescription) -> Result<ComponentDescription> {
    if description.functions.is_empty() {
        return Err(error::component_description("it describes no functions"));
    }
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
    let inputs = || std::iter::once(&input).chain(&second_input);
    let ports = inputs().chain(&function.outputs);
    let texts = function.states.iter().flat_map(|state| {
        [&state.codec, &state.schema, &state.map_key]
            .into_iter()
            .chain(state.previous.iter().take(DECLARATIONS_MAX + 1))
    });
    check_texts(texts.chain(ports.map(|port| &port.codec)).chain(inputs().map(|port| &port.name)))?;
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
    let port = |port: wit::Port| PortDescription { name: port.name, codec: port.codec };
    let outputs = function.outputs.into_iter().map(port).collect();
    let (input, second_input) = (port(input), second_input.map(port));
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

/// Checks the description of a state. The error completes the sentence "function `name` ...".
fn check_state(state: wit::StateDescription) -> Result<StateDescription, String> {
    let name = state.name;
    let kind = match state.kind {
        wit::StateKind::Value => StateKind::Value,
        wit::StateKind::List => StateKind::List,
        wit::StateKind::Map => StateKind::Map,
        wit::StateKind::Reducing => StateKind::Reducing,
        wit::StateKind::Aggregating => StateKind::Aggregating,
        wit::StateKind::Broadcast => StateKind::Broadcast,
    };
    match kind {
        StateKind::Map | StateKind::Broadcast if state.map_key.is_empty() => {
            return Err(format!("does not describe the codec of the keys of the map `{name}`"));
        }
        StateKind::Map => {}
        StateKind::Broadcast if state.ttl.is_some() => {
            return Err(format!("declares a time to live for the broadcast state `{name}`, which cannot have one"));
        }
        StateKind::Broadcast => {}
        _ if !state.map_key.is_empty() => {
            return Err(format!("declares a map key for the state `{name}`, which is not a map"));
        }
        _ => {}
    }
    if state.previous.len() > DECLARATIONS_MAX {
        return Err(format!("declares more than {DECLARATIONS_MAX} older forms of the state `{name}`"));
    }
    let ttl = match state.ttl {
        Some(wit::TimeToLive { milliseconds: 0, .. }) => {
            return Err(format!("declares a time to live of zero for the state `{name}`"));
        }
        Some(ttl) => Some(TimeToLive {
            milliseconds: ttl.milliseconds,
            update: match ttl.update {
                wit::TtlUpdate::CreateAndWrite => TtlUpdate::CreateAndWrite,
                wit::TtlUpdate::ReadAndWrite => TtlUpdate::ReadAndWrite,
            },
            return_expired: ttl.return_expired,
        }),
        None => None,
    };
    let (map_key, previous) = (state.map_key, state.previous);
    Ok(StateDescription { map_key, ttl, previous, ..StateDescription::new(&name, kind, &state.codec, &state.schema) })
}

/// Checks that codecs and schemas are short and printable.
fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<()> {
    match texts.find(|text| text.len() > TEXT_BYTES_MAX || text.contains(char::is_control)) {
        None => Ok(()),
        Some(text) => {
            let shown: String = text.chars().take(40).collect();
            Err(error::component_description(format!(
                "the codec or schema {shown:?} must have at most {TEXT_BYTES_MAX} printable bytes"
            )))
        }
    }
}

/// Checks that names are short, unique and without dots or blanks, because a pipeline file refers to `operator.output`.
fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            let shown: String = name.chars().take(40).collect();
            return Err(error::component_description(format!(
                "the name of the {what} {shown:?} must consist of 1 to {NAME_BYTES_MAX} letters, digits, - and _"
            )));
        }
        if !seen.insert(name) {
            return Err(error::component_description(format!("the {what} `{name}` is described twice")));
        }
        if seen.len() > DECLARATIONS_MAX {
            return Err(error::component_description(format!(
                "it describes more than {DECLARATIONS_MAX} items of the kind {what}"
            )));
        }
    }
    Ok(())
}
