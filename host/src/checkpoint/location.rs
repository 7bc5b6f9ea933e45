//! Where something is stored: a folder of this machine, or a place in a bucket of an S3-compatible store.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Result, request_invalid};

const S3: &str = "s3://";

/// See the module. Written as a person writes it: a path, or `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageLocation {
    /// Absolute wherever it is kept.
    Folder(PathBuf),
    /// `key` begins and ends without a slash, and is empty for the whole bucket.
    S3 { bucket: String, key: String },
}

/// A path as text. Requests, records and RocksDB know no other: a path that is not UTF-8 would name another folder there.
pub fn utf8_path(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        request_invalid(format!(
            "the path `{}` is not UTF-8 (it has bytes that are no text, shown as \u{fffd})",
            path.display()
        ))
        .hint("rename that folder, or name another one")
    })
}

impl StorageLocation {
    /// Reads `s3://bucket/key` or a path; a relative one begins at `base_dir`. The error says what is wrong about it.
    pub fn parse(text: &str, base_dir: &Path) -> Result<StorageLocation, String> {
        let Some(rest) = text.strip_prefix(S3) else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!("`{text}`: {scheme}:// is no storage, only a path or s3:// is")),
                None if text.is_empty() => Err("the path is empty".to_owned()),
                None => Ok(StorageLocation::Folder(base_dir.join(text))),
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

    /// The same place by the one path that a folder has when links are followed; where it does not exist, as it is.
    pub fn canonical(self) -> StorageLocation {
        match self {
            StorageLocation::Folder(path) => StorageLocation::Folder(path.canonicalize().unwrap_or(path)),
            s3 => s3,
        }
    }

    /// What is at `below` in this place.
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

    /// The place around it, and its own name there; none at the top.
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

    /// Its path below `root`; none where it is elsewhere.
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

    /// The folder, where it is one of this machine.
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

    fn at(text: &str) -> StorageLocation {
        StorageLocation::parse(text, Path::new("/base")).unwrap()
    }

    #[test]
    fn places_are_read_and_written() {
        for (text, written) in [
            ("state", "/base/state"),
            ("/state/here", "/state/here"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            assert_eq!(at(text).to_string(), written);
        }
        for wrong in ["", "s3://", "s3:///key", "s3://bucket//key", "s3://bucket/../key", "gs://bucket", "file:///x"] {
            assert!(StorageLocation::parse(wrong, Path::new("/base")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_place_is_found_in_another() {
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
            assert_eq!(at(whole).below(&at(root)).as_deref(), below, "{whole} below {root}");
            if let Some(below) = below {
                assert_eq!(at(root).join(below), at(whole));
            }
        }
        for (whole, parent, name) in [("/a/b", "/a", "b"), ("s3://x/a/b", "s3://x/a", "b"), ("s3://x/a", "s3://x", "a")]
        {
            assert_eq!(at(whole).split_last(), Some((at(parent), name.to_owned())));
        }
        assert_eq!((at("s3://x").split_last(), at("/").split_last()), (None, None));
    }
}
