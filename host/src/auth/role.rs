//! The roles of tokens, and the caller of a request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::namespace::NamespaceScope;
use crate::error::{Error, Result, request_invalid};

/// What a token may do. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees jobs, components, checkpoints and savepoints, but no records and no state.
    Read,
    /// Sees everything of the namespace, submits and controls jobs, and uploads components.
    Submit,
    /// Manages the tokens of the namespace and reads the audit log.
    Admin,
}

impl Role {
    /// All roles, ascending.
    pub const ALL: [Role; 3] = [Role::Read, Role::Submit, Role::Admin];

    /// Returns the name of the role.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Submit => "submit",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| request_invalid(format!("there is no role `{text}`")).hint("use read, submit or admin"))
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Id and name of the token. `None` on a server without tokens.
    pub token: Option<(String, String)>,
    /// What the caller may do.
    pub role: Role,
    /// The namespaces that the caller may use.
    pub scope: NamespaceScope,
    /// When the token ends, in milliseconds since the Unix epoch, if it does.
    pub expires_at_ms: Option<i64>,
}

/// The caller of a request, as it is shown to itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallerView {
    /// Id of the token. `null` on a server without tokens.
    pub token: Option<String>,
    /// Name of the token.
    pub token_name: Option<String>,
    /// What the caller may do.
    pub role: Role,
    /// The namespace that the caller may use, or `*` for all.
    pub namespace: String,
    /// When the token ends, in milliseconds since the Unix epoch, if it does.
    pub expires_at_ms: Option<i64>,
}

impl Caller {
    /// Returns the caller of a server without tokens, who may do everything.
    pub fn without_token() -> Caller {
        Caller { token: None, role: Role::Admin, scope: NamespaceScope::All, expires_at_ms: None }
    }

    /// Returns what the caller is told about itself.
    pub fn view(&self) -> CallerView {
        let (token, token_name) = self.token.clone().unzip();
        let (role, namespace) = (self.role, self.scope.to_string());
        CallerView { token, token_name, role, namespace, expires_at_ms: self.expires_at_ms }
    }

    /// Returns whether the caller may see records and their keys.
    pub fn sees_records(&self) -> bool {
        self.role >= Role::Submit
    }
}
