//! The file sink: one file (part) per subtask and checkpoint.
//!
//! Values between two checkpoints go to an open part. `prepare` seals it. The upload of the checkpoint syncs it to disk under its
//! pending name (`sealed_part`), and the committer publishes it by a rename.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committable::{self, is_absent};
use super::sealed_part::{SealedPart, SealedPartState};
use super::sink_part::{PartNaming, SinkPart, unwritable};
use crate::access::{AccessPolicy, denied_or};
use crate::clock::random_u64;
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Prepared, Sink, unwritable_record};
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
    /// Makes the name of the open part unique, so that neither a sealed part nor a leftover from before a restart collides.
    token: u64,
    /// Name of the open part.
    open_name: String,
    /// Path of the open part, for messages.
    pub(super) open_path: PathBuf,
    open: Option<OpenPart>,
    encoder: RecordEncoder,
    /// The records of one batch, kept for their allocation.
    encoded: Vec<u8>,
    node: String,
    /// Parts that were sealed and are not known to be published. If a checkpoint fails, the next one lists its parts again.
    outstanding: Vec<Arc<SealedPart>>,
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
            token,
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

    /// Ends the open part, if there is one.
    fn seal_part(&mut self, checkpoint: u64) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.flush().map_err(|error| unwritable(&self.open_path, &error))?;
        // A part that is gone fails this subtask here, and not all of the job in the upload.
        let found = self.parts.folder.open_pending().and_then(|pending| pending.file_length(&self.open_name));
        found.map_err(|error| unwritable(&self.open_path, &error))?;
        let file = open.file.get_ref().try_clone().map_err(|error| unwritable(&self.open_path, &error))?;
        let part = SinkPart { name: self.parts.name(self.subtask, checkpoint), bytes: open.bytes };
        self.outstanding.push(SealedPart::new(part, file, &self.open_name, &self.parts.folder));
        self.open = None;
        self.token = self.token.wrapping_add(1);
        self.open_name = self.parts.open_name(self.subtask, self.token);
        self.open_path = self.parts.folder.pending_path().join(&self.open_name);
        Ok(())
    }

    /// Drops the parts that were published. Error: `sink-unwritable` if the records of a part may be lost.
    fn check_outstanding(&mut self) -> Result<()> {
        for part in &self.outstanding {
            part.check()?;
        }
        if !self.outstanding.is_empty()
            && let Ok(pending) = self.parts.folder.open_pending()
        {
            self.outstanding.retain(|part| {
                part.state() != SealedPartState::Pending
                    || pending.file_length(&part.part.name).map_or_else(|error| !is_absent(&error), |_| true)
            });
        }
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

    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared> {
        self.check_outstanding()?;
        self.seal_part(checkpoint)?;
        if self.outstanding.is_empty() {
            return Ok(Prepared::default());
        }
        let parts: Vec<SinkPart> = self.outstanding.iter().map(|part| part.part.clone()).collect();
        let is_unfinished = |part: &&Arc<SealedPart>| part.state() != SealedPartState::Pending;
        let unfinished: Vec<Arc<SealedPart>> = self.outstanding.iter().filter(is_unfinished).cloned().collect();
        Ok(Prepared {
            committable: Some(committable::encode(&self.folder, &parts)?),
            files: Vec::new(),
            finish: Some(Box::new(move || unfinished.iter().try_for_each(|part| part.finish()))),
        })
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
