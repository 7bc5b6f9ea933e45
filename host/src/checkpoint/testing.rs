//! Storages for tests: a new folder, or a new prefix in an S3-compatible server.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cofferdam_tests::S3;
use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use tokio::runtime::Runtime;

use super::catalog::{UnusableCheckpoint, Verification};
use super::location::StorageLocation;
use super::metadata::{CheckpointKind, CheckpointMetadata, OperatorMetadata, SubtaskMetadata};
use super::storage::CheckpointStorage;
use crate::error::Result;
use crate::model::Counters;
use crate::state::{FileRef, FileStore, SnapshotFormat, StateDescription, StateHandle, StateKind, StateSize};

pub(super) const JOB: &str = "job-1";
const BUCKET: &str = "checkpoints";

/// An empty storage with its runtime, and a folder for other files of the test.
pub(super) struct TestStorage {
    pub(super) folder: tempfile::TempDir,
    pub(super) storage: CheckpointStorage,
    pub(super) runtime: Runtime,
}

/// Runs a test in a folder, and in a bucket if an S3-compatible server is available.
pub(super) fn on_each_store(run: impl Fn(&TestStorage)) {
    run(&TestStorage::new());
    if let Some(test) = TestStorage::in_s3() {
        run(&test);
    }
}

impl TestStorage {
    pub(super) fn new() -> TestStorage {
        let folder = tempfile::tempdir().unwrap();
        let root = StorageLocation::Folder(folder.path().join("storage"));
        TestStorage::open(folder, |runtime| CheckpointStorage::open(&root, runtime).unwrap())
    }

    /// One server serves all tests of the process; each test gets its own prefix.
    fn in_s3() -> Option<TestStorage> {
        static SERVER: OnceLock<Option<S3>> = OnceLock::new();
        static PREFIXES: AtomicU64 = AtomicU64::new(0);
        let server = SERVER.get_or_init(|| S3::start(BUCKET).unwrap()).as_ref()?;
        let key = PREFIXES.fetch_add(1, Ordering::Relaxed).to_string();
        let builder = AmazonS3Builder::new().with_bucket_name(BUCKET).with_endpoint(server.endpoint());
        let builder = builder.with_allow_http(true).with_region("us-east-1");
        let store = builder.with_access_key_id("test").with_secret_access_key("test").build().unwrap();
        let store = Arc::new(PrefixStore::new(store, key.as_str()));
        let root = StorageLocation::S3 { bucket: BUCKET.into(), key };
        Some(TestStorage::open(tempfile::tempdir().unwrap(), |runtime| {
            CheckpointStorage::with_store(store, root, runtime)
        }))
    }

    fn open(
        folder: tempfile::TempDir,
        storage: impl FnOnce(tokio::runtime::Handle) -> CheckpointStorage,
    ) -> TestStorage {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        TestStorage { folder, storage: storage(runtime.handle().clone()), runtime }
    }

    /// Returns the path on disk. The storage must be a folder.
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.storage.root().join(below).folder().unwrap().to_owned()
    }

    pub(super) fn put(&self, id: u64, name: &str, bytes: &str) -> FileRef {
        self.try_put(id, name, bytes).unwrap()
    }

    pub(super) fn try_put(&self, id: u64, name: &str, bytes: &str) -> Result<FileRef> {
        let files = self.storage.files(JOB, id, CheckpointKind::Checkpoint)?;
        files.put(name, Bytes::copy_from_slice(bytes.as_bytes()))
    }

    /// Replaces the content of a file.
    pub(super) fn overwrite(&self, path: &str, bytes: &[u8]) {
        self.storage.write_synced(path, Bytes::copy_from_slice(bytes)).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> Bytes {
        self.storage.read_checked(path, 0, |_, _| Ok(())).unwrap()
    }

    /// Completes a checkpoint that names `files`.
    pub(super) fn complete(&self, id: u64, files: &[FileRef]) -> CheckpointMetadata {
        let metadata = metadata(id, CheckpointKind::Checkpoint, files);
        let location = self.try_complete(id, files).unwrap();
        assert_eq!(location, self.storage.root().join(&format!("{JOB}/chk-{id}")));
        metadata
    }

    pub(super) fn try_complete(&self, id: u64, files: &[FileRef]) -> Result<StorageLocation> {
        self.storage.write_metadata(&metadata(id, CheckpointKind::Checkpoint, files))
    }

    /// Completes a savepoint with a file of each name, whose content is the name.
    pub(super) fn savepoint(&self, id: u64, names: &[&str]) -> (StorageLocation, CheckpointMetadata) {
        let files = self.storage.files(JOB, id, CheckpointKind::Savepoint).unwrap();
        let files: Vec<FileRef> =
            names.iter().map(|name| files.put(name, Bytes::copy_from_slice(name.as_bytes())).unwrap()).collect();
        let metadata = metadata(id, CheckpointKind::Savepoint, &files);
        (self.storage.write_metadata(&metadata).unwrap(), metadata)
    }

    pub(super) fn usable(&self, verification: Verification) -> Result<Option<(u64, Vec<UnusableCheckpoint>)>> {
        let found = self.storage.newest_usable(JOB, verification)?;
        Ok(found.map(|(metadata, unusable)| (metadata.checkpoint_id, unusable)))
    }

    pub(super) fn complete_ids(&self) -> Vec<u64> {
        self.storage.checkpoints(JOB).unwrap().0.iter().map(|metadata| metadata.checkpoint_id).collect()
    }

    pub(super) fn exists(&self, file: &FileRef) -> bool {
        self.storage.file_exists(&file.path).unwrap()
    }

    /// Returns the paths of all files in the storage, sorted.
    pub(super) fn stored(&self) -> Vec<String> {
        let mut paths: Vec<String> = [JOB, "savepoints"]
            .iter()
            .flat_map(|folder| self.storage.list_files(folder).unwrap())
            .map(|(path, _)| path)
            .collect();
        paths.sort();
        paths
    }
}

pub(super) fn metadata(id: u64, kind: CheckpointKind, files: &[FileRef]) -> CheckpointMetadata {
    let state = StateHandle {
        format: SnapshotFormat::Canonical,
        layout: vec![StateDescription::new("count", StateKind::Value, "postcard", "u64")],
        files: files.to_vec(),
        size: StateSize { entries: 12, bytes: 240 },
    };
    let operator = |id: &str, subtask| OperatorMetadata::new(id, vec![subtask]);
    let counters = |records_in, records_out| Counters { records_in, records_out, ..Counters::default() };
    CheckpointMetadata {
        format: CheckpointMetadata::FORMAT,
        job_id: JOB.into(),
        job_name: "late flights".into(),
        checkpoint_id: id,
        kind,
        taken_at_ms: 1_700_000_000_000,
        seed: None,
        max_parallelism: 128,
        schemas: Vec::new(),
        operators: vec![
            operator(
                "flights",
                SubtaskMetadata {
                    source_position: Some(vec![42, 0]),
                    counters: counters(0, 1000),
                    ..SubtaskMetadata::default()
                },
            ),
            operator(
                "track",
                SubtaskMetadata {
                    state: Some(state),
                    counters: Counters {
                        faults: 1,
                        records_skipped: 1,
                        records_dead_lettered: 1,
                        ..counters(1000, 998)
                    },
                    ..SubtaskMetadata::default()
                },
            ),
            operator(
                "delays",
                SubtaskMetadata {
                    committable: Some(b"part-0-7".to_vec()),
                    counters: counters(998, 0),
                    ..SubtaskMetadata::default()
                },
            ),
        ],
    }
}
