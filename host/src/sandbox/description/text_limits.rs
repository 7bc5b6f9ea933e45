//! Limits on the number and the size of names and other texts of a description. They are part of every checkpoint and every
//! list of components.

use crate::error::{self, Result};
use crate::escape;
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;

/// Maximum number of functions, ports and states of one component, and of older forms of one state.
pub(super) const DECLARATIONS_MAX: usize = 256;

/// Maximum length of a name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// Maximum length of a schema's fingerprint and of the name of a codec or map key, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Maximum size of all names, schemas and other texts of a description together, in bytes.
pub(super) const TOTAL_BYTES_MAX: usize = 2 << 20;

/// Counted for each declaration in addition to its texts.
const DECLARATION_BYTES: usize = 32;

/// Checks the size of a whole description before any of its parts are looked at.
pub(super) fn check_total(description: &wit::ComponentDescription) -> Result<()> {
    let functions = description.functions.iter().map(bytes_of_function);
    let bytes = functions.fold(description.sdk.len(), usize::saturating_add);
    if bytes > TOTAL_BYTES_MAX {
        return Err(error::component_description(format!(
            "its description has {bytes} bytes, more than {TOTAL_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn bytes_of_function(function: &wit::FunctionDescription) -> usize {
    let form = |form: &wit::FormResult| DECLARATION_BYTES + form.codec.len() + form.schema.len();
    let field = |field: &wit::Field| {
        let texts = [&field.name, &field.field_type].into_iter().chain(&field.aliases).chain(&field.default_value);
        DECLARATION_BYTES + texts.map(|text| text.len() + DECLARATION_BYTES).sum::<usize>()
    };
    let port = |port: &wit::Port| {
        let texts = port.name.len() + port.codec.len() + port.key_type.len();
        DECLARATION_BYTES + texts + port.schema.iter().map(field).sum::<usize>()
    };
    let state = |state: &wit::StateDescription| {
        let older = state.reads.iter().map(|reads| &reads.form).chain(&state.writes);
        state.name.len() + state.map_key.len() + std::iter::once(&state.form).chain(older).map(form).sum::<usize>()
    };
    let ports = function.inputs.iter().chain(&function.outputs).map(port).sum::<usize>();
    DECLARATION_BYTES + function.name.len() + ports + function.states.iter().map(state).sum::<usize>()
}

/// Checks that codecs and schemas are short and printable, without characters that hide or reorder others.
pub(super) fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<()> {
    match texts.find(|text| text.len() > TEXT_BYTES_MAX || text.contains(escape::is_unsafe)) {
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
pub(super) fn check_names<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
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
