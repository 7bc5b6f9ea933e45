//! Files in the checkpoint storage: stored durably, with a length and a checksum that reading checks.
//!
//! A storage is a folder of this machine, or a place in a bucket of an S3-compatible store. What is stored is there whole and
//! durably, or not at all. In a bucket an upload becomes visible when it is complete. In a folder each file is made in
//! this order, which `tests/tests/durable_order.rs` watches a server keep:
//!
//! 1. folders that are missing are made, and each folder that got an entry by that is synced;
//! 2. the bytes are written to `<name>#<number>`, which no listing shows, and the file is synced;
//! 3. it is renamed to its name;
//! 4. its folder is synced, so that a loss of power does not undo the rename.
//!
//! A file of this machine that never changes is not written again: it is synced, linked to its name, and the folder is synced.
//!
//! A checkpoint's metadata begins with step 1 when all its files are behind step 4. Removals are not synced: a loss of
//! power may bring back what nobody needs, and in another order than it went.
//!
//! Its methods block on the given runtime: call them on plain threads or in `spawn_blocking`, never in an async task.
//! Errors: `storage-failed` with the path where the storage fails; `checkpoint-corrupt` with the path where a file is
//! missing or is not what was written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Handle;

use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata};
use crate::clock::random_u64;
use crate::error::{self, Error, Result};
use crate::model::Interrupt;
use crate::state::{FileRef, FileStore};

/// The name of a metadata's file in the folder of its checkpoint.
pub const METADATA_FILE_NAME: &str = "manifest";

/// The name of the file beside a metadata which says that the sinks have published what the metadata promises.
pub(super) const PUBLISHED_NAME: &str = "published";

/// Files up to this size are stored in one piece, larger ones in pieces of this size.
const PIECE_BYTES: usize = 8 << 20;
/// A file that needs no copy is read for its checksum in pieces of this size.
const LINK_PIECE_BYTES: usize = 256 << 10;
/// Threads that check files at once.
const READERS_MAX: usize = 4;

/// How long a store that is called over the network may go on failing before that is an error.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// A store copies no larger file by itself (Amazon's limit).
const COPY_BYTES_MAX: u64 = 5 << 30;

/// The checkpoints of all jobs, and their savepoints. Cheap to clone.
#[derive(Clone)]
pub struct CheckpointStorage {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    root: StorageLocation,
    /// Ends the reading of files.
    interrupt: Interrupt,
    /// How many changes a test lets happen before the storage dies.
    #[cfg(test)]
    pub(super) changes_left: Arc<AtomicU64>,
}

impl CheckpointStorage {
    /// Opens the storage at `root`. A folder is created where it does not exist; a bucket has to be there, and is reached
    /// as the usual variables say (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, ...). Calls nobody over the network.
    pub fn open(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
        if let Some(folder) = root.folder() {
            create_durably(folder).map_err(|e| error::storage_failed(format!("{root}: {e}")))?;
        }
        CheckpointStorage::at(root, runtime)
    }

    /// Opens the storage at `root`, and creates nothing.
    pub(super) fn at(root: &StorageLocation, runtime: Handle) -> Result<CheckpointStorage> {
        let failed = |e: object_store::Error| error::storage_failed(format!("{root}: {e}"));
        let (store, root): (Arc<dyn ObjectStore>, _) = match root {
            StorageLocation::Folder(folder) => {
                let store = LocalFileSystem::new_with_prefix(folder).map_err(failed)?;
                // Removing empty folders keeps no trace of retired checkpoints.
                (Arc::new(store.with_fsync(true).with_automatic_cleanup(true)), root.clone().canonical())
            }
            StorageLocation::S3 { bucket, key } => {
                let retry = RetryConfig { retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
                let store = builder.build().map_err(failed)?;
                match key.is_empty() {
                    true => (Arc::new(store), root.clone()),
                    false => (Arc::new(PrefixStore::new(store, stored_path(key)?)), root.clone()),
                }
            }
        };
        Ok(CheckpointStorage::over(store, root, runtime))
    }

    /// Over a store that begins at `root`.
    pub(super) fn over(store: Arc<dyn ObjectStore>, root: StorageLocation, runtime: Handle) -> CheckpointStorage {
        CheckpointStorage {
            store,
            runtime,
            root,
            interrupt: Interrupt::default(),
            #[cfg(test)]
            changes_left: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// The same storage, whose reading of files ends with `interrupted` once the flag is set: after the piece being read.
    pub fn interruptible(self, interrupt: &Interrupt) -> CheckpointStorage {
        CheckpointStorage { interrupt: interrupt.clone(), ..self }
    }

    /// Where it is; a folder by the one path that it has when links are followed.
    pub fn root(&self) -> &StorageLocation {
        &self.root
    }

    /// Where the files of a checkpoint are stored and read; one object may serve all subtasks.
    pub fn files(&self, job: &str, checkpoint: u64, kind: CheckpointKind) -> Result<CheckpointFiles> {
        let prefix = match kind {
            CheckpointKind::Savepoint => format!("{}/", checkpoint_folder(job, checkpoint, kind)?),
            CheckpointKind::Checkpoint | CheckpointKind::Final => format!("{}{checkpoint}-", shared_folder(job)?),
        };
        let reusable = match kind {
            CheckpointKind::Savepoint => None,
            CheckpointKind::Checkpoint | CheckpointKind::Final => Some(shared_folder(job)?),
        };
        Ok(CheckpointFiles::new(self, prefix, reusable))
    }

    /// Makes a checkpoint complete: stores its metadata, last and at once. Returns the checkpoint's folder. After an error
    /// the checkpoint may be complete or not; its id must not be used again.
    pub fn write_metadata(&self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        let folder = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?;
        if metadata.kind == CheckpointKind::Savepoint {
            return self.write_savepoint(&folder, metadata);
        }
        self.put_bytes(&within(&folder, METADATA_FILE_NAME), metadata.encode()?.into())?;
        Ok(self.root.join(&folder))
    }

    /// Where a checkpoint or savepoint is, if it is in this storage.
    pub fn location(&self, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        Ok(self.root.join(&checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?))
    }

    /// The same for a savepoint in any folder.
    pub(super) fn write_savepoint(&self, folder: &str, metadata: &CheckpointMetadata) -> Result<StorageLocation> {
        let bytes = relative_to(folder, metadata)?.encode()?;
        self.put_bytes(&within(folder, METADATA_FILE_NAME), bytes.into())?;
        Ok(self.root.join(folder))
    }

    /// Records that the sinks have published what a complete checkpoint promises. In a folder this is not synced: a loss
    /// of power may undo it, and then the sinks' folders are looked at again.
    pub fn mark_published(&self, metadata: &CheckpointMetadata) -> Result<()> {
        let folder = checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind)?;
        let path = within(&folder, PUBLISHED_NAME);
        match self.root.join(&path).folder() {
            Some(local) => fs::write(local, "").map_err(|e| error::storage_failed(format!("{}: {e}", local.display()))),
            None => self.put_bytes(&path, Bytes::new()),
        }
    }

    /// Removes the promises from a metadata of `folder` if they are kept.
    pub(super) fn forget_published(&self, folder: &str, metadata: &mut CheckpointMetadata) -> Result<()> {
        let subtasks = || metadata.operators.iter().flat_map(|image| &image.subtasks);
        if subtasks().all(|subtask| subtask.committable.is_none()) || !self.exists(&within(folder, PUBLISHED_NAME))? {
            return Ok(());
        }
        let subtasks = metadata.operators.iter_mut().flat_map(|image| &mut image.subtasks);
        subtasks.for_each(|subtask| subtask.committable = None);
        Ok(())
    }

    /// Where the files of a savepoint in any folder are stored.
    pub(super) fn files_in(&self, folder: &str) -> CheckpointFiles {
        CheckpointFiles::new(self, format!("{folder}/"), None)
    }

    /// Reads the metadata in a folder, wherever that was moved. The paths in what it gives begin at this storage's root.
    pub(super) fn decode_metadata(&self, folder: &str) -> Result<CheckpointMetadata> {
        let path = within(folder, METADATA_FILE_NAME);
        let mut metadata = CheckpointMetadata::decode(&path, &self.get_bytes(&path)?)?;
        if metadata.kind == CheckpointKind::Savepoint {
            // Format 1 had the path below the root; a savepoint's files always were in its own folder.
            for file in metadata.files_mut() {
                file.path = within(folder, file.path.rsplit('/').next().unwrap_or_default());
            }
        }
        Ok(metadata)
    }

    /// Reads the metadata in a checkpoint's folder; one that belongs elsewhere is `checkpoint-corrupt`.
    pub(super) fn read_metadata(&self, folder: &str) -> Result<CheckpointMetadata> {
        let path = within(folder, METADATA_FILE_NAME);
        let metadata = self.decode_metadata(folder)?;
        match checkpoint_folder(&metadata.job_id, metadata.checkpoint_id, metadata.kind) {
            Ok(own) if own == folder => Ok(metadata),
            _ => Err(error::checkpoint_corrupt(format!(
                "{path}: it is the metadata of checkpoint {} of job {}",
                metadata.checkpoint_id, metadata.job_id
            ))),
        }
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(super) fn put_bytes(&self, path: &str, bytes: Bytes) -> Result<()> {
        let location = stored_path(path)?;
        self.changing()?;
        self.block_on(self.store.put(&location, bytes.into())).map_err(|e| self.failed(path, &e))?;
        Ok(())
    }

    pub(super) fn get_bytes(&self, path: &str) -> Result<Bytes> {
        let location = stored_path(path)?;
        let read = async { self.store.get(&location).await?.bytes().await };
        self.block_on(read).map_err(|e| self.reading_failed(path, &e))
    }

    /// Stores a local file piece by piece; returns its length and checksum.
    fn put_pieces(&self, path: &str, local: &Path) -> Result<(u64, u32)> {
        let local_failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", local.display()));
        let mut file = File::open(local).map_err(local_failed)?;
        let mut next = || -> Result<Vec<u8>> {
            let mut piece = Vec::new();
            (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(local_failed)?;
            Ok(piece)
        };
        let mut piece = next()?;
        let (mut length, mut crc) = (piece.len() as u64, crc32c::crc32c(&piece));
        if piece.len() < PIECE_BYTES {
            self.put_bytes(path, piece.into())?;
            return Ok((length, crc));
        }
        let location = stored_path(path)?;
        self.changing()?;
        let upload = self.block_on(self.store.put_multipart(&location));
        let mut upload = upload.map_err(|e| self.failed(path, &e))?;
        let mut send = || -> Result<()> {
            while !piece.is_empty() {
                let part = upload.put_part(Bytes::from(std::mem::take(&mut piece)).into());
                self.block_on(part).map_err(|e| self.failed(path, &e))?;
                piece = next()?;
                length += piece.len() as u64;
                crc = crc32c::crc32c_append(crc, &piece);
            }
            self.block_on(upload.complete()).map_err(|e| self.failed(path, &e))?;
            Ok(())
        };
        if let Err(error) = send() {
            // Nobody knows the half-stored file; the error that broke it off is the one to tell.
            let _ = self.block_on(upload.abort());
            return Err(error);
        }
        Ok((length, crc))
    }

    /// Hands the bytes of a file on, piece by piece, and then checks its checksum; its length is checked first.
    pub(super) fn read(&self, file: &FileRef, mut take: impl FnMut(&Bytes) -> Result<()>) -> Result<()> {
        self.check_present(file)?;
        let location = stored_path(&file.path)?;
        let (mut at, mut crc) = (0, 0);
        while at < file.bytes {
            self.interrupt.check()?;
            // Pieces of our own size: what the local store streams are pieces of 8 KiB, each with a task of its own.
            let end = file.bytes.min(at + PIECE_BYTES as u64);
            let piece = self.block_on(self.store.get_range(&location, at..end));
            let piece = piece.map_err(|e| self.reading_failed(&file.path, &e))?;
            check_length(file, at + piece.len() as u64 + (file.bytes - end))?;
            crc = crc32c::crc32c_append(crc, &piece);
            take(&piece)?;
            at = end;
        }
        match crc == file.crc32c {
            true => Ok(()),
            false => {
                let message = format!("{}: its checksum does not match its bytes", file.path);
                Err(error::checkpoint_corrupt(message))
            }
        }
    }

    /// Reads files, and checks them as [`CheckpointStorage::read`] does: several at a time, since a checksum keeps a core busy.
    pub(super) fn read_all<'a>(&self, files: impl Iterator<Item = &'a FileRef>) -> Result<()> {
        let (files, next): (Vec<&FileRef>, _) = (files.collect(), AtomicUsize::new(0));
        let readers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(READERS_MAX));
        let read = || -> Result<()> {
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.read(file, |_| Ok(()))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..readers.min(files.len())).map(|_| scope.spawn(read)).collect();
            let panicked = |_| Err(error::internal("a file's reader panicked"));
            others.into_iter().fold(read(), |all, other| all.and(other.join().unwrap_or_else(panicked)))
        })
    }

    /// Stores a local file by giving it a second name, where that can be done. Its bytes are on the disk, and then its name.
    fn put_link(&self, path: &str, local: &Path) -> Result<Option<(u64, u32)>> {
        let failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", local.display()));
        let to = self.root.join(stored_path(path)?.as_ref());
        let Some((to, folder)) = to.folder().and_then(|to| Some((to, to.parent()?))) else { return Ok(None) };
        self.changing()?;
        let mut file = File::open(local).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        // The folder is missing, or another file system's: the store does both.
        if fs::hard_link(local, to).is_err() {
            return Ok(None);
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let (mut piece, mut length, mut crc) = (vec![0; LINK_PIECE_BYTES], 0, 0);
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => return Ok(Some((length, crc))),
                read => {
                    let read = piece.get(..read).unwrap_or_default();
                    length += read.len() as u64;
                    crc = crc32c::crc32c_append(crc, read);
                }
            }
        }
    }

    /// Checks that a file is there and has its length.
    pub(super) fn check_present(&self, file: &FileRef) -> Result<()> {
        let location = stored_path(&file.path)?;
        let meta = self.block_on(self.store.head(&location)).map_err(|e| self.reading_failed(&file.path, &e))?;
        check_length(file, meta.size)
    }

    pub(super) fn exists(&self, path: &str) -> Result<bool> {
        match self.block_on(self.store.head(&stored_path(path)?)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed(path, &e)),
        }
    }

    /// Asks the store something, so that one that cannot be reached, or a folder that cannot be synced, is told at once.
    /// Errors: `storage-failed`.
    pub fn check(&self) -> Result<()> {
        self.folders(SAVEPOINTS)?;
        let Some(folder) = self.root.folder() else { return Ok(()) };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| {
            error::storage_failed(format!("the folder {} cannot be synced: {e}", self.root))
                .hint("a checkpoint is made durable: choose a folder on a file system that can sync folders (fsync)")
        })
    }

    /// All files below a folder, with their lengths.
    pub(super) fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let prefix = stored_path(folder)?;
        let listed = self.store.list(Some(&prefix)).map_ok(|meta| (meta.location.to_string(), meta.size));
        self.block_on(listed.try_collect()).map_err(|e| self.failed(folder, &e))
    }

    /// The names of the folders in a folder, empty ones too.
    pub(super) fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = stored_path(folder)?;
        let listed =
            self.block_on(self.store.list_with_delimiter(Some(&prefix))).map_err(|e| self.failed(folder, &e))?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename()).map(str::to_owned).collect())
    }

    /// Makes the storage keep a second file with the bytes of one; no byte passes through this process. In a folder both
    /// names mean the same bytes on the disk, until the one or the other is removed.
    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (stored_path(from)?, stored_path(to)?);
        self.changing()?;
        self.block_on(self.store.copy(&source, &target)).map_err(|e| self.reading_failed(from, &e))
    }

    /// Removes a file; one that is gone already is no error.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        self.changing()?;
        match self.block_on(self.store.delete(&stored_path(path)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed(path, &e)),
        }
    }

    /// Called before each change of what is stored. Between any two of them a process may be killed; tests do so.
    fn changing(&self) -> Result<()> {
        #[cfg(test)]
        if self.changes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(error::storage_failed("killed here"));
        }
        Ok(())
    }

    fn failed(&self, path: &str, error: &object_store::Error) -> Error {
        error::storage_failed(format!("{}: {error}", self.root.join(path)))
    }

    fn reading_failed(&self, path: &str, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => error::checkpoint_corrupt(format!("{path}: the file is missing")),
            error => self.failed(path, error),
        }
    }
}

fn check_length(file: &FileRef, length: u64) -> Result<()> {
    if length == file.bytes {
        return Ok(());
    }
    Err(error::checkpoint_corrupt(format!("{}: it has {length} bytes, not {}", file.path, file.bytes)))
}

/// The path of what is called `name` in `folder`, where an empty folder is the root.
pub(super) fn within(folder: &str, name: &str) -> String {
    match folder.is_empty() {
        true => name.to_owned(),
        false => format!("{folder}/{name}"),
    }
}

/// A savepoint's metadata with the paths that its file has: those of its own folder, which may then be moved anywhere.
fn relative_to(folder: &str, metadata: &CheckpointMetadata) -> Result<CheckpointMetadata> {
    let mut relative = metadata.clone();
    for file in relative.files_mut() {
        let own = file.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).filter(|name| is_plain(name));
        let outside = || error::internal(format!("savepoint `{folder}` names `{}`, which is not its own", file.path));
        file.path = own.ok_or_else(outside)?.to_owned();
    }
    Ok(relative)
}

/// Creates a folder and its parents, so that a loss of power does not take them away again.
fn create_durably(folder: &Path) -> std::io::Result<()> {
    let folder = &std::path::absolute(folder)?;
    let parents = folder.ancestors().skip(1);
    let changed: Vec<&Path> =
        folder.ancestors().zip(parents).take_while(|(made, _)| !made.exists()).map(|(_, parent)| parent).collect();
    fs::create_dir_all(folder)?;
    changed.iter().rev().try_for_each(|parent| File::open(parent)?.sync_all())
}

/// A path from a metadata, checked: it names something below the storage's root.
fn stored_path(path: &str) -> Result<StorePath> {
    match StorePath::parse(path) {
        Ok(parsed) if !parsed.is_root() => Ok(parsed),
        _ => Err(error::checkpoint_corrupt(format!("`{path}` is no path of a stored file"))),
    }
}

/// Whether a name is one path segment of letters that every file system knows.
pub(super) fn is_plain(name: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
}

/// The folder of all that a job stores, apart from its savepoints.
pub(super) fn job_folder(job: &str) -> Result<&str> {
    match is_plain(job) && job != SAVEPOINTS {
        true => Ok(job),
        false => Err(error::internal(format!("`{job}` cannot be a job's id"))),
    }
}

pub(super) const SAVEPOINTS: &str = "savepoints";

pub(super) fn shared_folder(job: &str) -> Result<String> {
    Ok(format!("{}/shared/", job_folder(job)?))
}

/// Where the metadata of a checkpoint is.
pub(super) fn checkpoint_folder(job: &str, checkpoint: u64, kind: CheckpointKind) -> Result<String> {
    let job = job_folder(job)?;
    Ok(match kind {
        CheckpointKind::Savepoint => format!("{SAVEPOINTS}/{job}-{checkpoint}"),
        CheckpointKind::Checkpoint | CheckpointKind::Final => format!("{job}/chk-{checkpoint}"),
    })
}

/// The files of one checkpoint, as a backend stores them. Every stored file gets a name that no other has.
pub struct CheckpointFiles {
    storage: CheckpointStorage,
    /// What the paths of new files begin with.
    prefix: String,
    /// Where files lie that this checkpoint may name without storing them again.
    reusable: Option<String>,
    /// What lies there in a bucket, with lengths; listed when it is first asked for.
    listed: OnceLock<HashMap<String, u64>>,
    uploaded: AtomicU64,
    given_up: Arc<AtomicBool>,
}

impl CheckpointFiles {
    fn new(storage: &CheckpointStorage, prefix: String, reusable: Option<String>) -> CheckpointFiles {
        let (uploaded, given_up) = (AtomicU64::new(0), Arc::default());
        CheckpointFiles { storage: storage.clone(), prefix, reusable, listed: OnceLock::new(), uploaded, given_up }
    }

    /// Once this is set nobody wants the checkpoint any more, and no further file is stored: `storage-failed`.
    pub fn given_up(&self) -> Arc<AtomicBool> {
        self.given_up.clone()
    }

    /// Bytes that were stored so far.
    pub fn bytes_uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    /// Those of an earlier image's files that this checkpoint may name without storing them again: what
    /// [`crate::state::StateSnapshot::upload`] takes as `held`. Files of savepoints and of other jobs are never among
    /// them, since others decide when these go; a savepoint names files of its own only. A file that is gone, or is not as
    /// long as it was, is not among them either: a checkpoint that named it could not be restored.
    pub fn reusable(&self, files: &[FileRef]) -> Result<Vec<FileRef>> {
        let Some(folder) = &self.reusable else { return Ok(Vec::new()) };
        let own: Vec<&FileRef> = files.iter().filter(|file| file.path.starts_with(folder)).collect();
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let is_there = |file: &FileRef, bytes: Option<u64>| bytes == Some(file.bytes);
        let (there, gone): (Vec<&FileRef>, Vec<&FileRef>) = match self.storage.root.folder() {
            Some(root) => {
                let bytes = |file: &FileRef| fs::metadata(root.join(&file.path)).ok().map(|found| found.len());
                own.into_iter().partition(|file| is_there(file, bytes(file)))
            }
            None => {
                let listed = self.listed(folder)?;
                own.into_iter().partition(|file| is_there(file, listed.get(&file.path).copied()))
            }
        };
        if let Some(file) = gone.first() {
            let (count, path) = (gone.len(), &file.path);
            tracing::warn!("{path}: the file is missing or damaged; stored again, as {count} in all of this subtask");
        }
        Ok(there.into_iter().cloned().collect())
    }

    fn listed(&self, folder: &str) -> Result<&HashMap<String, u64>> {
        if let Some(listed) = self.listed.get() {
            return Ok(listed);
        }
        let listed = self.storage.list(folder)?.into_iter().collect();
        Ok(self.listed.get_or_init(|| listed))
    }

    /// Takes over files of an image in `from` which this job owns now: gives them names of this checkpoint's own. None
    /// where the two storages cannot do that without moving bytes.
    pub fn adopt(&self, from: &CheckpointStorage, files: &[FileRef]) -> Result<Option<Vec<FileRef>>> {
        let mut adopted = Vec::new();
        for file in files {
            let place = from.root.join(&file.path).below(&self.storage.root);
            let Some(place) = place.filter(|_| file.bytes <= COPY_BYTES_MAX) else { return Ok(None) };
            let path = self.new_path(&file.name)?;
            self.storage.copy(&place, &path)?;
            adopted.push(FileRef { path, ..file.clone() });
        }
        Ok(Some(adopted))
    }

    fn new_path(&self, name: &str) -> Result<String> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(error::storage_failed(format!("{}{name}: its checkpoint was given up", self.prefix)));
        }
        match is_plain(name) {
            true => Ok(format!("{}{:016x}-{name}", self.prefix, random_u64())),
            false => Err(error::internal(format!("`{name}` cannot be the name of a stored file"))),
        }
    }

    fn stored(&self, name: &str, path: String, bytes: u64, crc32c: u32) -> FileRef {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
        FileRef { name: name.to_owned(), path, bytes, crc32c }
    }
}

impl FileStore for CheckpointFiles {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        let path = self.new_path(name)?;
        let (length, crc) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        self.storage.put_bytes(&path, bytes)?;
        Ok(self.stored(name, path, length, crc))
    }

    fn put_file(&self, name: &str, local: &Path) -> Result<FileRef> {
        let path = self.new_path(name)?;
        let (length, crc) = match self.storage.put_link(&path, local)? {
            Some(stored) => stored,
            None => self.storage.put_pieces(&path, local)?,
        };
        Ok(self.stored(name, path, length, crc))
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        let mut bytes = Vec::new();
        self.storage.read(file, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes.into())
    }

    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()> {
        let local_failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", to.display()));
        let mut local = File::create(to).map_err(local_failed)?;
        let read = self.storage.read(file, |piece| local.write_all(piece).map_err(local_failed));
        if read.is_err() {
            // A file that is not what was written must not be taken for one that is.
            let _ = fs::remove_file(to);
        }
        read
    }

    fn link_file(&self, file: &FileRef, to: &Path) -> Result<bool> {
        let stored = self.storage.root.join(stored_path(&file.path)?.as_ref());
        if stored.folder().is_none_or(|stored| fs::hard_link(stored, to).is_err()) {
            // Where it is missing, reading it says so.
            return Ok(false);
        }
        let local_failed = |e: std::io::Error| error::storage_failed(format!("{}: {e}", to.display()));
        check_length(file, fs::metadata(to).map_err(local_failed)?.len())?;
        Ok(true)
    }
}
