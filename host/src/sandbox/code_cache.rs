//! Compiled code of components, one file for each, by the component's SHA-256.
//!
//! A file that is damaged, or that another version wrote, counts as missing. Compiled code is run as it is: whoever may write
//! to the folder may do what the process may.

use std::fs;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::{self, Error, Result};

const EXTENSION: &str = "cwasm";
/// In front of the code: these bytes, then the checksum of what follows.
const MAGIC: &[u8; 8] = b"cofcode1";
const HEADER_BYTES: usize = MAGIC.len() + 4;

/// See the module.
pub(super) struct CodeCache {
    dir: Option<PathBuf>,
}

impl CodeCache {
    /// A cache in a folder, which is made where it is missing; one that keeps nothing where there is none.
    pub(super) fn open(dir: Option<PathBuf>) -> Result<CodeCache> {
        if let Some(dir) = &dir {
            fs::create_dir_all(dir).map_err(|cause| failed(dir, &cause))?;
        }
        Ok(CodeCache { dir })
    }

    /// The code of a component, where it is there, whole, and of this engine.
    pub(super) fn load(&self, engine: &Engine, sha256: &str) -> Option<Component> {
        let bytes = fs::read(self.path(sha256)?).ok()?;
        let code = unframed(&bytes)?;
        load_code(engine, code).ok()
    }

    /// A new file for compiled code, beside those that are kept. It is gone when it is dropped.
    pub(super) fn new_file(&self) -> Result<tempfile::NamedTempFile> {
        let made = match &self.dir {
            Some(dir) => tempfile::NamedTempFile::new_in(dir),
            None => tempfile::NamedTempFile::new(),
        };
        made.map_err(|cause| failed(self.dir.as_deref().unwrap_or(Path::new("the temporary folder")), &cause))
    }

    /// Keeps what [`write_code`] wrote to a file of this cache, and loads it.
    pub(super) fn keep(
        &self,
        engine: &Engine,
        sha256: &str,
        file: tempfile::NamedTempFile,
    ) -> Result<wasmtime::Result<Component>> {
        let bytes = fs::read(file.path()).map_err(|cause| failed(file.path(), &cause))?;
        let code = unframed(&bytes)
            .ok_or_else(|| error::sandbox_unavailable("the compiled code was damaged before it was loaded"))?;
        let loaded = load_code(engine, code);
        if let (Some(path), Ok(_)) = (self.path(sha256), &loaded) {
            file.persist(&path).map_err(|failure| failed(&path, &failure.error))?;
        }
        Ok(loaded)
    }

    /// Removes everything that is not the code of one of these components.
    pub(super) fn retain(&self, known: &dyn Fn(&str) -> bool) {
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

    pub(super) fn remove(&self, sha256: &str) {
        if let Some(path) = self.path(sha256) {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, sha256: &str) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("{sha256}.{EXTENSION}")))
    }
}

/// Compiles a component to `path`. The one place where code is made, in whichever process.
pub(super) fn write_code(engine: &Engine, wasm: &[u8], path: &Path) -> Result<(), CompileFailure> {
    let code = engine.precompile_component(wasm).map_err(CompileFailure::Component)?;
    let mut framed = Vec::with_capacity(HEADER_BYTES + code.len());
    framed.extend_from_slice(MAGIC);
    framed.extend_from_slice(&crc32c::crc32c(&code).to_le_bytes());
    framed.extend_from_slice(&code);
    fs::write(path, framed).map_err(CompileFailure::File)
}

/// Why there is no code.
pub(super) enum CompileFailure {
    /// The component does not compile.
    Component(wasmtime::Error),
    File(std::io::Error),
}

fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (header, code) = bytes.split_at_checked(HEADER_BYTES)?;
    let (magic, checksum) = header.split_at_checked(MAGIC.len())?;
    (magic == MAGIC && checksum == crc32c::crc32c(code).to_le_bytes()).then_some(code)
}

fn load_code(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `write_code` wrote these bytes, and the checksum shows that they are still the same. The engine refuses
    // code of another version or of other settings. The folder is the server's own, see the module.
    unsafe { Component::deserialize(engine, code) }
}

fn failed(path: &Path, cause: &std::io::Error) -> Error {
    error::data_dir_failed(format!("compiled code in {}: {cause}", path.display()))
}
