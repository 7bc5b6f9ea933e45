//! The compiled code of components, one file per component, named by the component's SHA-256.
//!
//! A file that is damaged or written by another version counts as missing. Compiled code runs unchecked: write access to
//! the folder grants all rights of the process.

use std::fs;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::{self, Error, Result};

const EXTENSION: &str = "cwasm";
/// First bytes of a file. They are followed by the checksum of the code, then the code.
const MAGIC: &[u8; 8] = b"cofcode1";
const HEADER_BYTES: usize = MAGIC.len() + 4;

/// A folder of compiled code.
pub(in crate::sandbox) struct CodeCache {
    dir: Option<PathBuf>,
}

impl CodeCache {
    /// Opens a cache in a folder, and creates the folder if it is missing. Without a folder the cache keeps nothing.
    pub(in crate::sandbox) fn open(dir: Option<PathBuf>) -> Result<CodeCache> {
        if let Some(dir) = &dir {
            fs::create_dir_all(dir).map_err(|cause| failed(dir, &cause))?;
        }
        Ok(CodeCache { dir })
    }

    /// Loads the code of a component, if the file exists, is undamaged and fits this engine.
    pub(in crate::sandbox) fn load(&self, engine: &Engine, sha256: &str) -> Option<Component> {
        let bytes = fs::read(self.path(sha256)?).ok()?;
        let code = unframed(&bytes)?;
        load_code(engine, code).ok()
    }

    /// Creates a temporary file for compiled code, on the same file system as the cache.
    pub(in crate::sandbox) fn new_file(&self) -> Result<tempfile::NamedTempFile> {
        let made = match &self.dir {
            Some(dir) => tempfile::NamedTempFile::new_in(dir),
            None => tempfile::NamedTempFile::new(),
        };
        made.map_err(|cause| failed(self.dir.as_deref().unwrap_or(Path::new("the temporary folder")), &cause))
    }

    /// Moves a file that [`write_code`] wrote into the cache, and loads its code. Error: `component-limits` if the code does
    /// not fit into an instance.
    pub(in crate::sandbox) fn keep(
        &self,
        engine: &Engine,
        sha256: &str,
        file: tempfile::NamedTempFile,
    ) -> Result<Component> {
        let bytes = fs::read(file.path()).map_err(|cause| failed(file.path(), &cause))?;
        let code = unframed(&bytes)
            .ok_or_else(|| error::sandbox_unavailable("the compiled code was damaged before it was loaded"))?;
        let component = load_code(engine, code)
            .map_err(|cause| error::component_limits(format!("it does not fit into an instance: {cause:#}")))?;
        if let Some(path) = self.path(sha256) {
            file.persist(&path).map_err(|failure| failed(&path, &failure.error))?;
        }
        Ok(component)
    }

    /// Removes every file but the code of the components for which `known` returns true.
    pub(in crate::sandbox) fn retain(&self, known: &dyn Fn(&str) -> bool) {
        let Some(dir) = &self.dir else { return };
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_code = path.extension().is_some_and(|extension| extension == EXTENSION);
            if is_code && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(known) {
                continue;
            }
            let _ = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
        }
    }

    /// Removes the code of one component.
    pub(in crate::sandbox) fn remove(&self, sha256: &str) {
        if let Some(path) = self.path(sha256) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, sha256: &str) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("{sha256}.{EXTENSION}")))
    }
}

/// Compiles a component to the file `path`. Both compile modes use it.
pub(in crate::sandbox) fn write_code(engine: &Engine, wasm: &[u8], path: &Path) -> Result<(), CompileFailure> {
    let code = engine.precompile_component(wasm).map_err(CompileFailure::Component)?;
    let mut framed = Vec::with_capacity(HEADER_BYTES + code.len());
    framed.extend_from_slice(MAGIC);
    framed.extend_from_slice(&crc32c::crc32c(&code).to_le_bytes());
    framed.extend_from_slice(&code);
    fs::write(path, framed).map_err(CompileFailure::File)
}

/// The reason why a compilation failed.
pub(in crate::sandbox) enum CompileFailure {
    /// The component does not compile.
    Component(wasmtime::Error),
    /// The file cannot be written.
    File(std::io::Error),
}

fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (header, code) = bytes.split_at_checked(HEADER_BYTES)?;
    let (magic, checksum) = header.split_at_checked(MAGIC.len())?;
    (magic == MAGIC && checksum == crc32c::crc32c(code).to_le_bytes()).then_some(code)
}

fn load_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `write_code` wrote these bytes, and the checksum shows that they are unchanged. The engine rejects code of
    // another version or with other settings. Only the server may write to the folder, see the module.
    unsafe { Component::deserialize(engine, code) }
}

fn failed(path: &Path, cause: &std::io::Error) -> Error {
    error::data_dir_failed(format!("the cache of compiled code failed in {}: {cause}", path.display()))
}
