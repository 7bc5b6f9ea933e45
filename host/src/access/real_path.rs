//! The path of an open file or folder, with all links resolved. The system keeps it current if the file is moved.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// Returns the path of an open file. An error means that the path is unknown, so that the file must not be used.
#[cfg(target_os = "linux")]
pub(super) fn real_path(file: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

#[cfg(target_vendor = "apple")]
pub(super) fn real_path(file: impl AsFd) -> io::Result<PathBuf> {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    Ok(PathBuf::from(OsString::from_vec(rustix::fs::getpath(file.as_fd())?.into_bytes())))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn real_path(_file: impl AsFd) -> io::Result<PathBuf> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not tell the path of an open file"))
}
