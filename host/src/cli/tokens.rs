//! `cofferdam token` and `cofferdam audit`: who may use a server, and what they did.
//!
//! With --data-dir the commands change the file of tokens of a server on this machine. Otherwise they ask the server.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::access_arguments::TokenCommand;
use super::client::{ApiClient, segment};
use super::print;
use crate::auth::{AuditPage, CreatedToken, NamespaceScope, NewToken, Role, TokenFile, TokenView};
use crate::clock::SystemClock;
use crate::error::{Result, data_dir_failed};

/// A token as it is requested from a server.
#[derive(Serialize)]
struct TokenDraft<'a> {
    name: &'a str,
    role: Role,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<i64>,
}

/// Executes `cofferdam token ...`.
pub fn execute(
    client: &dyn Fn() -> Result<ApiClient>,
    command: &TokenCommand,
    namespace: Option<&str>,
    json: bool,
) -> Result<()> {
    let now_ms = SystemClock::shared().wall_ms();
    match command {
        TokenCommand::Create { role, name, expires_in, data_dir } => {
            let time = expires_in.map(|time| Duration::from(time).as_millis());
            let expires_at_ms = time.map(|ms| now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)));
            let created: CreatedToken = match data_dir {
                Some(data_dir) => {
                    let scope = namespace.map_or(Ok(NamespaceScope::All), str::parse)?;
                    let new = NewToken { name: name.clone(), role: *role, scope, expires_at_ms };
                    file_of(data_dir)?.create(new, now_ms)?
                }
                None => {
                    client()?.post_json("/v1/tokens", &TokenDraft { name, role: *role, namespace, expires_at_ms })?
                }
            };
            if json {
                return print::json(&created);
            }
            print::line(&created.token);
            Ok(())
        }
        TokenCommand::List { data_dir } => {
            let tokens = match data_dir {
                Some(data_dir) => file_of(data_dir)?.list(now_ms)?,
                None => client()?.list::<TokenView>("/v1/tokens")?,
            };
            if json {
                return print::json(&tokens);
            }
            print::tokens(&tokens);
            Ok(())
        }
        TokenCommand::Revoke { id, data_dir } => match data_dir {
            Some(data_dir) => file_of(data_dir)?.revoke(id, |_| true),
            None => client()?.delete(&format!("/v1/tokens/{}", segment(id))),
        },
    }
}

/// Returns the tokens of a server on this machine. Its folder must exist, so that a wrong path does not look like a success.
fn file_of(data_dir: &Path) -> Result<TokenFile> {
    match data_dir.is_dir() {
        true => Ok(TokenFile::of_data_dir(data_dir)),
        false => Err(data_dir_failed(format!("there is no folder {}", data_dir.display()))
            .hint("create it, or name the folder of `cofferdam serve --data-dir`")),
    }
}

/// Lists changes and refused requests.
pub fn audit(client: &ApiClient, limit: Option<usize>, before: Option<u64>, json: bool) -> Result<()> {
    let (limit, before) = (limit.map(|limit| limit.to_string()), before.map(|before| before.to_string()));
    let query: Vec<(&str, &str)> = [("limit", limit.as_deref()), ("before", before.as_deref())]
        .iter()
        .filter_map(|(key, value)| Some((*key, (*value)?)))
        .collect();
    let page: AuditPage = client.query("/v1/audit", &query)?;
    if json {
        return print::json(&page);
    }
    print::audit(&page);
    Ok(())
}
