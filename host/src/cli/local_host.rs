//! A host in this process, for the commands that need no server: `run` and `check`.
//!
//! Must not know what its host is used for.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::pipeline_file::copy_component;
use crate::access::{AccessPolicy, SecretStore};
use crate::error::{Result, data_dir_failed, internal};
use crate::job::{Host, HostOptions};
use crate::sandbox::{CodeCacheFolder, CompileMode};
use crate::stdio;

/// How a host in this process is opened.
pub struct LocalHostOptions {
    /// The data folder. By default a temporary one.
    pub data_dir: Option<PathBuf>,
    /// The secrets that pipelines may use. Their values are replaced in what the process writes to stderr.
    pub secrets: SecretStore,
    pub compile_in: CompileMode,
    /// Where compiled code is kept. `None` means in the data folder.
    pub code_cache: Option<CodeCacheFolder>,
}

/// A host in this process.
pub struct LocalHost {
    pub host: Host,
    pub runtime: Runtime,
    /// The data folder, if none was given. It is removed in the end.
    _temporary: TempDir,
}

impl LocalHost {
    /// Opens a host whose pipelines may do what its user may.
    pub fn open(options: LocalHostOptions) -> Result<LocalHost> {
        let temporary = tempfile::tempdir()
            .map_err(|error| data_dir_failed(format!("cannot create a temporary folder: {error}")))?;
        let runtime = Runtime::new().map_err(|error| internal(format!("cannot start the async runtime: {error}")))?;
        let LocalHostOptions { data_dir, secrets, compile_in, code_cache } = options;
        let policy = AccessPolicy::default().with_secrets(secrets.clone());
        stdio::redact_stderr(move |text| secrets.redact(text).into_owned());
        let data_dir = data_dir.unwrap_or_else(|| temporary.path().to_path_buf());
        let options = HostOptions::new(data_dir, runtime.handle().clone());
        let host = Host::open(HostOptions { compile_in, code_cache, policy, ..options })?;
        Ok(LocalHost { host, runtime, _temporary: temporary })
    }

    /// Adds the component in a file, and returns its digest. `stopped` is polled while it is compiled.
    pub fn push(&self, path: &Path, stopped: &dyn Fn() -> bool) -> Result<String> {
        let mut upload = self.host.new_upload()?;
        let digest = copy_component(path, upload.as_file_mut())?;
        let component = self.host.add_component(upload, digest, None, stopped);
        Ok(component.map_err(|error| error.context(path.display()))?.sha256)
    }
}
