//! What a component says of itself, checked: nothing that this version does not run gets past here.

use super::bindings::exports::cofferdam::function::function as wit;
use crate::error::{self, Result};
use crate::state::{StateDescription, StateKind, StateLayout};
use crate::turn::cut;

/// Functions, ports and states that one component may declare, each.
const DECLARATIONS_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 128;

/// Bytes of a schema's fingerprint and of a codec's name. They go into every checkpoint and every list of components.
const TEXT_BYTES_MAX: usize = 256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub sdk: String,
    pub functions: Vec<Function>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub kind: FunctionKind,
    pub input: Port,
    /// The main output, then the side outputs.
    pub outputs: Vec<Port>,
    pub states: StateLayout,
}

/// The kinds that this version runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    Process,
    KeyedProcess,
}

impl FunctionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            FunctionKind::Process => "process",
            FunctionKind::KeyedProcess => "keyed-process",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub codec: String,
}

impl Description {
    /// A function and its index, by name.
    pub fn function(&self, name: &str) -> Option<(u32, &Function)> {
        let index = self.functions.iter().position(|function| function.name == name)?;
        Some((index as u32, &self.functions[index]))
    }
}

pub(super) fn check(description: wit::ComponentDescription) -> Result<Description> {
    if description.functions.is_empty() {
        return Err(error::component_description("it describes no function"));
    }
    check_names("function", description.functions.iter().map(|function| &function.name))?;
    let functions = description.functions.into_iter().map(check_function).collect::<Result<_>>()?;
    let mut sdk = cut(description.sdk);
    sdk.truncate(sdk.floor_char_boundary(NAME_BYTES_MAX));
    Ok(Description { sdk, functions })
}

fn check_function(function: wit::FunctionDescription) -> Result<Function> {
    let name = function.name;
    let unsupported = |what: &str| {
        error::component_unsupported(format!("function `{name}` {what}, which this version does not run"))
            .hint("this version runs the kinds process and keyed-process with value and list states, without timers or time to live")
    };
    let kind = match function.kind {
        wit::FunctionKind::Process => FunctionKind::Process,
        wit::FunctionKind::KeyedProcess => FunctionKind::KeyedProcess,
        wit::FunctionKind::Aggregate => return Err(unsupported("is an aggregate")),
        wit::FunctionKind::ProcessWindow => return Err(unsupported("processes windows")),
        wit::FunctionKind::CoProcess => return Err(unsupported("has two inputs")),
        wit::FunctionKind::BroadcastProcess => return Err(unsupported("has a broadcast input")),
    };
    if !function.timers.is_empty() {
        return Err(unsupported("declares timers"));
    }
    let described = |message: String| error::component_description(format!("function `{name}` {message}"));
    let [input] = <[wit::Port; 1]>::try_from(function.inputs)
        .map_err(|inputs| described(format!("has {} inputs, not one", inputs.len())))?;
    if function.outputs.is_empty() {
        return Err(described("describes no main output".into()));
    }
    if kind == FunctionKind::Process && !function.states.is_empty() {
        return Err(described("declares state, but only a keyed-process function has any".into()));
    }
    let ports = std::iter::once(&input).chain(&function.outputs);
    let texts = function.states.iter().flat_map(|state| [&state.codec, &state.schema]);
    check_texts(texts.chain(ports.map(|port| &port.codec)).chain([&input.name]))?;
    check_names("output", function.outputs.iter().map(|port| &port.name))?;
    check_names("state", function.states.iter().map(|state| &state.name))?;
    if let Some(port) = function.outputs.iter().skip(1).find(|port| port.name == "dead-letter") {
        return Err(described(format!("names a side output `{}`, which every operator has already", port.name)));
    }
    let mut states = StateLayout::new();
    for state in function.states {
        let kind = match state.kind {
            wit::StateKind::Value => StateKind::Value,
            wit::StateKind::List => StateKind::List,
            other => return Err(unsupported(&format!("declares the state `{}` of kind {other:?}", state.name))),
        };
        if state.ttl.is_some() {
            return Err(unsupported(&format!("declares a time to live for the state `{}`", state.name)));
        }
        states.push(StateDescription::new(&state.name, kind, &state.codec, &state.schema));
    }
    let port = |port: wit::Port| Port { name: port.name, codec: port.codec };
    Ok(Function { kind, input: port(input), outputs: function.outputs.into_iter().map(port).collect(), states, name })
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
