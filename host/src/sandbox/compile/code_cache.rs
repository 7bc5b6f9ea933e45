//! The compiled code of components, one file per component and engine, named by the component's SHA-256.
//!
//! A file that is damaged or written by another version counts as missing. Compiled code runs unchecked: write access to
//! the folder grants all rights of the process. The folder of a user is therefore used only if it and its files belong to the
//! user and nobody else can write to them.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::clock::Clock;
use crate::error::{self, Error, Result};

const EXTENSION: &str = "cwasm";
/// First bytes of a file. They are followed by the checksum of the code, then the code.
const MAGIC: &[u8; 8] = b"cofcode1";
const HEADER_BYTES: usize = MAGIC.len() + 4;
/// Limit on the size of all files in the folder of a user, in bytes. The files that were used longest ago are removed first.
const USER_BYTES_MAX: u64 = 512 << 20;
/// Permission bits that let others write to a file.
const OTHERS_WRITE: u32 = 0o022;

/// Where compiled code is kept between runs of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CodeCacheFolder {
    /// Nowhere: every load compiles.
    #[default]
    None,
    /// In a folder of this process, which contains the code of the components in its store and nothing else.
    OfProcess(PathBuf),
    /// In a folder that all processes of a user share, limited in size. If it cannot be used safely, nothing is kept.
    OfUser(PathBuf),
}

/// A folder of compiled code.
pub(in crate::sandbox) struct CodeCache {
    folder: CodeCacheFolder,
}

impl CodeCache {
    /// Opens a cache in a folder, and creates the folder if it is missing.
    pub(in crate::sandbox) fn open(folder: CodeCacheFolder) -> Result<CodeCache> {
        let folder = match folder {
            CodeCacheFolder::OfProcess(dir) => {
                fs::create_dir_all(&dir).map_err(|cause| failed(&dir, &cause))?;
                CodeCacheFolder::OfProcess(dir)
            }
            CodeCacheFolder::OfUser(dir) => match prepare_user_folder(&dir) {
                Ok(()) => CodeCacheFolder::OfUser(dir),
                Err(why) => {
                    tracing::warn!("compiled code is not kept in {}: {why}", dir.display());
                    CodeCacheFolder::None
                }
            },
            CodeCacheFolder::None => CodeCacheFolder::None,
        };
        Ok(CodeCache { folder })
    }

    fn dir(&self) -> Option<&Path> {
        match &self.folder {
            CodeCacheFolder::None => None,
            CodeCacheFolder::OfProcess(dir) | CodeCacheFolder::OfUser(dir) => Some(dir),
        }
    }

    /// Loads the code of a component, if the file exists, is undamaged and fits this engine.
    pub(in crate::sandbox) fn load(&self, engine: &Engine, sha256: &str, clock: &dyn Clock) -> Option<Component> {
        let path = self.path(engine, sha256)?;
        let is_of_user = matches!(self.folder, CodeCacheFolder::OfUser(_));
        if is_of_user && !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && belongs_to_user(&found)) {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let component = load_code(engine, unframed(&bytes)?).ok()?;
        if is_of_user {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(clock.wall_ms()).unwrap_or(0));
            // If it fails, the file looks older than it is, and is removed earlier.
            let _ = File::open(&path).and_then(|file| file.set_modified(now));
        }
        Some(component)
    }

    /// Creates a temporary file for compiled code, on the same file system as the cache.
    pub(in crate::sandbox) fn new_file(&self) -> Result<tempfile::NamedTempFile> {
        let dir = self.dir();
        let made = match dir {
            Some(dir) => tempfile::NamedTempFile::new_in(dir),
            None => tempfile::NamedTempFile::new(),
        };
        made.map_err(|cause| failed(dir.unwrap_or(Path::new("the temporary folder")), &cause))
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
        if let Some(path) = self.path(engine, sha256) {
            fail_point!("code-cache.store", error::sandbox_unavailable);
            file.persist(&path).map_err(|failure| failed(&path, &failure.error))?;
            if let CodeCacheFolder::OfUser(dir) = &self.folder {
                remove_oldest(dir, USER_BYTES_MAX, &path);
            }
        }
        Ok(component)
    }

    /// Removes every file but the code of the components for which `known` returns true. Removes nothing from the folder of a
    /// user, since other processes use it.
    pub(in crate::sandbox) fn retain(&self, known: &dyn Fn(&str) -> bool) {
        let CodeCacheFolder::OfProcess(dir) = &self.folder else { return };
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

    /// Removes the code of one component, unless other processes use it.
    pub(in crate::sandbox) fn remove(&self, engine: &Engine, sha256: &str) {
        if let (CodeCacheFolder::OfProcess(_), Some(path)) = (&self.folder, self.path(engine, sha256)) {
            let _ = fs::remove_file(path);
        }
    }

    /// Returns the path of a component's code. In the folder of a user, the versions of this program and the settings of their
    /// engines have files of their own.
    fn path(&self, engine: &Engine, sha256: &str) -> Option<PathBuf> {
        let dir = self.dir()?;
        Some(match self.folder {
            CodeCacheFolder::OfUser(_) => dir.join(format!("{sha256}-{}.{EXTENSION}", engine_key(engine))),
            _ => dir.join(format!("{sha256}.{EXTENSION}")),
        })
    }
}

/// Returns a text that differs between engines whose compiled code differs.
fn engine_key(engine: &Engine) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Creates the folder of a user with access for the user only, or checks that nobody else can write to it.
fn prepare_user_folder(dir: &Path) -> Result<(), String> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|cause| format!("it cannot be created: {cause}"))?;
    let found = fs::symlink_metadata(dir).map_err(|cause| cause.to_string())?;
    if !found.is_dir() {
        return Err("it is no folder".into());
    }
    if !belongs_to_user(&found) {
        return Err("it belongs to another user, or other users can write to it".into());
    }
    tempfile::NamedTempFile::new_in(dir).map(drop).map_err(|cause| format!("it cannot be written: {cause}"))
}

/// Returns whether a file belongs to the user of this process and nobody else can write to it.
fn belongs_to_user(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & OTHERS_WRITE == 0
}

/// Removes the files that were used longest ago until all together have at most `bytes_max`. Never removes `newest`.
pub(super) fn remove_oldest(dir: &Path, bytes_max: u64, newest: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    let mut files: Vec<(SystemTime, u64, PathBuf)> = files
        .filter(|(_, found)| found.is_file())
        .map(|(path, found)| (found.modified().unwrap_or(SystemTime::UNIX_EPOCH), found.len(), path))
        .collect();
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files.iter().filter(|(_, _, path)| path != newest) {
        if bytes <= bytes_max {
            return;
        }
        if fs::remove_file(path).is_ok() {
            bytes -= length;
        }
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
    // another version or with other settings. Only the user of this process may write to the folder, see the module.
    unsafe { Component::deserialize(engine, code) }
}

fn failed(path: &Path, cause: &std::io::Error) -> Error {
    error::data_dir_failed(format!("the cache of compiled code failed in {}: {cause}", path.display()))
}
