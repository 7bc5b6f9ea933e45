//! The namespaces of a server: a [`Host`] for each, which share the sandbox, the processors and the limits of the machine.
//!
//! Components, jobs, state, checkpoints, secrets and logs of HTTP requests of a namespace are in folders of its own, so that nothing
//! of another one can be found by a name or an id. The namespace `default` uses the data folder itself; the others are in
//! `namespaces/NAME` in it, and in `namespaces/NAME` of the storage of checkpoints.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::RwLock;

use super::environment::NAMESPACES_FOLDER;
use super::host::{Host, HostOptions};
use super::monitoring;
use super::quotas::QuotaList;
use crate::auth::{DEFAULT_NAMESPACE, check_namespace_name};
use crate::error::{Result, data_dir_failed};

/// Longest time that a stopping server waits for its last traces.
const TRACES_TIME: Duration = Duration::from_secs(2);

/// The namespaces of a server.
pub struct Namespaces {
    default: Host,
    folder: PathBuf,
    quotas: QuotaList,
    /// All others.
    others: RwLock<BTreeMap<String, Host>>,
}

impl Namespaces {
    /// Opens all namespaces of a data folder. Starts no job. Errors: those of [`Host::open`].
    pub fn open(options: HostOptions, quotas: QuotaList) -> Result<Namespaces> {
        let folder = options.data_dir.join(NAMESPACES_FOLDER);
        let default = Host::open_with_all_code(HostOptions { quotas: quotas.of(DEFAULT_NAMESPACE), ..options })?;
        let namespaces = Namespaces { default, folder, quotas, others: RwLock::default() };
        for name in namespaces.stored()? {
            namespaces.create(&name)?;
        }
        namespaces.default.forget_unknown_code(&namespaces.all());
        Ok(namespaces)
    }

    /// Returns the namespace of requests that name none.
    pub fn default_host(&self) -> &Host {
        &self.default
    }

    /// Returns a namespace that is open. Does not block.
    pub fn get(&self, name: &str) -> Option<Host> {
        match name {
            DEFAULT_NAMESPACE => Some(self.default.clone()),
            other => self.others.read().get(other).cloned(),
        }
    }

    /// Opens a namespace, and creates it if it does not exist. Errors: `request-invalid` for the name, and those of the folder.
    pub fn create(&self, name: &str) -> Result<Host> {
        check_namespace_name(name)?;
        if let Some(host) = self.get(name) {
            return Ok(host);
        }
        let mut others = self.others.write();
        if let Some(host) = others.get(name) {
            return Ok(host.clone());
        }
        let host = self.default.open_namespace(name, &self.folder.join(name), self.quotas.of(name))?;
        others.insert(name.to_owned(), host.clone());
        Ok(host)
    }

    /// Returns the hosts of all namespaces, the default one first.
    pub fn all(&self) -> Vec<Host> {
        std::iter::once(self.default.clone()).chain(self.others.read().values().cloned()).collect()
    }

    /// Starts the jobs of all namespaces that had not ended. Returns their number.
    pub fn resume_jobs(&self) -> usize {
        self.all().iter().map(Host::resume_jobs).sum()
    }

    /// Adds a sample to the series of all jobs. Call it each second.
    pub fn sample_series(&self) {
        let jobs = self.all().iter().flat_map(Host::handles).collect();
        monitoring::sample_series(jobs, &**self.default.clock());
    }

    /// Ends the jobs' threads of all namespaces and waits for them, and for a moment for their last traces.
    pub fn shutdown(&self) {
        let all = self.all();
        // Those of all namespaces end at the same time.
        all.iter().for_each(Host::begin_shutdown);
        all.iter().for_each(Host::finish_shutdown);
        self.default.tracer().finish(TRACES_TIME);
    }

    /// Notes that the process has a listener for records.
    pub fn set_has_ingest_listener(&self) {
        self.all().iter().for_each(Host::set_has_ingest_listener);
    }

    /// Returns the names of the namespaces in the data folder.
    fn stored(&self) -> Result<Vec<String>> {
        let failed = |error: io::Error| data_dir_failed(format!("{}: {error}", self.folder.display()));
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().filter(|name| check_namespace_name(name).is_ok()).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }
}
