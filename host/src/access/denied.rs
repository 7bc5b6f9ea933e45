//! The refusal of a path, which passes through functions that return I/O errors.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{Error, path_denied};

/// A path that a policy does not allow.
#[derive(Debug)]
pub(super) struct PathDenied {
    message: String,
    hint: String,
}

impl PathDenied {
    /// The path, or a link on it, leads out of all allowed folders. The message is the same whether the file exists.
    pub(super) fn outside(path: &Path) -> PathDenied {
        PathDenied {
            message: format!("`{}` is outside of the folders that this server allows to pipelines", path.display()),
            hint:
                "start the server with --allow-path DIR, where DIR is this folder or one above it; a link may not lead \
                   out of the allowed folders"
                    .to_owned(),
        }
    }

    /// The path is in a file system of the kernel, which has no files of users.
    pub(super) fn of_kernel(path: &Path) -> PathDenied {
        PathDenied {
            message: format!(
                "`{}` is a file of the system (/proc, /sys, /dev), which no pipeline may use",
                path.display()
            ),
            hint: "use a file or folder of an ordinary file system, or the sink connector \"stdout\"".to_owned(),
        }
    }
}

impl fmt::Display for PathDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PathDenied {}

impl From<PathDenied> for io::Error {
    fn from(denied: PathDenied) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, denied)
    }
}

impl From<&PathDenied> for Error {
    fn from(denied: &PathDenied) -> Error {
        path_denied(&*denied.message).hint(&*denied.hint)
    }
}

/// Returns `path-denied` if a policy refused a path.
pub fn denied(error: &io::Error) -> Option<Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<PathDenied>()).map(Error::from)
}

/// Returns `path-denied` if a policy refused a path, else the result of `otherwise`.
pub fn denied_or(error: &io::Error, otherwise: impl FnOnce() -> Error) -> Error {
    denied(error).unwrap_or_else(otherwise)
}
