//! The text of a token, and what is stored of it: a hash, never the token.
//!
//! A token is `cofd_ID_SECRET`. The prefix lets secret scanners find it. The secret has 256 random bits, so that a fast hash is
//! enough: it cannot be guessed.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::namespace::NamespaceScope;
use super::role::{Caller, Role};
use crate::clock;
use crate::error::{Result, request_invalid};

const PREFIX: &str = "cofd_";
const ID_CHARS: usize = 8;
/// Digits of an id: base 32 without those that look alike.
const ID_DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const SECRET_BYTES: usize = 32;
/// Maximum length of a token's name, in characters. The OpenAPI description has it as well.
const NAME_CHARS_MAX: usize = 100;

/// What a new token may do.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Says what the token is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where it may do that.
    pub scope: NamespaceScope,
    /// When it ends, in milliseconds since the Unix epoch. `None` means never.
    pub expires_at_ms: Option<i64>,
}

/// A token as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredToken {
    pub id: String,
    pub name: String,
    /// SHA-256 of the secret, in hex.
    sha256: String,
    role: Role,
    pub namespace: NamespaceScope,
    created_at_ms: i64,
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
}

/// A token as it is shown. Its secret cannot be shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// Identifies the token. Not a secret.
    pub id: String,
    /// Says what the token is for.
    pub name: String,
    /// What the token may do.
    pub role: Role,
    /// The namespace that it may use, or `*` for all.
    pub namespace: String,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When it ends, in milliseconds since the Unix epoch, if it does.
    pub expires_at_ms: Option<i64>,
}

/// A token that was created, with its text, which is shown once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The text that clients send.
    pub token: String,
    /// Everything else about the token.
    #[serde(flatten)]
    pub view: TokenView,
}

impl StoredToken {
    /// Makes a token and its text. Errors: `request-invalid` for a name that is too long, `internal` without randomness.
    pub fn generate(new: NewToken, now_ms: i64) -> Result<(StoredToken, String)> {
        if new.name.chars().count() > NAME_CHARS_MAX || new.name.chars().any(char::is_control) {
            let message =
                format!("the name of a token has up to {NAME_CHARS_MAX} characters and no control characters");
            return Err(request_invalid(message));
        }
        let (mut id, mut secret) = ([0; ID_CHARS], [0; SECRET_BYTES]);
        clock::fill_secret(&mut id)?;
        clock::fill_secret(&mut secret)?;
        let digit = |byte: u8| ID_DIGITS.get(usize::from(byte & 31)).copied().map_or('a', char::from);
        let id: String = id.into_iter().map(digit).collect();
        let text = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let NewToken { name, role, scope: namespace, expires_at_ms } = new;
        let sha256 = hex::encode(Sha256::digest(secret));
        Ok((StoredToken { id, name, sha256, role, namespace, created_at_ms: now_ms, expires_at_ms }, text))
    }

    /// Returns whether the secret belongs to this token, in a time that does not depend on the secret.
    pub fn has_secret(&self, secret: &[u8; SECRET_BYTES]) -> bool {
        let mut stored = [0; 32];
        let is_readable = hex::decode_to_slice(&self.sha256, &mut stored).is_ok();
        is_readable & bool::from(stored.ct_eq(&Sha256::digest(secret)))
    }

    pub fn has_ended(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_some_and(|end| end <= now_ms)
    }

    pub fn caller(&self) -> Caller {
        let token = Some((self.id.clone(), self.name.clone()));
        Caller { token, role: self.role, scope: self.namespace.clone(), expires_at_ms: self.expires_at_ms }
    }

    pub fn view(&self) -> TokenView {
        TokenView {
            id: self.id.clone(),
            name: self.name.clone(),
            role: self.role,
            namespace: self.namespace.to_string(),
            created_at_ms: self.created_at_ms,
            expires_at_ms: self.expires_at_ms,
        }
    }
}

/// Divides the text of a token into its id and its secret. Returns `None` if it is no token.
pub(super) fn parse(text: &str) -> Option<(&str, [u8; SECRET_BYTES])> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let secret = BASE64_URL_SAFE_NO_PAD.decode(secret).ok()?;
    Some((id, secret.try_into().ok()?))
}
