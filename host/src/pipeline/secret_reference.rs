//! Settings whose value is a secret: the pipeline file names it and does not contain it.

use std::path::PathBuf;

use super::toml_reader::TomlItem;
use crate::error::Result;

/// Maximum length of the name of a secret, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Where the value of a secret is found when a connector is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretReference {
    /// `{ secret = "NAME" }`: a secret that the operator of the server has stored.
    Stored(String),
    /// `{ env = "NAME" }`: an environment variable of the process. Not on a server.
    Variable(String),
    /// `{ file = "PATH" }`: a file. Not on a server.
    File(PathBuf),
}

/// A text setting that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOrText {
    /// The text in the pipeline file.
    Text(String),
    /// A reference to a secret.
    Secret(SecretReference),
}

impl SecretOrText {
    /// Returns the reference, if the value is secret.
    pub fn reference(&self) -> Option<&SecretReference> {
        match self {
            SecretOrText::Text(_) => None,
            SecretOrText::Secret(reference) => Some(reference),
        }
    }
}

/// Returns whether a text can name a secret, and a file in the folder of secrets.
pub fn is_secret_name(name: &str) -> bool {
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && !name.starts_with('.') && name.chars().all(well_formed)
}

const HINT: &str =
    "a secret is { secret = \"NAME\" }; with `cofferdam run` also { env = \"VARIABLE\" } or { file = \"PATH\" }";

impl TomlItem<'_> {
    /// Returns a reference to a secret. Refuses a text: pipeline files are stored with the job and shown.
    pub fn secret(&self) -> Result<SecretReference> {
        if !self.is_table() {
            return Err(self.invalid("must not be in the pipeline file, which is stored and shown").hint(HINT));
        }
        let section = self.section()?;
        section.check_keys(&["secret", "env", "file"])?;
        let [(key, _, item)] = &section.entries()[..] else {
            return Err(self.invalid("must have one of the keys `secret`, `env` and `file`").hint(HINT));
        };
        let text = item.string()?;
        match *key {
            "secret" if is_secret_name(text) => Ok(SecretReference::Stored(text.to_owned())),
            "secret" => {
                let message =
                    format!("must be 1 to {NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`, and not begin with `.`");
                Err(item.invalid(message))
            }
            "env" if text.contains(['=', '\0']) => Err(item.invalid("is no environment variable")),
            "env" => Ok(SecretReference::Variable(text.to_owned())),
            _ if text.contains('\0') => Err(item.invalid("is no path")),
            _ => Ok(SecretReference::File(PathBuf::from(text))),
        }
    }

    /// Returns a text, or a reference to a secret.
    pub fn secret_or_text(&self) -> Result<SecretOrText> {
        match self.is_table() {
            true => self.secret().map(SecretOrText::Secret),
            false => Ok(SecretOrText::Text(self.string()?.to_owned())),
        }
    }
}
