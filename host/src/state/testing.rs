//! Test doubles of the checkpoint storage.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;

use super::snapshot::{FileRef, FileStore};
use crate::error::{Result, checkpoint_corrupt, storage_failed};

/// A checkpoint storage in memory.
#[derive(Default)]
pub(crate) struct TestStore {
    files: Mutex<HashMap<String, Bytes>>,
}

impl TestStore {
    /// Number of stored files.
    pub fn count(&self) -> usize {
        self.files.lock().unwrap().len()
    }

    /// Replaces a stored file and updates its length and checksum in `file`, as a malicious writer could.
    pub fn replace(&self, file: &mut FileRef, bytes: Vec<u8>) {
        (file.bytes, file.crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        self.files.lock().unwrap().insert(file.path.clone(), bytes.into());
    }
}

impl FileStore for TestStore {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        let mut files = self.files.lock().unwrap();
        let path = format!("{}-{name}", files.len());
        let file = FileRef {
            name: name.into(),
            path: path.clone(),
            bytes: bytes.len() as u64,
            crc32c: crc32c::crc32c(&bytes),
        };
        files.insert(path, bytes);
        Ok(file)
    }

    fn put_file(&self, name: &str, path: &Path) -> Result<FileRef> {
        self.put(name, fs::read(path).unwrap().into())
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        let files = self.files.lock().unwrap();
        let bytes = files.get(&file.path).ok_or_else(|| checkpoint_corrupt(format!("{} is missing", file.path)))?;
        match bytes.len() as u64 == file.bytes && crc32c::crc32c(bytes) == file.crc32c {
            true => Ok(bytes.clone()),
            false => Err(checkpoint_corrupt(format!("the checksum of {} is wrong", file.path))),
        }
    }

    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()> {
        fs::write(to, self.get(file)?).map_err(|e| storage_failed(format!("{}: {e}", to.display())))
    }
}

/// A storage whose every operation fails with `storage-failed`.
pub(crate) struct FailingStore;

impl FileStore for FailingStore {
    fn put(&self, name: &str, _: Bytes) -> Result<FileRef> {
        Err(storage_failed(name))
    }

    fn put_file(&self, name: &str, _: &Path) -> Result<FileRef> {
        Err(storage_failed(name))
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        Err(storage_failed(&file.path))
    }

    fn get_file(&self, file: &FileRef, _: &Path) -> Result<()> {
        Err(storage_failed(&file.path))
    }
}
