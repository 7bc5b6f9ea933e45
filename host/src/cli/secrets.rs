//! `cofferdam secret`: the secrets that pipelines of a server on this machine may use.
//!
//! Writes to the folder of secrets itself, and never prints a value. A running server reads the folder when it opens a connector.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::arguments::{SecretCommand, SecretFolderArgs};
use super::print;
use crate::access::SECRET_BYTES_MAX;
use crate::auth::check_namespace_name;
use crate::error::{Error, Result, request_invalid, secret_missing};
use crate::pipeline::is_secret_name;

impl SecretFolderArgs {
    /// Returns the folder of the secrets of a namespace of a server with this data folder.
    pub fn folder(&self, namespace: &str) -> PathBuf {
        self.secrets.clone().unwrap_or_else(|| self.data_dir.join("secrets")).join(namespace)
    }
}

/// Executes `cofferdam secret ...` for a namespace.
pub fn secret(command: &SecretCommand, namespace: &str, json: bool) -> Result<()> {
    check_namespace_name(namespace)?;
    match command {
        SecretCommand::Set { name, folder } => set(&folder.folder(namespace), checked(name)?, &read_value()?),
        SecretCommand::List { folder } => {
            let names = names(&folder.folder(namespace))?;
            if json {
                return print::json(&names);
            }
            names.iter().for_each(print::line);
            Ok(())
        }
        SecretCommand::Remove { name, folder } => {
            let path = folder.folder(namespace).join(checked(name)?);
            fs::remove_file(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => secret_missing(format!("there is no secret `{name}`")),
                _ => failed(&path, &error),
            })
        }
    }
}

fn checked(name: &str) -> Result<&str> {
    match is_secret_name(name) {
        true => Ok(name),
        false => Err(request_invalid(format!("`{name}` cannot name a secret"))
            .hint("use 1 to 64 letters, digits, `-`, `_` and `.`, and do not begin with `.`")),
    }
}

fn read_value() -> Result<String> {
    if io::stdin().is_terminal() {
        return Err(request_invalid("the value of a secret is read from stdin, which is a terminal")
            .hint("for instance: cofferdam secret set NAME < FILE"));
    }
    let mut value = String::new();
    let read = io::stdin().take(SECRET_BYTES_MAX + 1).read_to_string(&mut value);
    let bytes = read.map_err(|error| request_invalid(format!("stdin cannot be read: {error}")))? as u64;
    if value.trim_end_matches(['\r', '\n']).is_empty() || bytes > SECRET_BYTES_MAX {
        return Err(request_invalid(format!("a secret has 1 byte to {} KiB", SECRET_BYTES_MAX >> 10)));
    }
    Ok(value)
}

/// Replaces the file of a secret. A connector that opens meanwhile reads the old value or the new one.
fn set(folder: &Path, name: &str, value: &str) -> Result<()> {
    let at_folder = |error: io::Error| failed(folder, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at_folder)?;
    // No secret has a name that begins with a dot.
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.write_all(value.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, folder.join(name))).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        at_folder(error)
    })
}

/// Returns the names of the secrets in order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| failed(folder, &error))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut names: Vec<String> = entries.filter_map(name).filter(|name| is_secret_name(name)).collect();
    names.sort();
    Ok(names)
}

fn failed(path: &Path, error: &io::Error) -> Error {
    request_invalid(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::access::SecretStore;
    use crate::pipeline::SecretReference;

    #[test]
    fn a_stored_secret_can_be_read_by_its_user_only_and_be_replaced() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("secrets/default");
        assert!(names(&folder).unwrap().is_empty());
        for value in ["one\n", "two"] {
            set(&folder, "kafka-password", value).unwrap();
            let secrets = SecretStore::of_server(Some(folder.clone()));
            let read = secrets.read(&SecretReference::Stored("kafka-password".to_owned()), Path::new("")).unwrap();
            assert_eq!(read.expose(), value.trim_end());
        }
        assert_eq!(names(&folder).unwrap(), ["kafka-password"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("kafka-password"))), (0o700, 0o600));
        for name in ["", ".hidden", "a/b", "..", "a b"] {
            assert_eq!(checked(name).unwrap_err().code, "request-invalid", "{name}");
        }
    }
}
