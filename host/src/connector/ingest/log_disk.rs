//! The calls by which a log changes its files. A test can let them fail or wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Changes files of a log.
pub trait LogDisk: Send + Sync {
    /// Reserves the first `bytes` bytes of a file. New bytes are 0.
    fn preallocate(&self, file: &File, bytes: u64) -> io::Result<()>;
    /// Writes all bytes at `offset`.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Waits until everything written to the file is on the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Cuts the file to `bytes` bytes.
    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()>;
}

/// The disk of the machine.
pub struct SystemDisk;

impl LogDisk for SystemDisk {
    fn preallocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // Some file systems reserve nothing. A full disk then fails the write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes),
            result => Ok(result?),
        }
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(feature = "fail-points")]
        {
            // A write that was interrupted by the loss of the machine.
            file.write_all_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset)?;
            fail_point!("ingest.torn", io::Error::other);
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        file.set_len(bytes)
    }
}
