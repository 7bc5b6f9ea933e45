//! The tokens as a running server sees them.
//!
//! Invariant: a revoked token is refused from the next request on. A file of tokens that is gone or damaged lets nobody in.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::role::Caller;
use super::token::{self, StoredToken};
use super::token_file::TokenFile;
use crate::clock::SharedClock;
use crate::error::{Error, Result, token_invalid, token_missing};

/// The tokens of a server.
pub struct TokenStore {
    file: TokenFile,
    clock: SharedClock,
    loaded: Mutex<LoadedTokens>,
}

/// The content of the file when it was last read.
#[derive(Default)]
struct LoadedTokens {
    /// Whether the file has existed. From then on tokens are required.
    are_required: bool,
    version: Option<FileVersion>,
    tokens: Arc<Vec<StoredToken>>,
}

/// Changes whenever the file is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    changed_s: i64,
    changed_ns: i64,
    bytes: u64,
}

impl TokenStore {
    /// Opens the tokens in this file, which need not exist.
    pub fn open(file: TokenFile, clock: SharedClock) -> Arc<TokenStore> {
        Arc::new(TokenStore { file, clock, loaded: Mutex::default() })
    }

    /// Returns the file, to change the tokens.
    pub fn file(&self) -> &TokenFile {
        &self.file
    }

    /// Returns whether requests need a token.
    pub fn are_required(&self) -> bool {
        let mut loaded = self.loaded.lock();
        self.refresh(&mut loaded);
        loaded.are_required
    }

    /// Returns the caller with this token, or without one if none is required. Errors: `token-missing`, `token-invalid`.
    pub fn authenticate(&self, text: Option<&str>) -> Result<Caller> {
        let tokens = {
            let mut loaded = self.loaded.lock();
            self.refresh(&mut loaded);
            if !loaded.are_required {
                return Ok(Caller::without_token());
            }
            loaded.tokens.clone()
        };
        let Some(text) = text else {
            return Err(token_missing("this server requires a token")
                .hint("name a token with --token-file FILE or COFFERDAM_TOKEN; `cofferdam token create` makes one. A request needs the \
                     header `authorization: Bearer TOKEN`"));
        };
        let now_ms = self.clock.wall_ms();
        let found = token::parse(text).and_then(|(id, secret)| {
            tokens.iter().find(|token| token.id == id && token.has_secret(&secret) && !token.has_ended(now_ms))
        });
        found.map(StoredToken::caller).ok_or_else(invalid)
    }

    /// Returns whether a caller that was authenticated before may still go on.
    pub fn is_valid(&self, caller: &Caller) -> bool {
        let mut loaded = self.loaded.lock();
        self.refresh(&mut loaded);
        let now_ms = self.clock.wall_ms();
        let is_stored = |id: &str| loaded.tokens.iter().any(|token| token.id == id && !token.has_ended(now_ms));
        !loaded.are_required || caller.token.as_ref().is_some_and(|(id, _)| is_stored(id))
    }

    fn refresh(&self, loaded: &mut LoadedTokens) {
        let version = match fs::metadata(self.file.path()) {
            Ok(file) => Some(FileVersion {
                inode: file.ino(),
                changed_s: file.mtime(),
                changed_ns: file.mtime_nsec(),
                bytes: file.size(),
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    loaded.are_required = true;
                }
                None
            }
        };
        if version == loaded.version {
            return;
        }
        loaded.version = version;
        loaded.are_required |= version.is_some();
        let tokens = self.file.read().unwrap_or_else(|error| {
            tracing::error!("all tokens are refused until their file can be read: {error}");
            Vec::new()
        });
        loaded.tokens = Arc::new(tokens);
    }
}

fn invalid() -> Error {
    token_invalid("the token is unknown, revoked or expired").hint("ask the operator of the server for another one")
}
