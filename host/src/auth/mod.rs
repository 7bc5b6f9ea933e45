//! Who may use a server: tokens with roles and namespaces, and the log of what they did.
//!
//! | file | contents |
//! |---|---|
//! | `role` | the roles, and the [`Caller`] of a request |
//! | `namespace` | names of namespaces, and which of them a token may use |
//! | `token` | the text of a token, and what is stored of it |
//! | `token_file` | the tokens in the data folder: created, listed and revoked |
//! | `token_store` | the tokens as a running server sees them |
//! | `failed_attempts` | the limit of wrong tokens for each address |
//! | `audit_log` | changes and refusals as lines of JSON |
//!
//! Must not know HTTP, jobs or the command line.

mod audit_log;
mod failed_attempts;
mod namespace;
mod role;
mod token;
mod token_file;
mod token_store;

#[cfg(test)]
mod auth_tests;

pub use audit_log::{AuditEntry, AuditLog, AuditPage, StoredAuditEntry};
pub use failed_attempts::FailedAttempts;
pub use namespace::{DEFAULT_NAMESPACE, NamespaceScope, check_namespace_name};
pub use role::{Caller, CallerView, Role};
pub use token::{CreatedToken, NewToken, TokenView};
pub use token_file::TokenFile;
pub use token_store::TokenStore;
