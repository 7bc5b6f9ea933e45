//! Namespaces: their names, and which of them a token may use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::access::{self, NAMESPACE_BYTES_MAX};
use crate::error::{Error, Result, request_invalid};

/// The namespace of requests that name none.
pub const DEFAULT_NAMESPACE: &str = access::NAMESPACE;

/// The text that stands for all namespaces.
const ALL: &str = "*";

/// The namespaces that a token may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NamespaceScope {
    /// All namespaces, written as `*`.
    All,
    /// One namespace.
    One(String),
}

impl NamespaceScope {
    /// Returns whether the namespace may be used.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            NamespaceScope::All => true,
            NamespaceScope::One(one) => one == namespace,
        }
    }

    /// Returns whether everything in `other` may be used.
    pub fn covers(&self, other: &NamespaceScope) -> bool {
        *self == NamespaceScope::All || self == other
    }

    /// Returns the namespace of a request that names none.
    pub fn default_namespace(&self) -> &str {
        match self {
            NamespaceScope::All => DEFAULT_NAMESPACE,
            NamespaceScope::One(one) => one,
        }
    }
}

impl fmt::Display for NamespaceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamespaceScope::All => ALL,
            NamespaceScope::One(one) => one,
        })
    }
}

impl FromStr for NamespaceScope {
    type Err = Error;

    fn from_str(text: &str) -> Result<NamespaceScope> {
        if text == ALL {
            return Ok(NamespaceScope::All);
        }
        check_namespace_name(text)?;
        Ok(NamespaceScope::One(text.to_owned()))
    }
}

impl TryFrom<String> for NamespaceScope {
    type Error = Error;

    fn try_from(text: String) -> Result<NamespaceScope> {
        text.parse()
    }
}

impl From<NamespaceScope> for String {
    fn from(scope: NamespaceScope) -> String {
        scope.to_string()
    }
}

/// Checks the name of a namespace. Names are folders and parts of URLs. Error: `request-invalid`.
pub fn check_namespace_name(name: &str) -> Result<()> {
    match access::is_namespace_name(name) {
        true => Ok(()),
        false => Err(request_invalid(format!("`{name}` cannot name a namespace")).hint(format!(
            "use up to {NAMESPACE_BYTES_MAX} lower-case letters, digits and `-`, and begin with a letter; `{ALL}` stands for all"
        ))),
    }
}
