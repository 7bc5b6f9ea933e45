//! The API's view of components, their functions and their states.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::row::RowSchema;
use crate::sandbox::PortDescription;
use crate::state::{StateDescription, StateLayout, TimeToLive};

/// An uploaded component.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ComponentView {
    /// SHA-256 of the component's bytes in hex. It identifies the component.
    pub sha256: String,
    /// Names of the component, each of the form `name@version`.
    pub names: Vec<String>,
    /// Number of older names that are not shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names_hidden: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub uploaded_at_ms: i64,
    /// The SDK that built the component.
    pub sdk: String,
    /// The functions that the component exports.
    pub functions: Vec<FunctionView>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Number of names of a component that are shown.
const NAMES_SHOWN: usize = 100;

impl ComponentView {
    /// Returns the view with the newest names only, if there are many.
    pub fn with_newest_names(&self) -> ComponentView {
        let hidden = self.names.len().saturating_sub(NAMES_SHOWN);
        let names = self.names.get(hidden..).unwrap_or_default().to_vec();
        let names_hidden = hidden as u64;
        let ComponentView { sha256, bytes, uploaded_at_ms, sdk, functions, .. } = self;
        let (sha256, sdk, functions) = (sha256.clone(), sdk.clone(), functions.clone());
        ComponentView { sha256, names, names_hidden, bytes: *bytes, uploaded_at_ms: *uploaded_at_ms, sdk, functions }
    }
}

/// A function that a component exports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FunctionView {
    /// The name by which a pipeline file refers to it.
    pub name: String,
    /// `process` or `keyed-process`.
    pub kind: String,
    /// Codec of the records that it receives.
    pub input_codec: String,
    /// Codec of the broadcast input, if the function has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broadcast_codec: Option<String>,
    /// The inputs: two for functions that read two. Empty in descriptions of earlier versions.
    #[serde(default)]
    pub inputs: Vec<PortView>,
    /// The main output, then the side outputs.
    pub outputs: Vec<PortView>,
    /// The states that it declares.
    pub states: Vec<StateView>,
}

/// An input or output of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PortView {
    /// The name of the input or output.
    pub name: String,
    /// Codec of the records.
    pub codec: String,
    /// The fields of rows, such as `{tailnum:string,dep_delay:i32?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The type of the keys of an input, or of the keys that the function chooses for an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
}

impl PortView {
    /// Describes an input or output.
    pub fn new(port: &PortDescription) -> PortView {
        PortView {
            name: port.name.clone(),
            codec: port.codec.clone(),
            schema: port.schema.as_ref().map(ToString::to_string),
            key_type: Some(port.key_type.clone()).filter(|key_type| !key_type.is_empty()),
        }
    }
}

/// A state that a function declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    /// The state's name.
    pub name: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating` or `broadcast`.
    pub kind: String,
    /// Codec of the stored values.
    pub codec: String,
    /// Schema of the stored values.
    pub schema: String,
    /// Codec of the sub-keys of a map; empty for other kinds.
    #[serde(default)]
    pub map_key: String,
    /// Time to live of the entries, if set.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub ttl: Option<TimeToLive>,
}

impl StateView {
    /// Describes a declared state.
    pub fn new(state: &StateDescription) -> StateView {
        StateView {
            name: state.name.clone(),
            kind: state.kind.as_str().into(),
            codec: state.codec.clone(),
            schema: state.schema.clone(),
            map_key: state.map_key.clone(),
            ttl: state.ttl,
        }
    }
}

impl FunctionView {
    /// Returns the rows that each input reads, or `None` if a schema cannot be read.
    pub fn input_rows(&self) -> Option<Vec<Option<Arc<RowSchema>>>> {
        let rows = |port: &PortView| port.schema.as_ref().map(|text| text.parse().map(Arc::new)).transpose().ok();
        self.inputs.iter().map(rows).collect()
    }

    /// Returns the layout of the function's states, or `None` if this version does not know the kind of one of them.
    pub fn layout(&self) -> Option<StateLayout> {
        let describe = |state: &StateView| {
            let kind = serde_json::from_value(state.kind.clone().into()).ok()?;
            let described = StateDescription::new(&state.name, kind, &state.codec, &state.schema);
            Some(StateDescription { map_key: state.map_key.clone(), ttl: state.ttl, ..described })
        };
        self.states.iter().map(describe).collect()
    }
}
