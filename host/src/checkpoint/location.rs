//! The location of a storage, a checkpoint or a savepoint: a folder of this machine, or a key in an S3 bucket.
//!
//! Must not access the storage; only [`StorageLocation::canonical`] reads the local file system.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Result, request_invalid};

const S3: &str = "s3://";

/// A location, written as a path or as `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageLocation {
    /// A folder of this machine. The path is absolute wherever the location is stored.
    Folder(PathBuf),
    /// A key in a bucket. `key` has no slash at its beginning or end, and is empty for the whole bucket.
    S3 { bucket: String, key: String },
}

/// Returns a path as text. Errors: `request-invalid` for a path that is not UTF-8, since requests, job records and RocksDB
/// would use it for another folder.
pub fn utf8_path(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        request_invalid(format!(
            "the path `{}` is not UTF-8 (\u{fffd} stands for bytes that are not text)",
            path.display()
        ))
        .hint("rename the folder, or use another one")
    })
}

impl StorageLocation {
    /// Parses `s3://bucket/key` or a path; a relative path begins at `base_dir`. The error is a message for the user.
    pub fn parse(text: &str, base_dir: &Path) -> Result<StorageLocation, String> {
        let Some(rest) = text.strip_prefix(S3) else {
            return match text.split_once("://") {
                Some((scheme, _)) if !scheme.contains('/') => {
                    Err(format!("`{text}`: {scheme}:// is not supported; use a path or s3://"))
                }
                _ if text.is_empty() => Err("the path is empty".to_owned()),
                _ => Ok(StorageLocation::Folder(base_dir.join(text))),
            };
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let key = key.strip_suffix('/').unwrap_or(key);
        let is_key = key.is_empty() || key.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match !bucket.is_empty() && is_key {
            true => Ok(StorageLocation::S3 { bucket: bucket.to_owned(), key: key.to_owned() }),
            false => Err(format!("`{text}` is not of the form s3://bucket/folder")),
        }
    }

    /// Returns the location with all symbolic links of a folder resolved; unchanged if the folder does not exist.
    pub fn canonical(self) -> StorageLocation {
        match self {
            StorageLocation::Folder(path) => StorageLocation::Folder(path.canonicalize().unwrap_or(path)),
            s3 => s3,
        }
    }

    /// Returns the location of `below` within this location.
    pub fn join(&self, below: &str) -> StorageLocation {
        match self {
            _ if below.is_empty() => self.clone(),
            StorageLocation::Folder(path) => StorageLocation::Folder(path.join(below)),
            StorageLocation::S3 { bucket, key } if key.is_empty() => {
                StorageLocation::S3 { bucket: bucket.clone(), key: below.to_owned() }
            }
            StorageLocation::S3 { bucket, key } => {
                StorageLocation::S3 { bucket: bucket.clone(), key: format!("{key}/{below}") }
            }
        }
    }

    /// Splits the location into its parent and its own name; `None` at the top.
    pub fn split_last(&self) -> Option<(StorageLocation, String)> {
        match self {
            StorageLocation::Folder(path) => {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((StorageLocation::Folder(path.parent()?.to_owned()), name))
            }
            StorageLocation::S3 { key, .. } if key.is_empty() => None,
            StorageLocation::S3 { bucket, key } => {
                let (parent, name) = key.rsplit_once('/').unwrap_or(("", key));
                Some((StorageLocation::S3 { bucket: bucket.clone(), key: parent.to_owned() }, name.to_owned()))
            }
        }
    }

    /// Returns the path of this location below `root`; `None` if it is not below `root`.
    pub fn below(&self, root: &StorageLocation) -> Option<String> {
        match (self, root) {
            (StorageLocation::Folder(path), StorageLocation::Folder(root)) => {
                path.strip_prefix(root).ok()?.to_str().map(str::to_owned)
            }
            (StorageLocation::S3 { bucket, key }, StorageLocation::S3 { bucket: its, key: root }) if bucket == its => {
                match root {
                    root if root.is_empty() => Some(key.clone()),
                    root if key == root => Some(String::new()),
                    root => key.strip_prefix(root)?.strip_prefix('/').map(str::to_owned),
                }
            }
            _ => None,
        }
    }

    /// Returns the path if the location is a folder.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            StorageLocation::Folder(path) => Some(path),
            StorageLocation::S3 { .. } => None,
        }
    }
}

impl fmt::Display for StorageLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageLocation::Folder(path) => path.display().fmt(f),
            StorageLocation::S3 { bucket, key } if key.is_empty() => write!(f, "{S3}{bucket}"),
            StorageLocation::S3 { bucket, key } => write!(f, "{S3}{bucket}/{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> StorageLocation {
        StorageLocation::parse(text, Path::new("/base")).unwrap()
    }

    #[test]
    fn locations_are_parsed_and_displayed() {
        for (text, written) in [
            ("state", "/base/state"),
            ("/state/here", "/state/here"),
            ("/state/s3://here", "/state/s3://here"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            assert_eq!(parse(text).to_string(), written);
        }
        for wrong in ["", "s3://", "s3:///key", "s3://bucket//key", "s3://bucket/../key", "gs://bucket", "file:///x"] {
            assert!(StorageLocation::parse(wrong, Path::new("/base")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_location_has_a_path_below_the_location_that_contains_it() {
        for (whole, root, below) in [
            ("/a/b/c", "/a", Some("b/c")),
            ("/a", "/a", Some("")),
            ("/ab", "/a", None),
            ("s3://x/a/b", "s3://x/a", Some("b")),
            ("s3://x/a/b", "s3://x", Some("a/b")),
            ("s3://x/a", "s3://x/a", Some("")),
            ("s3://x/ab", "s3://x/a", None),
            ("s3://y/a/b", "s3://x/a", None),
            ("/x/a", "s3://x", None),
        ] {
            assert_eq!(parse(whole).below(&parse(root)).as_deref(), below, "{whole} below {root}");
            if let Some(below) = below {
                assert_eq!(parse(root).join(below), parse(whole));
            }
        }
        for (whole, parent, name) in [("/a/b", "/a", "b"), ("s3://x/a/b", "s3://x/a", "b"), ("s3://x/a", "s3://x", "a")]
        {
            assert_eq!(parse(whole).split_last(), Some((parse(parent), name.to_owned())));
        }
        assert_eq!((parse("s3://x").split_last(), parse("/").split_last()), (None, None));
    }
}
