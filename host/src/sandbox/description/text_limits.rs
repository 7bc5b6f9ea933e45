//! Limits on the number and the size of names and other texts of a description. They are part of every checkpoint and every
//! list of components.

use crate::error::{self, Result};

/// Maximum number of functions, ports and states of one component, and of older forms of one state.
pub(super) const DECLARATIONS_MAX: usize = 256;

/// Maximum length of a name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 128;

/// Maximum length of a schema's fingerprint and of the name of a codec or map key, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Checks that codecs and schemas are short and printable.
pub(super) fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<()> {
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
