//! What a component says of itself, checked: nothing that this version does not run gets past here.

use super::bindings::cofferdam::function::types::TimeDomain as WitDomain;
use super::bindings::exports::cofferdam::function::function as wit;
use crate::error::{self, Result};
use crate::model::TimeDomain;
use crate::state::{StateDescription, StateKind, StateLayout, TimeToLive, TtlUpdate};
use crate::turn::{sanitize_text, timer_states};

/// Functions, ports and states that one component may declare, each; and older forms that one state may have.
const DECLARATIONS_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 128;

/// Bytes of a schema's fingerprint, of a codec's name and of a map key's. They go into every checkpoint and every list of components.
const TEXT_BYTES_MAX: usize = 1024;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentDescription {
    pub sdk: String,
    pub functions: Vec<FunctionDescription>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionDescription {
    pub name: String,
    pub kind: FunctionKind,
    pub input: PortDescription,
    /// Of a function that has two: its kind tells what it is.
    pub second_input: Option<PortDescription>,
    /// The main output, then the side outputs.
    pub outputs: Vec<PortDescription>,
    /// Those of its keys.
    pub states: StateLayout,
    /// Those that belong to no key. They stand behind the others.
    pub broadcast_states: StateLayout,
    /// The clocks on which it registers timers.
    pub timers: Vec<TimeDomain>,
    /// The host's own states of its keys: timers, what windows hold.
    pub internal: StateLayout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    Process,
    KeyedProcess,
    /// Folds the records of a window.
    Aggregate,
    /// Sees all elements of a window at once.
    ProcessWindow,
    /// Two keyed inputs that share state.
    CoProcess,
    BroadcastProcess,
    /// As `ProcessWindow`, of two inputs.
    CoGroup,
    /// Sees pairs of records of two inputs.
    IntervalJoin,
}

impl FunctionKind {
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

    pub fn has_two_inputs(self) -> bool {
        use FunctionKind::*;
        matches!(self, CoProcess | BroadcastProcess | CoGroup | IntervalJoin)
    }

    /// Whether its operator decides by event time which records come too late, and has an output for them.
    pub fn has_late_records(self) -> bool {
        use FunctionKind::*;
        matches!(self, Aggregate | ProcessWindow | CoGroup | IntervalJoin)
    }

    /// Whether a function of this kind may register timers.
    fn may_have_timers(self) -> bool {
        matches!(self, FunctionKind::KeyedProcess | FunctionKind::CoProcess | FunctionKind::BroadcastProcess)
    }

    /// The interface beside `function` that the host calls it through, where there is one.
    pub(super) fn interface(self) -> Option<&'static str> {
        match self {
            FunctionKind::Aggregate => Some("aggregate"),
            FunctionKind::ProcessWindow | FunctionKind::CoGroup => Some("window"),
            FunctionKind::IntervalJoin => Some("join"),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDescription {
    pub name: String,
    pub codec: String,
}

impl FunctionDescription {
    /// All states: first those that it declares, in the order in which calls name them.
    pub fn all_states(&self) -> StateLayout {
        self.states.iter().chain(&self.broadcast_states).chain(&self.internal).cloned().collect()
    }

    /// What a backend keeps.
    pub fn keyed_states(&self) -> StateLayout {
        self.states.iter().chain(&self.internal).cloned().collect()
    }
}

impl ComponentDescription {
    /// A function and its index, by name.
    pub fn function(&self, name: &str) -> Option<(u32, &FunctionDescription)> {
        let index = self.functions.iter().position(|function| function.name == name)?;
        Some((index as u32, &self.functions[index]))
    }
}

pub(super) fn check(description: wit::ComponentDescription) -> Result<ComponentDescription> {
    if description.functions.is_empty() {
        return Err(error::component_description("it describes no function"));
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
        return Err(described(format!("declares state, and a function of kind {} has none", kind.as_str())));
    }
    if !kind.may_have_timers() && !function.timers.is_empty() {
        return Err(described(format!("declares timers, and a function of kind {} has none", kind.as_str())));
    }
    let is_aggregate = matches!(&function.states[..], [state] if state.kind == wit::StateKind::Aggregating);
    if kind == FunctionKind::Aggregate && !is_aggregate {
        return Err(described("is an aggregate: its one state, of kind aggregating, is the accumulator".into()));
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
        return Err(described(format!("names a side output `{}`, which its operator has already", port.name)));
    }
    let mut states = Vec::with_capacity(function.states.len());
    for state in function.states {
        states.push(check_state(state).map_err(described)?);
    }
    let keyed = states.iter().take_while(|state| state.kind != StateKind::Broadcast).count();
    let broadcast_states = states.split_off(keyed);
    if let Some(state) = broadcast_states.iter().find(|state| state.kind != StateKind::Broadcast) {
        return Err(described(format!("names the state `{}` behind a broadcast state", state.name)));
    }
    if let (Some(state), false) = (broadcast_states.first(), kind == FunctionKind::BroadcastProcess) {
        let name = &state.name;
        return Err(described(format!("has the broadcast state `{name}`, but no broadcast input to write it")));
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

/// The input of a function, and the second one where its kind has two. The error is what the function did.
fn inputs(ports: Vec<wit::Port>, kind: FunctionKind) -> Result<(wit::Port, Option<wit::Port>), String> {
    let count = ports.len();
    let mut ports = ports.into_iter();
    match (ports.next(), ports.next(), kind.has_two_inputs()) {
        (Some(input), None, false) => Ok((input, None)),
        (Some(input), Some(second), true) if count == 2 => Ok((input, Some(second))),
        (.., two) => {
            let needed = if two { "two" } else { "one" };
            Err(format!("has {count} inputs, and a function of kind {} has {needed}", kind.as_str()))
        }
    }
}

/// What a state says of itself. The error is what the function did.
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
            return Err(format!("does not say how the keys of the map `{name}` are written"));
        }
        StateKind::Map => {}
        StateKind::Broadcast if state.ttl.is_some() => {
            return Err(format!("declares a time to live for the broadcast state `{name}`, which has none"));
        }
        StateKind::Broadcast => {}
        _ if !state.map_key.is_empty() => {
            return Err(format!("declares a map key for the state `{name}`, which is no map"));
        }
        _ => {}
    }
    if state.previous.len() > DECLARATIONS_MAX {
        return Err(format!("declares more than {DECLARATIONS_MAX} older forms of the state `{name}`"));
    }
    let ttl = match state.ttl {
        Some(wit::TimeToLive { milliseconds: 0, .. }) => {
            return Err(format!("declares a time to live of nothing for the state `{name}`"));
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

/// Codecs and schemas are short and printable.
fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<()> {
    match texts.find(|text| text.len() > TEXT_BYTES_MAX || text.contains(char::is_control)) {
        None => Ok(()),
        Some(text) => {
            let shown: String = text.chars().take(40).collect();
            Err(error::component_description(format!(
                "the codec or schema {shown:?}: one has up to {TEXT_BYTES_MAX} printable bytes"
            )))
        }
    }
}

/// Names are short, printable, without dots and blanks (a manifest writes `operator.output`), and each is there once.
fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            let shown: String = name.chars().take(40).collect();
            return Err(error::component_description(format!(
                "{what} {shown:?}: a name has 1 to {NAME_BYTES_MAX} letters, digits, - and _"
            )));
        }
        if !seen.insert(name) {
            return Err(error::component_description(format!("the {what} `{name}` is described twice")));
        }
        if seen.len() > DECLARATIONS_MAX {
            return Err(error::component_description(format!("more than {DECLARATIONS_MAX} of {what}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn every_keyed_kind_of_state_is_taken_as_it_is_described() {
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
            (check_one(kind, 1, vec![]), "has 1 inputs, and a function of kind broadcast-process has two"),
            (check_one(kind, 3, vec![]), "has 3 inputs"),
            (check_one(keyed, 2, vec![]), "has 2 inputs, and a function of kind keyed-process has one"),
            (check_one(keyed, 1, vec![rules()]), "no broadcast input to write it"),
            (check_one(kind, 2, vec![rules(), value()]), "names the state `v` behind a broadcast state"),
            (check_one(kind, 2, vec![without_key]), "how the keys of the map `r`"),
            (check_one(kind, 2, vec![with_ttl]), "a time to live for the broadcast state `r`"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.code, "component-description");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn a_state_that_makes_no_sense_is_refused() {
        let (value, map) = (wit::StateKind::Value, wit::StateKind::Map);
        let many = vec!["old".to_owned(); DECLARATIONS_MAX + 1];
        for (defect, part) in [
            (wit::StateDescription { map_key: String::new(), ..state("s", map) }, "how the keys of the map `s`"),
            (wit::StateDescription { map_key: "ordered:u64".into(), ..state("s", value) }, "which is no map"),
            (wit::StateDescription { map_key: "x".repeat(1100), ..state("s", map) }, "printable bytes"),
            (wit::StateDescription { ttl: ttl(0), ..state("s", value) }, "a time to live of nothing"),
            (wit::StateDescription { previous: many, ..state("s", value) }, "more than 256 older forms"),
            (wit::StateDescription { previous: vec!["\u{1b}".into()], ..state("s", value) }, "printable bytes"),
        ] {
            let error = check_states(vec![defect]).unwrap_err();
            assert_eq!(error.code, "component-description");
            assert!(error.message.contains(part), "{}", error.message);
        }
    }
}
