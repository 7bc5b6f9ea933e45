//! The file sink: one file (part) per subtask and checkpoint.
//!
//! Values between two checkpoints go to an open part. `prepare` syncs it to disk under its pending name. The committer
//! publishes it by a rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::committable;
use super::sink_part::{PartNaming, SinkPart, sync_folder, unwritable};
use crate::clock::random_u64;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Sink, unwritable_record};
use crate::error::{Result, sink_unwritable};
use crate::format::RecordEncoder;
use crate::model::Batch;

/// Size of the write buffer, in bytes.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// One subtask's share of a file sink.
pub(in crate::connector) struct FileSink {
    parts: PartNaming,
    /// The canonical path of the sink's folder. A job that restores the checkpoint finds the folder by it.
    folder: PathBuf,
    subtask: u32,
    /// Path of the open part. The name is unique to this sink, so a leftover from before a restart does not collide.
    pub(super) open_path: PathBuf,
    open: Option<OpenPart>,
    encoder: RecordEncoder,
    /// The records of one batch, kept for their allocation.
    encoded: Vec<u8>,
    node: String,
    /// Parts that were prepared and are not known to be published. If a checkpoint fails, the next one lists its parts again.
    outstanding: Vec<SinkPart>,
}

/// A part that is being written.
struct OpenPart {
    file: BufWriter<File>,
    bytes: u64,
}

impl FileSink {
    /// Opens the sink and creates its folders if they do not exist.
    pub(in crate::connector) fn open(
        path: &Path,
        encoder: RecordEncoder,
        context: &ConnectorContext,
    ) -> Result<FileSink> {
        FileSink::open_as(path, encoder, context, random_u64())
    }

    pub(super) fn open_as(
        path: &Path,
        encoder: RecordEncoder,
        context: &ConnectorContext,
        token: u64,
    ) -> Result<FileSink> {
        let parts = PartNaming::new(path, context);
        fs::create_dir_all(&parts.pending).map_err(|error| unwritable(&parts.pending, &error))?;
        sync_folder(&parts.folder).map_err(|error| unwritable(&parts.folder, &error))?;
        let folder = fs::canonicalize(&parts.folder).map_err(|error| unwritable(&parts.folder, &error))?;
        let open_path = parts.open_path(context.subtask, token);
        Ok(FileSink {
            parts,
            folder,
            subtask: context.subtask,
            open_path,
            open: None,
            encoder,
            encoded: Vec::new(),
            node: context.node.clone(),
            outstanding: Vec::new(),
        })
    }

    fn open_part(&mut self) -> Result<&mut OpenPart> {
        let file = match self.open.take() {
            Some(open) => open,
            None => {
                fail_point!("sink.create", sink_unwritable);
                let file = File::create(&self.open_path).map_err(|error| unwritable(&self.open_path, &error))?;
                self.encoder.begin_file();
                OpenPart { file: BufWriter::with_capacity(BUFFER_BYTES, file), bytes: 0 }
            }
        };
        Ok(self.open.insert(file))
    }

    /// Syncs the open part to disk and renames it to its pending name.
    fn finish_part(&mut self, checkpoint: u64) -> Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let bytes = open.bytes;
        fail_point!("sink.sync", sink_unwritable);
        let synced = open.file.flush().and_then(|()| open.file.get_ref().sync_all());
        synced.map_err(|error| unwritable(&self.open_path, &error))?;
        let name = self.parts.name(self.subtask, checkpoint);
        let pending = self.parts.pending.join(&name);
        fail_point!("sink.rename", sink_unwritable);
        fs::rename(&self.open_path, &pending).map_err(|error| unwritable(&pending, &error))?;
        self.open = None;
        fail_point!("sink.sync-pending", sink_unwritable);
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
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        self.open_part()?;
        self.encoder.encode(batch, &mut encoded).map_err(|defect| unwritable_record(&self.node, &defect))?;
        let open = self.open_part()?;
        fail_point!("sink.write", sink_unwritable);
        let written = open.file.write_all(&encoded);
        open.bytes += encoded.len() as u64;
        self.encoded = encoded;
        written.map_err(|error| unwritable(&self.open_path, &error))
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>> {
        self.outstanding.retain(|part| fs::exists(self.parts.pending.join(&part.name)).unwrap_or(true));
        self.finish_part(checkpoint)?;
        if self.outstanding.is_empty() {
            return Ok(None);
        }
        committable::encode(&self.folder, &self.outstanding).map(Some)
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.open {
            Some(open) => open.file.flush().map_err(|error| unwritable(&self.open_path, &error)),
            None => Ok(()),
        }
    }
}

impl Drop for FileSink {
    /// Removes the open part, which no checkpoint covers. After a crash the committer removes it.
    fn drop(&mut self) {
        if self.open.is_some() {
            let _ = fs::remove_file(&self.open_path);
        }
    }
}

/// Checks that files can be written below `path` and synced to disk, by writing an unnamed file. Leaves nothing behind, not
/// even folders.
pub(in crate::connector) fn check(path: &Path) -> Result<()> {
    let refused = |path: &Path, error: &io::Error| {
        let hint = "set `path` of the sink to a folder in which this process can create files";
        unwritable(path, error).hint(hint)
    };
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Err(sink_unwritable(format!("`{}` is a file, but a sink needs a folder", path.display())));
    }
    let mut created = CreatedFolders(Vec::new());
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !exists(folder)).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => created.0.push(folder.to_owned()),
            // Another process created the folder meanwhile, so this check must not remove it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(folder, &error)),
        }
    }
    // The file has no name, so a kill during the sync leaves nothing behind.
    let written = tempfile::tempfile_in(path).and_then(|mut file| {
        file.write_all(b"cofferdam\n")?;
        file.sync_all()
    });
    written.map_err(|error| refused(path, &error))?;
    sync_folder(path).map_err(|error| {
        sink_unwritable(format!("the folder `{}` cannot be synced: {error}", path.display()))
            .hint("choose a folder on a file system that supports fsync of folders, which durable output needs")
    })
}

fn exists(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || fs::exists(folder).unwrap_or(false)
}

/// Folders that a check created. Dropping it removes the empty ones, the innermost first.
struct CreatedFolders(Vec<PathBuf>);

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
