//! The tokens in the data folder. The command line changes them while no server runs, or while one does.
//!
//! Invariant: the file is replaced as a whole, and only its user can read it. Once it exists, a server requires tokens, even if
//! all of them have been revoked.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::token::{CreatedToken, NewToken, StoredToken, TokenView};
use crate::error::{Error, Result, data_dir_failed, token_not_found};

/// Limit on the number of tokens.
const TOKENS_MAX: usize = 10_000;

/// The file with all tokens.
#[derive(Clone, Debug)]
pub struct TokenFile {
    folder: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct TokenFileContent {
    tokens: Vec<StoredToken>,
}

impl TokenFile {
    /// The tokens of the server with this data folder.
    pub fn of_data_dir(data_dir: &Path) -> TokenFile {
        TokenFile { folder: data_dir.join("auth") }
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("tokens.json")
    }

    /// Returns the tokens. There are none if the file does not exist.
    pub(super) fn read(&self) -> Result<Vec<StoredToken>> {
        let path = self.path();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            bytes => bytes.map_err(|error| failed(&path, &error))?,
        };
        let content = serde_json::from_slice::<TokenFileContent>(&bytes).map_err(|error| failed(&path, &error))?;
        Ok(content.tokens)
    }

    /// Creates a token. Errors: `request-invalid`, `data-dir-failed`.
    pub fn create(&self, new: NewToken, now_ms: i64) -> Result<CreatedToken> {
        let _lock = self.lock()?;
        let mut tokens = self.read()?;
        tokens.retain(|token| !token.has_ended(now_ms));
        if tokens.len() >= TOKENS_MAX {
            return Err(
                data_dir_failed(format!("there are {TOKENS_MAX} tokens")).hint("revoke those that are not used")
            );
        }
        let (stored, token) = StoredToken::generate(new, now_ms)?;
        let view = stored.view();
        tokens.push(stored);
        self.write(tokens)?;
        Ok(CreatedToken { token, view })
    }

    /// Returns all tokens that have not ended, oldest first.
    pub fn list(&self, now_ms: i64) -> Result<Vec<TokenView>> {
        Ok(self.read()?.iter().filter(|token| !token.has_ended(now_ms)).map(StoredToken::view).collect())
    }

    /// Revokes a token for which `may_revoke` returns true. Error: `token-not-found`.
    pub fn revoke(&self, id: &str, may_revoke: impl Fn(&TokenView) -> bool) -> Result<()> {
        let _lock = self.lock()?;
        let mut tokens = self.read()?;
        let Some(at) = tokens.iter().position(|token| token.id == id && may_revoke(&token.view())) else {
            return Err(token_not_found(format!("there is no token `{id}`"))
                .hint("`cofferdam token list` shows the ids of tokens"));
        };
        tokens.remove(at);
        self.write(tokens)
    }

    /// Creates the folder, and takes the lock of changes.
    fn lock(&self) -> Result<File> {
        let folder = &self.folder;
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(folder, &error))?;
        let path = folder.join("lock");
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        lock.map_err(|error| failed(&path, &error))
    }

    fn write(&self, tokens: Vec<StoredToken>) -> Result<()> {
        let path = self.path();
        let json = serde_json::to_vec_pretty(&TokenFileContent { tokens }).map_err(|error| failed(&path, &error))?;
        let write = || -> io::Result<()> {
            // Only the user can read a temporary file.
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            file.write_all(&json)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|failure| failure.error)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed(&path, &error))
    }
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Error {
    data_dir_failed(format!("{}: {why}", path.display()))
}
