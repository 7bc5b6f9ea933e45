//! The file sink: one file (part) per subtask and checkpoint.
//!
//! Values between two checkpoints go to an open part. `prepare` syncs it to disk under its pending name. The committer
//! publishes it by a rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::committable::{self, is_absent};
use super::sink_part::{PartNaming, SinkPart, unwritable};
use crate::access::{AccessPolicy, denied_or};
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
    /// Name of the open part. It is unique to this sink, so a leftover from before a restart does not collide.
    open_name: String,
    /// Path of the open part, for messages.
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
        let failed = |error: io::Error| unwritable(parts.folder.path(), &error);
        parts.folder.create().map_err(failed)?;
        let folder = fs::canonicalize(parts.folder.path()).map_err(failed)?;
        let open_name = parts.open_name(context.subtask, token);
        Ok(FileSink {
            folder,
            subtask: context.subtask,
            open_path: parts.folder.pending_path().join(&open_name),
            open_name,
            parts,
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
                let file = self.parts.folder.create_open_part(&self.open_name);
                let file = file.map_err(|error| unwritable(&self.open_path, &error))?;
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
        let folder = &self.parts.folder;
        fail_point!("sink.rename", sink_unwritable);
        let renamed = folder.rename_to_pending(&self.open_name, &name);
        renamed.map_err(|error| unwritable(&folder.pending_path().join(&name), &error))?;
        self.open = None;
        fail_point!("sink.sync-pending", sink_unwritable);
        folder.sync_pending().map_err(|error| unwritable(&folder.pending_path(), &error))?;
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
        if !self.outstanding.is_empty()
            && let Ok(pending) = self.parts.folder.open_pending()
        {
            self.outstanding
                .retain(|part| pending.file_length(&part.name).map_or_else(|error| !is_absent(&error), |_| true));
        }
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
            let _ = self.parts.folder.open_pending().and_then(|pending| pending.remove_file(&self.open_name));
        }
    }
}

/// Checks that files can be written below `path` and synced to disk, by writing an unnamed file. Leaves nothing behind, not
/// even folders. Errors: `path-denied`, `sink-unwritable`.
pub(in crate::connector) fn check(path: &Path, policy: &AccessPolicy) -> Result<()> {
    let refused = |error: io::Error| {
        denied_or(&error, || {
            unwritable(path, &error).hint("set `path` of the sink to a folder in which this process can create files")
        })
    };
    policy.check_path(path).map_err(refused)?;
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Err(sink_unwritable(format!("`{}` is a file, but a sink needs a folder", path.display())));
    }
    let created = policy.create_folder(path).map_err(refused)?;
    // The file has no name, so a kill during the sync leaves nothing behind.
    let name = format!(".cofferdam-check-{:016x}", random_u64());
    let written = created.folder.unnamed_file(&name).and_then(|mut file| {
        file.write_all(b"cofferdam\n")?;
        file.sync_all()
    });
    let synced = created.folder.sync();
    created.undo();
    written.map_err(refused)?;
    synced.map_err(|error| {
        sink_unwritable(format!("the folder `{}` cannot be synced: {error}", path.display()))
            .hint("choose a folder on a file system that supports fsync of folders, which durable output needs")
    })
}
