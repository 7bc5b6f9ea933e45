//! The file sink: one file per subtask and checkpoint. What is written between two checkpoints goes to an open file;
//! `prepare` makes it durable under its pending name, and the committer publishes it by a rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::super::{ConnectorContext, Sink};
use super::part::{PartNaming, SinkPart, sync_folder, unwritable};
use super::promise;
use crate::clock::random_u64;
use crate::error::{Result, sink_unwritable};
use crate::model::Batch;

const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
pub(in crate::connector) struct FileSink {
    parts: PartNaming,
    /// The folder by the one path that it has when links are followed: what a checkpoint's reader finds it by.
    folder: PathBuf,
    subtask: u32,
    /// Where the open file is. The name is this sink's alone, so that one left over from before a restart is no danger.
    open_path: PathBuf,
    open: Option<OpenPart>,
    /// Prepared, and not seen published yet. A checkpoint that fails is followed by one that names its parts again.
    outstanding: Vec<SinkPart>,
}

struct OpenPart {
    file: BufWriter<File>,
    bytes: u64,
}

impl FileSink {
    /// Creates the folders, where they are not there yet.
    pub(in crate::connector) fn open(path: &Path, context: &ConnectorContext) -> Result<FileSink> {
        FileSink::open_as(path, context, random_u64())
    }

    fn open_as(path: &Path, context: &ConnectorContext, token: u64) -> Result<FileSink> {
        let parts = PartNaming::new(path, context);
        fs::create_dir_all(&parts.pending).map_err(|error| unwritable(&parts.pending, &error))?;
        sync_folder(&parts.folder).map_err(|error| unwritable(&parts.folder, &error))?;
        let folder = fs::canonicalize(&parts.folder).map_err(|error| unwritable(&parts.folder, &error))?;
        let open_path = parts.open_path(context.subtask, token);
        Ok(FileSink { parts, folder, subtask: context.subtask, open_path, open: None, outstanding: Vec::new() })
    }

    fn open_part(&mut self) -> Result<&mut OpenPart> {
        let file = match self.open.take() {
            Some(open) => open,
            None => {
                let file = File::create(&self.open_path).map_err(|error| unwritable(&self.open_path, &error))?;
                OpenPart { file: BufWriter::with_capacity(BUFFER_BYTES, file), bytes: 0 }
            }
        };
        Ok(self.open.insert(file))
    }

    /// Makes the open file durable under its pending name.
    fn seal(&mut self, checkpoint: u64) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let bytes = open.bytes;
        let synced = open.file.flush().and_then(|()| open.file.get_ref().sync_all());
        synced.map_err(|error| unwritable(&self.open_path, &error))?;
        let name = self.parts.name(self.subtask, checkpoint);
        let pending = self.parts.pending.join(&name);
        fs::rename(&self.open_path, &pending).map_err(|error| unwritable(&pending, &error))?;
        self.open = None;
        sync_folder(&self.parts.pending).map_err(|error| unwritable(&self.parts.pending, &error))?;
        self.outstanding.push(SinkPart { name, bytes });
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let open = self.open_part()?;
        let written = batch.values.iter().try_for_each(|value| {
            open.file.write_all(value)?;
            open.file.write_all(b"\n")
        });
        open.bytes += (batch.values.bytes().len() + batch.len()) as u64;
        written.map_err(|error| unwritable(&self.open_path, &error))
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>> {
        self.outstanding.retain(|part| fs::exists(self.parts.pending.join(&part.name)).unwrap_or(true));
        self.seal(checkpoint)?;
        if self.outstanding.is_empty() {
            return Ok(None);
        }
        promise::encode(&self.folder, &self.outstanding).map(Some)
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.open {
            Some(open) => open.file.flush().map_err(|error| unwritable(&self.open_path, &error)),
            None => Ok(()),
        }
    }
}

impl Drop for FileSink {
    /// What no checkpoint covers is worth nothing. After a crash the committer removes it.
    fn drop(&mut self) {
        if self.open.is_some() {
            let _ = fs::remove_file(&self.open_path);
        }
    }
}

/// Checks that files can be written below `path` and made durable, by writing one without a name. Leaves nothing behind, no
/// folder either.
pub(in crate::connector) fn check(path: &Path) -> Result<()> {
    let refused = |path: &Path, error: &io::Error| {
        let hint = "the sink's path is a folder that this process can create and write files in";
        unwritable(path, error).hint(hint)
    };
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Err(sink_unwritable(format!("`{}` is a file; a sink writes into a folder", path.display())));
    }
    let mut created = CreatedFolders(Vec::new());
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !is_there(folder)).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => created.0.push(folder.to_owned()),
            // Somebody else made it meanwhile, so it is not ours to remove.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(folder, &error)),
        }
    }
    // Without a name: a kill while it is synced leaves nothing.
    let written = tempfile::tempfile_in(path).and_then(|mut file| {
        file.write_all(b"cofferdam\n")?;
        file.sync_all()
    });
    written.map_err(|error| refused(path, &error))?;
    sync_folder(path).map_err(|error| {
        sink_unwritable(format!("the folder `{}` cannot be synced: {error}", path.display()))
            .hint("a sink publishes durably: choose a folder on a file system that can sync folders (fsync)")
    })
}

fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || fs::exists(folder).unwrap_or(false)
}

/// Folders that the check made; removed when it ends, the innermost first, unless something is in them by then.
struct CreatedFolders(Vec<PathBuf>);

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
