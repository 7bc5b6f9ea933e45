//! The component store: uploaded components by their SHA-256, with their names.
//!
//! A component has two files: `<sha256>.wasm` and `<sha256>.json`, its description. It exists once the second file
//! exists. Remains of interrupted uploads are removed when the store is opened.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::json_file::{create_dir, list_dir, read_json, write_json};
use super::loaded_components::LoadedComponents;
use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::job::quotas::{Quotas, check_quota};
use crate::job::view::{ComponentView, FunctionView, PortView, StateView};
use crate::sandbox::{Component, FunctionDescription, Sandbox};

/// Length limit of a component's name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The components of a host, on disk and in memory.
pub struct ComponentStore {
    dir: PathBuf,
    uploads: PathBuf,
    sandbox: Arc<Sandbox>,
    clock: SharedClock,
    quotas: Quotas,
    /// Descriptions of all components, by SHA-256.
    known: Mutex<BTreeMap<String, ComponentView>>,
    loaded: Mutex<LoadedComponents>,
}

impl ComponentStore {
    /// Opens the store in the data folder and removes the remains of interrupted uploads.
    pub fn open(data_dir: &Path, sandbox: Arc<Sandbox>, clock: SharedClock, quotas: Quotas) -> Result<ComponentStore> {
        let (dir, uploads) = (data_dir.join("components"), data_dir.join("uploads"));
        create_dir(&dir)?;
        create_dir(&uploads)?;
        for left in list_dir(&uploads)? {
            let _ = fs::remove_file(left);
        }
        let mut known = BTreeMap::new();
        for path in list_dir(&dir)? {
            if path.extension().is_some_and(|extension| extension == "json") {
                match read_json::<ComponentView>(&path) {
                    Ok(view) => drop(known.insert(view.sha256.clone(), view)),
                    Err(error) => tracing::error!("skipping a component that cannot be read: {error}"),
                }
            } else if let Ok(false) = fs::exists(path.with_extension("json")) {
                let _ = fs::remove_file(path);
            }
        }
        let (known, loaded) = (Mutex::new(known), Mutex::default());
        Ok(ComponentStore { dir, uploads, sandbox, clock, quotas, known, loaded })
    }

    /// Creates a file for an upload. The file is deleted when it is dropped.
    pub fn new_upload(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.uploads)
            .map_err(|cause| error::data_dir_failed(format!("{}: {cause}", self.uploads.display())))
    }

    /// Checks and stores an uploaded component. A component that exists only gets the name. On error nothing is stored.
    ///
    /// `stopped` is polled while the component is compiled. Errors: `compile-stopped`, `component-name-taken`, and the
    /// other `component-` errors.
    pub fn add(
        &self,
        file: NamedTempFile,
        sha256: [u8; 32],
        name: Option<&str>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<ComponentView> {
        let name = name.map(check_name).transpose()?;
        let sha256 = hex::encode(sha256);
        let added = self.add_checked(file, &sha256, name, stopped);
        if added.is_err() && !self.known.lock().contains_key(&sha256) {
            self.sandbox.forget_code_of(&sha256);
        }
        added
    }

    fn add_checked(
        &self,
        file: NamedTempFile,
        sha256: &str,
        name: Option<String>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<ComponentView> {
        let failed = |cause: std::io::Error| error::data_dir_failed(format!("component {sha256}: {cause}"));
        let bytes = fs::read(file.path()).map_err(failed)?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(error::component_truncated(
                "the stored upload does not have the SHA-256 that was computed while it was received",
            ));
        }
        // Checked before the component is compiled, and again afterwards because another upload may have taken the
        // name.
        self.check_addable(&self.known.lock(), sha256, name.as_deref(), bytes.len() as u64)?;
        // Jobs that submit the same component share its code.
        let loaded = self.loaded.lock().get(sha256);
        let component = match loaded {
            Some(component) => component,
            None => self.sandbox.load_unless(&bytes, stopped)?,
        };
        let mut known = self.known.lock();
        self.check_addable(&known, sha256, name.as_deref(), bytes.len() as u64)?;
        let mut view = match known.get(sha256) {
            Some(view) => view.clone(),
            None => {
                fail_point!("component.sync", error::data_dir_failed);
                file.as_file().sync_all().map_err(failed)?;
                fail_point!("component.rename", error::data_dir_failed);
                file.persist(self.path(sha256, "wasm")).map_err(|failure| failed(failure.error))?;
                fail_point!("component.describe", error::data_dir_failed);
                self.describe(sha256, bytes.len() as u64, &component)
            }
        };
        view.names.extend(name.filter(|name| !view.names.contains(name)));
        if let Err(error) = write_json(&self.path(sha256, "json"), &view) {
            if !known.contains_key(sha256) {
                let _ = fs::remove_file(self.path(sha256, "wasm"));
            }
            return Err(error);
        }
        known.insert(sha256.to_owned(), view.clone());
        self.loaded.lock().insert(sha256, component, view.bytes);
        Ok(view)
    }

    /// Returns the sandbox, which all namespaces share.
    pub fn sandbox(&self) -> Arc<Sandbox> {
        self.sandbox.clone()
    }

    /// Returns whether there is a component with this SHA-256.
    pub fn has(&self, sha256: &str) -> bool {
        self.known.lock().contains_key(sha256)
    }

    /// Returns the number of components and their bytes.
    pub fn used(&self) -> (u64, u64) {
        let known = self.known.lock();
        (known.len() as u64, known.values().map(|view| view.bytes).sum())
    }

    /// Ends compilations in progress and refuses further ones.
    pub fn stop_compiling(&self) {
        self.sandbox.stop_compiling();
    }

    /// Checks that a component of `bytes` bytes can be added with a name. Errors: `component-name-taken`, `quota-exceeded`.
    fn check_addable(
        &self,
        known: &BTreeMap<String, ComponentView>,
        sha256: &str,
        name: Option<&str>,
        bytes: u64,
    ) -> Result<()> {
        check_name_free(known, sha256, name)?;
        if known.contains_key(sha256) {
            return Ok(());
        }
        let used = known.values().map(|view| view.bytes).sum();
        check_quota(self.quotas.components, known.len() as u64, 1, "components")?;
        check_quota(self.quotas.component_bytes, used, bytes, "bytes of components")
    }

    fn path(&self, sha256: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.{extension}"))
    }

    fn describe(&self, sha256: &str, bytes: u64, component: &Component) -> ComponentView {
        let description = component.description();
        ComponentView {
            sha256: sha256.to_owned(),
            names: Vec::new(),
            names_hidden: 0,
            bytes,
            uploaded_at_ms: self.clock.wall_ms(),
            sdk: description.sdk.clone(),
            functions: description.functions.iter().map(function_view).collect(),
        }
    }

    /// Returns all components.
    pub fn list(&self) -> Vec<ComponentView> {
        self.known.lock().values().cloned().collect()
    }

    /// Returns up to `limit` components with digests behind `after`, in order of their digests. Of many names, the newest are shown.
    pub fn page(&self, after: Option<&str>, limit: usize) -> Vec<ComponentView> {
        let known = self.known.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        known.range::<str, _>((from, Bound::Unbounded)).take(limit).map(|(_, view)| view.with_newest_names()).collect()
    }

    /// Finds a component by `sha256:...`, by `name@version`, or by a name that has one version only. Error:
    /// `component-not-found`.
    pub fn find(&self, reference: &str) -> Result<ComponentView> {
        let known = self.known.lock();
        let not_found = || {
            error::component_not_found(format!("there is no component `{reference}`"))
                .hint("upload it: cofferdam component push FILE --name NAME@VERSION; to use a file, write a path that ends in .wasm")
        };
        if let Some(sha256) = reference.strip_prefix("sha256:") {
            return known.get(sha256).cloned().ok_or_else(not_found);
        }
        if let Some(view) =
            known.get(reference).or_else(|| known.values().find(|view| view.names.iter().any(|name| name == reference)))
        {
            return Ok(view.clone());
        }
        let version_of = |name: &String| name.split_once('@').is_some_and(|(name, _)| name == reference);
        let versions: Vec<&ComponentView> = known.values().filter(|view| view.names.iter().any(version_of)).collect();
        match versions[..] {
            [one] => Ok(one.clone()),
            [] => Err(not_found()),
            _ => Err(error::component_not_found(format!(
                "`{reference}` has {} versions: choose one with `{reference}@VERSION`",
                versions.len()
            ))),
        }
    }

    /// Returns the compiled component. Errors: `component-not-found`, or another `component-` error if the stored bytes
    /// are damaged; `compile-stopped` if it has to be compiled and `stopped` returns true.
    pub fn load(&self, sha256: &str, stopped: &dyn Fn() -> bool) -> Result<Component> {
        if let Some(component) = self.loaded.lock().get(sha256) {
            return Ok(component);
        }
        let path = self.path(sha256, "wasm");
        let bytes = fs::read(&path)
            .map_err(|cause| error::component_not_found(format!("component sha256:{sha256}: {cause}")))?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(error::component_invalid(format!("the stored bytes of component sha256:{sha256} are damaged")));
        }
        let component = self.sandbox.load_unless(&bytes, stopped)?;
        self.loaded.lock().insert(sha256, component.clone(), bytes.len() as u64);
        Ok(component)
    }

    /// Removes a component. The caller ensures that no job uses it.
    pub fn remove(&self, sha256: &str) -> Result<()> {
        let mut known = self.known.lock();
        let failed = |cause: std::io::Error| error::data_dir_failed(format!("component {sha256}: {cause}"));
        // The description goes first: without it the component does not exist.
        fail_point!("component.remove", error::data_dir_failed);
        fs::remove_file(self.path(sha256, "json")).map_err(failed)?;
        known.remove(sha256);
        self.loaded.lock().remove(sha256);
        self.sandbox.forget_code_of(sha256);
        fail_point!("component.remove-code", error::data_dir_failed);
        fs::remove_file(self.path(sha256, "wasm")).map_err(failed)
    }
}

/// Checks that no other component has the name. Error: `component-name-taken`.
fn check_name_free(known: &BTreeMap<String, ComponentView>, sha256: &str, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match known.values().find(|view| view.sha256 != sha256 && view.names.iter().any(|other| other == name)) {
        Some(other) => {
            Err(error::component_name_taken(format!("`{name}` is the name of component sha256:{}", other.sha256))
                .hint("a version never changes: push the component as a new version"))
        }
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<String> {
    // Dots only between other characters, so that no part is a path like `..`.
    let plain = |part: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        part.split('.').all(|word| !word.is_empty() && word.chars().all(is_word))
    };
    match name.split_once('@') {
        Some((base, version)) if plain(base) && plain(version) && name.len() <= NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(error::component_name(format!("{name:?} is not a valid component name"))
            .hint("use NAME@VERSION, such as delay-tracker@1")),
    }
}

fn function_view(function: &FunctionDescription) -> FunctionView {
    FunctionView {
        name: function.name.clone(),
        kind: function.kind.as_str().into(),
        input_codec: function.input.codec.clone(),
        inputs: std::iter::once(&function.input).chain(&function.second_input).map(PortView::new).collect(),
        outputs: function.outputs.iter().map(PortView::new).collect(),
        broadcast_codec: function.second_input.as_ref().map(|port| port.codec.clone()),
        states: function.all_states().iter().map(StateView::new).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_words_with_dots_between_them() {
        for name in ["delay-tracker@1", "a@1.2.0", "a.b_c@2026-01"] {
            assert_eq!(check_name(name).unwrap(), name);
        }
        let long = format!("{}@1", "a".repeat(NAME_BYTES_MAX));
        for name in
            ["..@..", ".@1", "a@.", "a..b@1", "a@1.", ".a@1", "a", "a@", "@1", "a@b@c", "a/b@1", "\u{202e}a@1", &long]
        {
            assert_eq!(check_name(name).unwrap_err().code, "component-name", "{name}");
        }
    }
}
