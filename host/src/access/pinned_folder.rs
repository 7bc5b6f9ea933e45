//! An open folder. Operations name its entries relative to the open folder, so that no change of the path to it matters.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::real_path::real_path;

/// Permissions of new files and folders, before the process's mask.
const FILE_MODE: u32 = 0o666;
const FOLDER_MODE: u32 = 0o777;

/// An open folder. Its entries are named by one path segment each.
#[derive(Debug)]
pub struct PinnedFolder {
    folder: OwnedFd,
    /// `NOFOLLOW` if no link in the folder is followed.
    links: OFlags,
}

impl AsFd for PinnedFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl PinnedFolder {
    /// Opens a folder. `refuses_links` applies to the entries of the folder, not to the path.
    pub(super) fn open(path: &Path, refuses_links: bool) -> io::Result<PinnedFolder> {
        let folder = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(PinnedFolder { folder, links: if refuses_links { OFlags::NOFOLLOW } else { OFlags::empty() } })
    }

    /// Returns the path of the folder, with all links resolved.
    pub fn real_path(&self) -> io::Result<PathBuf> {
        real_path(self)
    }

    /// Opens a folder in this folder.
    pub fn subfolder(&self, name: impl AsRef<OsStr>) -> io::Result<PinnedFolder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | self.links;
        let folder = rustix::fs::openat(self, segment(name.as_ref())?, flags, Mode::empty())?;
        Ok(PinnedFolder { folder, links: self.links })
    }

    /// Creates a folder in this folder unless it exists, and opens it. The flag is whether it was created.
    pub fn create_subfolder(&self, name: impl AsRef<OsStr>) -> io::Result<(PinnedFolder, bool)> {
        let name = name.as_ref();
        let created = match rustix::fs::mkdirat(self, segment(name)?, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        Ok((self.subfolder(name)?, created))
    }

    /// Creates a file, or empties it.
    pub fn create_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::CLOEXEC | self.links;
        Ok(File::from(rustix::fs::openat(self, segment(name.as_ref())?, flags, Mode::from_raw_mode(FILE_MODE))?))
    }

    /// Opens a new file without a name, which vanishes when it is closed; where the file system has none, a file whose name
    /// was removed.
    pub fn unnamed_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        #[cfg(target_os = "linux")]
        {
            let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::openat(self, c".", flags, Mode::from_raw_mode(0o600)) {
                return Ok(File::from(file));
            }
        }
        let (name, flags) = (name.as_ref(), OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC);
        let file = rustix::fs::openat(self, segment(name)?, flags, Mode::from_raw_mode(0o600))?;
        self.remove_file(name)?;
        Ok(File::from(file))
    }

    /// Renames a file of this folder to a name in another folder.
    pub fn rename(
        &self,
        name: impl AsRef<OsStr>,
        folder: &PinnedFolder,
        new_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        let (name, new_name) = (segment(name.as_ref())?, segment(new_name.as_ref())?);
        // The name of an open folder in /proc leads to that folder, whatever its path is now. Unlike a direct system call, the
        // call of the C library can be watched by a test of the order in which things become durable.
        #[cfg(target_os = "linux")]
        match std::fs::rename(self.entry_path(name), folder.entry_path(new_name)) {
            // Also if /proc is not mounted.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => return renamed,
        }
        Ok(rustix::fs::renameat(self, name, folder, new_name)?)
    }

    #[cfg(target_os = "linux")]
    fn entry_path(&self, name: &OsStr) -> PathBuf {
        use std::os::fd::AsRawFd;
        Path::new(&format!("/proc/self/fd/{}", self.folder.as_raw_fd())).join(name)
    }

    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, segment(name.as_ref())?, AtFlags::empty())?)
    }

    /// Removes an empty folder of this folder.
    pub fn remove_subfolder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, segment(name.as_ref())?, AtFlags::REMOVEDIR)?)
    }

    /// Returns the length of a regular file, or `None` for an entry of another kind, also a link.
    pub fn file_length(&self, name: impl AsRef<OsStr>) -> io::Result<Option<u64>> {
        let found = rustix::fs::statat(self, segment(name.as_ref())?, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        Ok(is_file.then_some(u64::try_from(found.st_size).unwrap_or(0)))
    }

    /// Returns the names of all entries, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Syncs the folder to disk, which makes the names in it durable.
    pub fn sync(&self) -> io::Result<()> {
        File::from(self.folder.try_clone()?).sync_all()
    }
}

/// Checks that a name is one path segment.
fn segment(name: &OsStr) -> io::Result<&OsStr> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(name),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a file name")),
    }
}

/// A folder that exists now, and those of its parents that were created for it.
#[derive(Debug)]
pub struct CreatedFolder {
    pub folder: PinnedFolder,
    /// Folders with the name of the entry that was created in each, the outermost first.
    created: Vec<(PinnedFolder, OsString)>,
}

impl CreatedFolder {
    /// Creates the folders `rest` below `parent`, one in the other. After an error nothing of it remains.
    pub(super) fn below(parent: PinnedFolder, rest: &Path) -> io::Result<CreatedFolder> {
        let mut created = CreatedFolder { folder: parent, created: Vec::new() };
        for part in rest.components() {
            if let Err(error) = created.descend(part.as_os_str()) {
                created.undo();
                return Err(error);
            }
        }
        Ok(created)
    }

    fn descend(&mut self, name: &OsStr) -> io::Result<()> {
        let (folder, is_new) = self.folder.create_subfolder(name)?;
        let parent = std::mem::replace(&mut self.folder, folder);
        if is_new {
            parent.sync()?;
            self.created.push((parent, name.to_owned()));
        }
        Ok(())
    }

    /// Removes the folders that were created, as far as they are empty.
    pub fn undo(self) {
        for (parent, name) in self.created.iter().rev() {
            let _ = parent.remove_subfolder(name);
        }
    }
}
