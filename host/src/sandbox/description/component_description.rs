//! The checked description of a component.

use std::sync::Arc;

use crate::model::TimeDomain;
use crate::model::row::RowSchema;
use crate::state::StateLayout;

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
    pub(super) fn may_have_timers(self) -> bool {
        matches!(self, FunctionKind::KeyedProcess | FunctionKind::CoProcess | FunctionKind::BroadcastProcess)
    }

    /// Returns the interface that the host calls in addition to `guest`, if any.
    pub(in crate::sandbox) fn interface(self) -> Option<&'static str> {
        match self {
            FunctionKind::Aggregate => Some("aggregate"),
            FunctionKind::ProcessWindow | FunctionKind::CoGroup => Some("window"),
            FunctionKind::IntervalJoin => Some("join"),
            _ => None,
        }
    }
}

/// An input or output of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortDescription {
    /// The name, unique among the outputs of a function.
    pub name: String,
    /// The codec of its values: `row`, `json` or `raw`.
    pub codec: String,
    /// The fields of rows. `None` for other codecs.
    pub schema: Option<Arc<RowSchema>>,
    /// The type of the keys, such as `i64` or `(string, i64)`. Empty if the port has no keys.
    pub key_type: String,
}

impl PortDescription {
    /// Returns a port without fields and keys.
    pub fn new(name: &str, codec: &str) -> PortDescription {
        PortDescription { name: name.into(), codec: codec.into(), ..PortDescription::default() }
    }
}

impl FunctionDescription {
    /// Returns all states. The declared ones come first, in the order of their indices in calls.
    pub fn all_states(&self) -> StateLayout {
        self.states.iter().chain(&self.broadcast_states).chain(&self.internal).cloned().collect()
    }

    /// Returns the interfaces that the host calls in addition to `guest`, and why.
    pub(in crate::sandbox) fn interfaces(&self) -> Vec<(&'static str, String)> {
        let mut needed = Vec::new();
        if let Some(interface) = self.kind.interface() {
            needed.push((interface, format!("is of kind {}", self.kind.as_str())));
        }
        if !self.timers.is_empty() {
            needed.push(("timer-handler", "declares timers".to_owned()));
        }
        let mut states = self.states.iter().chain(&self.broadcast_states);
        if let Some(state) = states.find(|state| !state.reads.is_empty() || !state.writes.is_empty()) {
            needed.push(("migration", format!("declares older forms of the state `{}`", state.name)));
        }
        needed
    }

    /// Returns the rows that each input reads. `None` for an input that reads raw bytes or JSON.
    pub fn input_rows(&self) -> Vec<Option<Arc<RowSchema>>> {
        std::iter::once(&self.input).chain(&self.second_input).map(|port| port.schema.clone()).collect()
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
