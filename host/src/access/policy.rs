//! The policy: allowed folders, addresses and buckets, and the checks against them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::access_grant::AccessGrant;
use super::address::AddressPattern;
use super::denied::PathDenied;
use super::pinned_folder::{CreatedFolder, PinnedFolder};
use super::real_path::real_path;
use super::secrets::{NAMESPACE, SecretStore};
use crate::error::{self, Result};

/// Where the kernel shows itself as files.
const KERNEL_FOLDERS: &[&str] = &["/proc", "/sys", "/dev"];

/// A folder in memory with ordinary files, below one of [`KERNEL_FOLDERS`].
const SHARED_MEMORY: &str = "/dev/shm";

/// What an operator allows, to all namespaces or to one.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    /// Files and folders, with everything below.
    pub paths: Vec<AccessGrant<PathBuf>>,
    /// Addresses of sockets.
    pub addresses: Vec<AccessGrant<AddressPattern>>,
    /// Buckets of an S3-compatible store.
    pub buckets: Vec<AccessGrant<String>>,
    /// Folders that stay closed within an allowed folder, such as the data folder of the server.
    pub closed: Vec<PathBuf>,
    /// Whether jobs may start from native savepoints that are not in the server's own storage.
    pub native_savepoints: bool,
}

impl AllowList {
    /// Returns whether a namespace may use a path. Of several granted folders above it, the nearest decides: what one namespace is
    /// granted is closed to the others, also within a folder that all may use.
    fn allows(&self, namespace: &str, resolved: &Path) -> bool {
        let above = || self.paths.iter().filter(|granted| resolved.starts_with(&granted.what));
        let depth = |granted: &AccessGrant<PathBuf>| granted.what.components().count();
        let nearest = above().map(depth).max();
        let is_granted = above().any(|granted| Some(depth(granted)) == nearest && granted.is_for(namespace));
        is_granted && !self.closed.iter().any(|folder| resolved.starts_with(folder))
    }
}

/// Says what is allowed, and the options that allow more.
impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |texts: Vec<String>, none: &str| if texts.is_empty() { none.to_owned() } else { texts.join(", ") };
        let shown = |granted: &AccessGrant<PathBuf>| {
            let what = format!("`{}`", granted.what.display());
            AccessGrant { namespace: granted.namespace.clone(), what }.to_string()
        };
        let paths = self.paths.iter().map(shown).collect();
        let addresses = self.addresses.iter().map(AccessGrant::to_string).collect();
        write!(
            f,
            "pipelines may use files in {} (--allow-path DIR), connect to {} (--allow-address HOST:PORT), and use {} \
             (--allow-s3 BUCKET)",
            join(paths, "no folder"),
            join(addresses, "no address"),
            join(self.buckets.iter().map(|bucket| format!("the bucket {bucket}")).collect(), "no bucket"),
        )
    }
}

/// What pipelines may read, write and reach. Cheap to clone. The default allows everything except the files of the
/// kernel.
#[derive(Clone, Debug, Default)]
pub struct AccessPolicy {
    list: Option<Arc<AllowList>>,
    /// The namespace of the pipelines.
    namespace: Arc<str>,
    secrets: SecretStore,
}

/// The folder of a pipeline's relative paths, and what the pipeline may access.
#[derive(Clone, Debug, Default)]
pub struct PipelinePaths {
    /// The folder that relative paths of the pipeline file refer to.
    pub base_dir: PathBuf,
    /// What the pipeline may access.
    pub policy: AccessPolicy,
}

impl PipelinePaths {
    /// Paths relative to `base_dir`, all of which are allowed.
    pub fn unrestricted(base_dir: &Path) -> PipelinePaths {
        PipelinePaths { base_dir: base_dir.to_owned(), policy: AccessPolicy::default() }
    }

    /// Returns a path of the pipeline file, relative to the folder.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base_dir.join(path)
    }
}

impl AccessPolicy {
    /// Allows the pipelines of the namespace `default` nothing but what is listed. Each path must exist. Error: `path-denied` for a path that cannot be used.
    pub fn restricted(list: AllowList) -> Result<AccessPolicy> {
        let mut paths = Vec::with_capacity(list.paths.len());
        for AccessGrant { namespace, what: path } in list.paths {
            let resolved = path.canonicalize().map_err(|cause| {
                error::path_denied(format!("--allow-path {}: {cause}", path.display()))
                    .hint("create the folder before the server starts, or correct its path")
            })?;
            check_not_kernel(&path, &resolved).map_err(|denied| error::Error::from(&denied))?;
            paths.push(AccessGrant { namespace, what: resolved });
        }
        let (list, namespace) = (Some(Arc::new(AllowList { paths, ..list })), Arc::from(NAMESPACE));
        Ok(AccessPolicy { list, namespace, secrets: SecretStore::of_server(None) })
    }

    /// Returns the same policy with secrets that pipelines may use.
    pub fn with_secrets(self, secrets: SecretStore) -> AccessPolicy {
        AccessPolicy { secrets, ..self }
    }

    /// Returns the same policy for the pipelines of another namespace, with its own secrets and what the list allows it.
    pub fn for_namespace(&self, name: &str) -> AccessPolicy {
        AccessPolicy { list: self.list.clone(), namespace: Arc::from(name), secrets: self.secrets.sibling(name) }
    }

    /// Returns the secrets that pipelines may use. By default those of the user of the process, but none of a server.
    pub fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// Returns the list of what is allowed, or `None` if everything is.
    pub fn allow_list(&self) -> Option<&AllowList> {
        self.list.as_deref()
    }

    /// Checks a path that need not exist. Links are resolved as they are now. The error can become `path-denied` with
    /// [`super::denied_or`].
    pub fn check_path(&self, path: &Path) -> io::Result<()> {
        self.resolve(path).map(drop)
    }

    /// Returns a checked path with all links of its existing part resolved.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let absolute = std::path::absolute(path)?;
        for existing in absolute.ancestors() {
            match existing.canonicalize() {
                Ok(resolved) => {
                    let rest = absolute.strip_prefix(existing).unwrap_or(Path::new(""));
                    let is_plain = rest.components().all(|part| matches!(part, Component::Normal(_)));
                    let resolved = if rest.as_os_str().is_empty() { resolved } else { resolved.join(rest) };
                    self.check_resolved(path, &resolved, is_plain)?;
                    return Ok(resolved);
                }
                // A link to nothing could lead anywhere once its target exists.
                Err(_) if self.list.is_some() && existing.is_symlink() => return Err(PathDenied::outside(path).into()),
                Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(_) if self.list.is_some() => return Err(PathDenied::outside(path).into()),
                Err(cause) => return Err(cause),
            }
        }
        Err(PathDenied::outside(path).into())
    }

    /// Opens a regular file for reading. What was opened is checked, so a link that is changed meanwhile leads nowhere.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        self.check_path(path)?;
        // Opening a device may have effects, so the kind is looked up before.
        check_regular(&fs::metadata(path)?)?;
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        check_regular(&file.metadata()?)?;
        self.check_open(path, &file)?;
        Ok(file)
    }

    /// Opens a folder for operations on its files.
    pub fn pin_folder(&self, path: &Path) -> io::Result<PinnedFolder> {
        self.check_path(path)?;
        let folder = PinnedFolder::open(path, self.list.is_some())?;
        self.check_open(path, &folder)?;
        Ok(folder)
    }

    /// Creates a folder with its parents, where they do not exist, and opens it.
    pub fn create_folder(&self, path: &Path) -> io::Result<CreatedFolder> {
        let resolved = self.resolve(path)?;
        let existing = resolved.ancestors().find(|folder| fs::symlink_metadata(folder).is_ok());
        let existing = existing.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        let rest = resolved.strip_prefix(existing).map_err(io::Error::other)?;
        // The allowed folder itself exists, so that this one is in it or is one above, which only grows downwards.
        let parent = PinnedFolder::open(existing, self.list.is_some())?;
        self.check_open(path, &parent)?;
        CreatedFolder::below(parent, rest)
    }

    /// Returns whether jobs may start from native savepoints that are not in the host's own storage.
    pub fn allows_native_savepoints(&self) -> bool {
        self.list.as_ref().is_none_or(|list| list.native_savepoints)
    }

    /// Checks the address of a socket. Error: `address-denied`.
    pub fn check_address(&self, address: &str) -> Result<()> {
        match &self.list {
            Some(list) if !self.is_granted(&list.addresses, |pattern| pattern.allows(address)) => {
                Err(error::address_denied(format!("this server does not allow pipelines to connect to `{address}`"))
                    .hint(
                        "start the server with --allow-address HOST:PORT, written as in the pipeline file, or HOST:*",
                    ))
            }
            _ => Ok(()),
        }
    }

    /// Checks a bucket. Error: `address-denied`.
    pub fn check_bucket(&self, bucket: &str) -> Result<()> {
        match &self.list {
            Some(list) if !self.is_granted(&list.buckets, |allowed| allowed == bucket) => {
                Err(error::address_denied(format!("this server does not allow pipelines to use the bucket `{bucket}`"))
                    .hint("start the server with --allow-s3 BUCKET"))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the namespace is granted something for which `is_meant` returns true.
    fn is_granted<T>(&self, granted: &[AccessGrant<T>], is_meant: impl Fn(&T) -> bool) -> bool {
        granted.iter().any(|granted| granted.is_for(&self.namespace) && is_meant(&granted.what))
    }

    /// Checks where an open file or folder really is.
    fn check_open(&self, path: &Path, file: impl std::os::fd::AsFd) -> io::Result<()> {
        match self.list.is_some() {
            true => self.check_resolved(path, &real_path(file)?, true),
            false => Ok(()),
        }
    }

    fn check_resolved(&self, path: &Path, resolved: &Path, is_plain: bool) -> io::Result<()> {
        check_not_kernel(path, resolved)?;
        match &self.list {
            Some(list) if !is_plain || !list.allows(&self.namespace, resolved) => Err(PathDenied::outside(path).into()),
            _ => Ok(()),
        }
    }
}

fn check_not_kernel(path: &Path, resolved: &Path) -> Result<(), PathDenied> {
    let is_kernel = KERNEL_FOLDERS.iter().any(|folder| resolved.starts_with(folder));
    match is_kernel && !resolved.starts_with(SHARED_MEMORY) {
        true => Err(PathDenied::of_kernel(path)),
        false => Ok(()),
    }
}

fn check_regular(found: &fs::Metadata) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    }
}
