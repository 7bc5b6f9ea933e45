//! The component store: uploaded bytes under their SHA-256, with the names they were given.
//!
//! A component is two files: `<sha256>.wasm`, and `<sha256>.json` with what it describes. It exists once the second is
//! there; what an interrupted upload leaves is removed when the store is opened.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::record;
use super::view::{ComponentView, FunctionView, PortView, StateView};
use crate::clock::SharedClock;
use crate::error::{self, Result};
use crate::sandbox::{Component, FunctionDescription, PortDescription, Sandbox};

const NAME_BYTES_MAX: usize = 128;

pub(super) struct ComponentStore {
    dir: PathBuf,
    uploads: PathBuf,
    sandbox: Arc<Sandbox>,
    clock: SharedClock,
    known: Mutex<BTreeMap<String, ComponentView>>,
    loaded: Mutex<HashMap<String, Component>>,
}

impl ComponentStore {
    pub(super) fn open(data_dir: &Path, sandbox: Arc<Sandbox>, clock: SharedClock) -> Result<ComponentStore> {
        let (dir, uploads) = (data_dir.join("components"), data_dir.join("uploads"));
        record::create_dir(&dir)?;
        record::create_dir(&uploads)?;
        for left in record::list_dir(&uploads)? {
            let _ = fs::remove_file(left);
        }
        let mut known = BTreeMap::new();
        for path in record::list_dir(&dir)? {
            if path.extension().is_some_and(|extension| extension == "json") {
                match record::read_json::<ComponentView>(&path) {
                    Ok(view) => drop(known.insert(view.sha256.clone(), view)),
                    Err(error) => tracing::error!("a component is passed over, since it cannot be read: {error}"),
                }
            } else if let Ok(false) = fs::exists(path.with_extension("json")) {
                let _ = fs::remove_file(path);
            }
        }
        sandbox.keep_code_of(&|sha256| known.contains_key(sha256));
        let (known, loaded) = (Mutex::new(known), Mutex::default());
        Ok(ComponentStore { dir, uploads, sandbox, clock, known, loaded })
    }

    /// A file for an upload, gone when it is dropped.
    pub(super) fn new_upload(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(&self.uploads)
            .map_err(|cause| error::data_dir_failed(format!("{}: {cause}", self.uploads.display())))
    }

    /// Checks and keeps an uploaded component, and gives it a name where one is given. One that is there already only
    /// gets the name. On error nothing stays.
    pub(super) fn add(
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
                "the uploaded bytes do not have the SHA-256 that was computed on the way",
            ));
        }
        // Looked at before anything is compiled, and again below, since another upload may come in between.
        check_free(&self.known.lock(), sha256, name.as_deref())?;
        let component = self.sandbox.load_unless(&bytes, stopped)?;
        let mut known = self.known.lock();
        check_free(&known, sha256, name.as_deref())?;
        let mut view = match known.get(sha256) {
            Some(view) => view.clone(),
            None => {
                file.as_file().sync_all().map_err(failed)?;
                file.persist(self.path(sha256, "wasm")).map_err(|failure| failed(failure.error))?;
                self.describe(sha256, bytes.len() as u64, &component)
            }
        };
        view.names.extend(name.filter(|name| !view.names.contains(name)));
        if let Err(error) = record::write_json(&self.path(sha256, "json"), &view) {
            if !known.contains_key(sha256) {
                let _ = fs::remove_file(self.path(sha256, "wasm"));
            }
            return Err(error);
        }
        known.insert(sha256.to_owned(), view.clone());
        self.loaded.lock().insert(sha256.to_owned(), component);
        Ok(view)
    }

    pub(super) fn stop_compiling(&self) {
        self.sandbox.stop_compiling();
    }

    fn path(&self, sha256: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{sha256}.{extension}"))
    }

    fn describe(&self, sha256: &str, bytes: u64, component: &Component) -> ComponentView {
        let description = component.description();
        ComponentView {
            sha256: sha256.to_owned(),
            names: Vec::new(),
            bytes,
            uploaded_at_ms: self.clock.wall_ms(),
            sdk: description.sdk.clone(),
            functions: description.functions.iter().map(function_view).collect(),
        }
    }

    pub(super) fn list(&self) -> Vec<ComponentView> {
        self.known.lock().values().cloned().collect()
    }

    /// By `sha256:...`, by `name@version`, or by a name alone where it has one version only.
    pub(super) fn find(&self, reference: &str) -> Result<ComponentView> {
        let known = self.known.lock();
        let not_found = || {
            error::component_not_found(format!("there is no component `{reference}`"))
                .hint("upload it: cofferdam component push FILE --name NAME@VERSION; a file is named by a path that ends in .wasm")
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
                "`{reference}` has {} versions: say which, as `{reference}@VERSION`",
                versions.len()
            ))),
        }
    }

    /// The component, compiled. Errors: `component-not-found`, or a `component-` error where the stored bytes are damaged.
    /// `compile-stopped` where it has to be compiled anew and `stopped` says so meanwhile.
    pub(super) fn load(&self, sha256: &str, stopped: &dyn Fn() -> bool) -> Result<Component> {
        if let Some(component) = self.loaded.lock().get(sha256) {
            return Ok(component.clone());
        }
        let path = self.path(sha256, "wasm");
        let bytes = fs::read(&path)
            .map_err(|cause| error::component_not_found(format!("component sha256:{sha256}: {cause}")))?;
        if hex::encode(Sha256::digest(&bytes)) != sha256 {
            return Err(error::component_invalid(format!("the stored bytes of component sha256:{sha256} are damaged")));
        }
        let component = self.sandbox.load_unless(&bytes, stopped)?;
        self.loaded.lock().insert(sha256.to_owned(), component.clone());
        Ok(component)
    }

    /// Removes a component; the caller has made sure that no job uses it.
    pub(super) fn remove(&self, sha256: &str) -> Result<()> {
        let mut known = self.known.lock();
        let failed = |cause: std::io::Error| error::data_dir_failed(format!("component {sha256}: {cause}"));
        // The description goes first: without it the component does not exist.
        fs::remove_file(self.path(sha256, "json")).map_err(failed)?;
        known.remove(sha256);
        self.loaded.lock().remove(sha256);
        self.sandbox.forget_code_of(sha256);
        fs::remove_file(self.path(sha256, "wasm")).map_err(failed)
    }
}

/// Refuses a name that another component has.
fn check_free(known: &BTreeMap<String, ComponentView>, sha256: &str, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match known.values().find(|view| view.sha256 != sha256 && view.names.iter().any(|other| other == name)) {
        Some(other) => Err(error::component_name_taken(format!("`{name}` is the component sha256:{}", other.sha256))
            .hint("a version never changes: push under the next one")),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<String> {
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match name.split_once('@') {
        Some((base, version)) if plain(base) && plain(version) && name.len() <= NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(error::component_name(format!("{name:?} is not a component's name"))
            .hint("NAME@VERSION, such as delay-tracker@1")),
    }
}

fn function_view(function: &FunctionDescription) -> FunctionView {
    let port = |port: &PortDescription| PortView { name: port.name.clone(), codec: port.codec.clone() };
    FunctionView {
        name: function.name.clone(),
        kind: function.kind.as_str().into(),
        input_codec: function.input.codec.clone(),
        outputs: function.outputs.iter().map(port).collect(),
        broadcast_codec: function.second_input.as_ref().map(|port| port.codec.clone()),
        states: function.all_states().iter().map(StateView::new).collect(),
    }
}
