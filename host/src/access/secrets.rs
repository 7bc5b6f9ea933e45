//! The secrets that pipelines may use, and their values.
//!
//! A secret of a server is a file that only its user can read. A value is read when a connector is opened. It is not stored,
//! and [`Secret`] has neither `Debug` nor `Display` nor `Serialize`. A client library may still put a value into a message, so
//! that [`SecretStore::redact`] replaces the values in texts that leave the process, in all forms of [`written_forms`].

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;

use super::written_forms::{WRITTEN_BYTES_MIN, written_forms};
use crate::error::{Error, Result, secret_denied, secret_missing};
use crate::pipeline::SecretReference;

/// Maximum size of a secret, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The folder of the secrets of all pipelines, until there are several namespaces.
pub const NAMESPACE: &str = "default";

/// What a value is replaced with.
const REDACTED: &str = "[secret]";

/// The value of a secret. It cannot be displayed, debugged or serialised.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Returns the value, for the client that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where the secrets of pipelines are, and the values that have been read. Cheap to clone.
#[derive(Clone, Default)]
pub struct SecretStore(Arc<SecretFolder>);

#[derive(Default)]
struct SecretFolder {
    /// The folder of the stored secrets.
    folder: Option<PathBuf>,
    /// Whether only stored secrets may be used.
    stored_only: bool,
    /// The lines of all values that have been read, in all their forms.
    values: Arc<RwLock<BTreeSet<Arc<str>>>>,
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretStore").field("folder", &self.0.folder).finish_non_exhaustive()
    }
}

impl SecretStore {
    /// Returns a store for the pipelines of a server. They may use the secrets in `folder` only: a variable or another file of the
    /// server could be sent to an address of the submitter's choice.
    pub fn of_server(folder: Option<PathBuf>) -> SecretStore {
        SecretStore(Arc::new(SecretFolder { folder, stored_only: true, values: Arc::default() }))
    }

    /// Returns a store for a pipeline of the user of the process. It may use the stored secrets, the environment and files.
    pub fn of_user(folder: Option<PathBuf>) -> SecretStore {
        SecretStore(Arc::new(SecretFolder { folder, stored_only: false, values: Arc::default() }))
    }

    /// Returns the store of another namespace, in the folder of this name beside the one of this store. Both replace the values of
    /// either in texts.
    pub fn sibling(&self, name: &str) -> SecretStore {
        let SecretFolder { folder, stored_only, values } = &*self.0;
        let folder = folder.as_ref().and_then(|folder| Some(folder.parent()?.join(name)));
        SecretStore(Arc::new(SecretFolder { folder, stored_only: *stored_only, values: values.clone() }))
    }

    /// Reads the value of a secret. Relative paths refer to `base_dir`. Errors: `secret-missing`, `secret-denied`.
    pub fn read(&self, reference: &SecretReference, base_dir: &Path) -> Result<Secret> {
        let SecretFolder { folder, stored_only, values } = &*self.0;
        let text = match reference {
            SecretReference::Stored(name) => stored(folder.as_deref(), name)?,
            SecretReference::Variable(_) | SecretReference::File(_) if *stored_only => {
                return Err(secret_denied(
                    "a pipeline on a server may not use environment variables and files as secrets",
                )
                .hint("store the value with `cofferdam secret set NAME`, and refer to it by { secret = \"NAME\" }"));
            }
            SecretReference::Variable(name) => std::env::var(name).map_err(|error| {
                secret_missing(format!("the environment variable `{name}` cannot be used: {error}"))
            })?,
            SecretReference::File(path) => {
                let path = base_dir.join(path);
                read_file(&path).map_err(|error| unreadable(&path.display().to_string(), &error))?
            }
        };
        let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if text.is_empty() {
            return Err(secret_missing(format!("the secret {} is empty", shown(reference))));
        }
        // Texts that leave the process escape line ends, so that each line is replaced by itself.
        let lines = text.lines().filter(|line| line.len() >= WRITTEN_BYTES_MIN && !line.starts_with("-----"));
        for line in lines {
            if !values.read().contains(line) {
                values.write().extend(written_forms(line).into_iter().map(Arc::from));
            }
        }
        Ok(Secret(text.into()))
    }

    /// Replaces the values of secrets in a text that leaves the process.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let values = self.0.values.read();
        let mut text = Cow::Borrowed(text);
        // The longest first, in case one contains another.
        let mut found: Vec<&str> = values.iter().map(|value| &**value).filter(|value| text.contains(value)).collect();
        found.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        for value in found {
            text = Cow::Owned(text.replace(value, REDACTED));
        }
        text
    }

    /// Replaces the values of secrets in an error.
    pub fn redact_error(&self, mut error: Error) -> Error {
        for text in error.hint.iter_mut().chain(&mut error.details).chain([&mut error.message]) {
            if let Cow::Owned(redacted) = self.redact(text) {
                *text = redacted;
            }
        }
        error
    }
}

/// Returns the name of a secret as the pipeline file writes it.
fn shown(reference: &SecretReference) -> String {
    match reference {
        SecretReference::Stored(name) => format!("`{name}`"),
        SecretReference::Variable(name) => format!("of the variable `{name}`"),
        SecretReference::File(path) => format!("in `{}`", path.display()),
    }
}

fn stored(folder: Option<&Path>, name: &str) -> Result<String> {
    const HINT: &str = "store it with `cofferdam secret set NAME`, which reads the value from stdin";
    let Some(folder) = folder else {
        return Err(
            secret_missing(format!("there is no secret `{name}`, because there is no folder of secrets")).hint(HINT)
        );
    };
    let path = folder.join(name);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => secret_missing(format!("there is no secret `{name}`")).hint(HINT),
        _ => unreadable(name, &error),
    };
    let mode = std::fs::metadata(&path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(secret_denied(format!(
            "the file of the secret `{name}` can be read by other users: its mode is {:o}",
            mode & 0o777
        ))
        .hint("remove the permissions of others: chmod 600 FILE; and consider the value as known"));
    }
    read_file(&path).map_err(failed)
}

/// Reads a small text file.
fn read_file(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = String::new();
    let bytes = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    match bytes as u64 > SECRET_BYTES_MAX {
        true => Err(io::Error::other(format!("it is larger than {} KiB", SECRET_BYTES_MAX >> 10))),
        false => Ok(text),
    }
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    secret_missing(format!("the secret `{name}` cannot be read: {error}"))
}
