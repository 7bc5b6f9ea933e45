//! A RocksDB database as the files of an image, and back.
//!
//! Only table files (`.sst`) are taken from an earlier image instead of being uploaded again. That is safe because of
//! their names in the image: `<session>-<file>`, where the session is a random number that a database draws each time
//! it is opened, and names the opening that wrote the file. RocksDB never changes a table file and, while it is open,
//! never gives a number twice; so session and number together stand for one content. A restored table file keeps the
//! name that it was restored by; the numbers of new files begin above all restored ones, and they carry the new
//! session. Two databases that go on from the same image, or an image that the job went back behind, therefore never
//! mistake each other's `000012.sst` for their own.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{DB, Direction, ErrorKind, IteratorMode, ReadOptions};

use super::canonical::CanonicalWriter;
use super::rocksdb::{COLUMN_FAMILY, database_options, empty, files_failed};
use super::{
    FileRef, FileStore, RestoreSource, SnapshotFormat, StateHandle, StateId, StateKind, StateLayout, StateSize,
    StateSnapshot, StoredEntry, read_ordered,
};
use crate::error::{self, Result};
use crate::model::KeyGroup;

const TABLE_EXTENSION: &str = ".sst";
const LOG_EXTENSION: &str = ".log";

/// Of a database that is read from its beginning to its end.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// Which opening of a database wrote a table file.
pub(super) struct FileOrigins {
    pub session: u64,
    /// For each restored table file, by its local name, the name in the image.
    pub restored: HashMap<String, String>,
}

impl FileOrigins {
    fn image_name(&self, local: &str) -> String {
        match self.restored.get(local) {
            Some(name) => name.clone(),
            None => format!("{:016x}-{local}", self.session),
        }
    }
}

/// A folder of hard links that goes when its owner does.
pub(super) struct SnapshotFolder {
    pub path: PathBuf,
}

impl Drop for SnapshotFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the working folder is emptied.
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(super) struct RocksDbSnapshot {
    pub folder: SnapshotFolder,
    pub format: SnapshotFormat,
    pub layout: StateLayout,
    pub size: StateSize,
    pub origins: Arc<FileOrigins>,
}

impl StateSnapshot for RocksDbSnapshot {
    fn upload(self: Box<Self>, store: &dyn FileStore, held: &[FileRef]) -> Result<StateHandle> {
        if self.format == SnapshotFormat::Canonical {
            return self.upload_canonical(store);
        }
        let held: HashMap<&str, &FileRef> = held.iter().map(|file| (&file.name[..], file)).collect();
        let mut files = Vec::new();
        for (local, path, bytes) in self.local_files()? {
            if !local.ends_with(TABLE_EXTENSION) {
                files.push(store.put_file(&local, &path)?);
                continue;
            }
            let name = self.origins.image_name(&local);
            files.push(match held.get(&name[..]) {
                Some(file) if file.bytes == bytes => (*file).clone(),
                _ => store.put_file(&name, &path)?,
            });
        }
        Ok(StateHandle { format: SnapshotFormat::RocksDb, layout: self.layout.clone(), files, size: self.size })
    }
}

impl RocksDbSnapshot {
    fn upload_canonical(self, store: &dyn FileStore) -> Result<StateHandle> {
        let mut writer = CanonicalWriter::new(store);
        let all = 0..u32::from(KeyGroup::MAX) + 1;
        read_database(&self.folder.path, &self.layout, all, &mut |entry| writer.push(entry))?;
        let (files, size) = writer.finish()?;
        Ok(StateHandle { format: SnapshotFormat::Canonical, layout: self.layout.clone(), files, size })
    }

    /// Name, path and length of the files, in order of their names. The write-ahead log is left out: RocksDB makes one
    /// even where nothing is ever written to it.
    fn local_files(&self) -> Result<Vec<(String, PathBuf, u64)>> {
        let folder = &self.folder.path;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| files_failed(folder, &e))? {
            let entry = entry.map_err(|e| files_failed(folder, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(LOG_EXTENSION) {
                continue;
            }
            let length = entry.metadata().map_err(|e| files_failed(&entry.path(), &e))?.len();
            files.push((name, entry.path(), length));
        }
        files.sort();
        Ok(files)
    }
}

/// Puts the files of an image into `folder`, and tells by which names in the image its table files were restored.
/// Errors: `checkpoint-corrupt` for names that RocksDB does not give, and what `store` says.
pub(super) fn restore_files(
    image: &StateHandle,
    store: &dyn FileStore,
    folder: &Path,
) -> Result<HashMap<String, String>> {
    let mut restored = HashMap::new();
    let mut seen = HashSet::new();
    for file in &image.files {
        let local = local_name(&file.name)
            .filter(|local| seen.insert(*local))
            .ok_or_else(|| error::checkpoint_corrupt(format!("`{}` is no file of a database", file.name)))?;
        let (path, is_table) = (folder.join(local), local.ends_with(TABLE_EXTENSION));
        // RocksDB never changes a table file, it only removes its name: so the storage's own file will do.
        if !(is_table && store.link_file(file, &path)?) {
            store.get_file(file, &path)?;
        }
        if is_table {
            restored.insert(local.to_owned(), file.name.clone());
        }
    }
    Ok(restored)
}

/// Hands every entry of an image of this format whose group is in `groups` to `visit`; see [`super::read_snapshot`].
pub(super) fn read(
    image: &RestoreSource<'_>,
    groups: Range<u32>,
    scratch: &Path,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    empty(scratch).and_then(|()| fs::create_dir_all(scratch)).map_err(|e| files_failed(scratch, &e))?;
    restore_files(image.handle, image.store, scratch)?;
    let read = read_database(scratch, &image.handle.layout, groups, visit);
    read.and(empty(scratch).map_err(|e| files_failed(scratch, &e)))
}

/// Hands the entries of the database in `folder` to `visit`, in order. Nothing in the folder changes.
fn read_database(
    folder: &Path,
    layout: &StateLayout,
    groups: Range<u32>,
    visit: &mut dyn FnMut(StoredEntry<'_>) -> Result<()>,
) -> Result<()> {
    let options = database_options(true, None);
    let families = [(COLUMN_FAMILY, options.clone())];
    let db = DB::open_cf_with_opts_for_read_only(&options, folder, families, false).map_err(|e| unreadable(&e))?;
    let mut once = ReadOptions::default();
    once.fill_cache(false);
    once.set_readahead_size(READ_AHEAD_BYTES);
    let Ok(start) = KeyGroup::try_from(groups.start) else { return Ok(()) };
    for found in db.iterator_opt(IteratorMode::From(&start.to_be_bytes(), Direction::Forward), once) {
        let (key, value) = found.map_err(|e| unreadable(&e))?;
        let malformed = || error::checkpoint_corrupt("a key of the database is none of a state's");
        let (group, rest) = key.split_first_chunk::<2>().ok_or_else(malformed)?;
        let (state, rest) = rest.split_first_chunk::<2>().ok_or_else(malformed)?;
        let (group, state) = (KeyGroup::from_be_bytes(*group), StateId::from_be_bytes(*state));
        if u32::from(group) >= groups.end {
            break;
        }
        let description = layout.get(usize::from(state)).ok_or_else(malformed)?;
        if description.kind == StateKind::Map {
            let (key, sub_key) = read_ordered(rest).ok_or_else(malformed)?;
            visit(StoredEntry { group, state, key: &key, sub_key, value: &value })?;
        } else {
            visit(StoredEntry { group, state, key: rest, sub_key: &[], value: &value })?;
        }
    }
    Ok(())
}

fn unreadable(error: &rocksdb::Error) -> error::Error {
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument => {
            error::checkpoint_corrupt(format!("RocksDB cannot read the files of an image: {error}"))
        }
        _ => error::state_failed(format!("reading the files of an image: {error}")),
    }
}

/// The file's name in the database: one that RocksDB gives, and so one that cannot leave the folder.
fn local_name(name: &str) -> Option<&str> {
    let local = match name.split_once('-') {
        Some((_session, table)) if table.ends_with(TABLE_EXTENSION) => table,
        _ => name,
    };
    let numbered = |prefix: &str, suffix: &str| {
        let number = local.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let known = matches!(local, "CURRENT" | "IDENTITY")
        || numbered("MANIFEST-", "")
        || numbered("OPTIONS-", "")
        || (local != name && numbered("", TABLE_EXTENSION));
    known.then_some(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_rocksdb_gives_reach_the_folder() {
        assert_eq!(local_name("00ff-000012.sst"), Some("000012.sst"));
        assert_eq!(local_name("MANIFEST-000005"), Some("MANIFEST-000005"));
        assert_eq!(local_name("OPTIONS-000007"), Some("OPTIONS-000007"));
        assert_eq!(local_name("CURRENT"), Some("CURRENT"));
        for name in ["", "000012.sst", "..", "x-../12.sst", "x-.sst", "/etc/passwd", "MANIFEST-../a", "1-2/3.sst"] {
            assert_eq!(local_name(name), None, "{name}");
        }
    }
}
