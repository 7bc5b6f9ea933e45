//! What is in a checkpoint, and its file.
//!
//! All numbers of the header are little endian; the payload is the metadata in postcard:
//!
//! ```text
//! "COFFCKPT" | format u32 | crc32c of the payload u32 | length of the payload u64 | payload
//! ```
//!
//! A field is never changed or moved within a format; what has to change gets the next format, and this module goes
//! on reading the old ones (a fixture of each is kept). Every byte is untrusted until [`CheckpointMetadata::decode`]
//! has checked it.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{format_1, format_2};
use crate::error::{Result, checkpoint_corrupt, internal};
use crate::model::{Counters, MAX_PARALLELISM_LIMIT};
use crate::state::{FileRef, StateHandle};

/// The format that this build writes.
pub(super) const FORMAT: u32 = 3;

const MAGIC: [u8; 8] = *b"COFFCKPT";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// Taken by the host; retired when enough newer ones are complete.
    Checkpoint,
    /// Asked for by a person, who also removes it.
    Savepoint,
    /// Taken when the sources ended.
    Final,
}

impl CheckpointKind {
    pub fn as_str(self) -> &'static str {
        match self {
            CheckpointKind::Checkpoint => "checkpoint",
            CheckpointKind::Savepoint => "savepoint",
            CheckpointKind::Final => "final",
        }
    }
}

/// A job's consistent image. A decoded one is well formed: as many subtasks as `parallelism` says, ids unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// Version of the format.
    pub format: u32,
    pub job_id: String,
    pub job_name: String,
    pub checkpoint_id: u64,
    pub kind: CheckpointKind,
    /// When it was triggered, in milliseconds since the Unix epoch.
    pub taken_at_ms: i64,
    /// The job's: a job that begins with this image goes on with it. Format 1 and images that no job took have none.
    pub seed: Option<u64>,
    pub max_parallelism: u32,
    pub operators: Vec<OperatorMetadata>,
}

/// One node of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMetadata {
    pub id: String,
    pub parallelism: u32,
    pub subtasks: Vec<SubtaskMetadata>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskMetadata {
    /// Of a source: where it goes on.
    pub source_position: Option<Vec<u8>>,
    pub state: Option<StateHandle>,
    /// Broadcast state: the same in every subtask, under key group 0 and an empty key.
    pub broadcast: Option<StateHandle>,
    /// Of an unaligned checkpoint: what was on its way to the chain that begins with this node.
    pub in_flight: Option<FileRef>,
    /// Of a sink: what its committer publishes.
    pub committable: Option<Vec<u8>>,
    pub counters: Counters,
    /// The watermark in milliseconds, for a source that has watermarks and for an operator that waits for event time. The operator
    /// restores it from its state; it is repeated here so that a submit can check it without reading the state.
    pub watermark: Option<i64>,
}

impl SubtaskMetadata {
    /// Its keyed state and its broadcast state.
    pub fn states(&self) -> impl Iterator<Item = &StateHandle> {
        self.state.iter().chain(&self.broadcast)
    }

    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.states().flat_map(|state| &state.files).chain(&self.in_flight)
    }

    fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        let states = self.state.iter_mut().chain(&mut self.broadcast);
        states.flat_map(|state| &mut state.files).chain(&mut self.in_flight)
    }
}

impl CheckpointMetadata {
    /// The version that [`CheckpointMetadata::format`] has in a metadata written by this build.
    pub const FORMAT: u32 = FORMAT;

    /// All files that the image names.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.operators.iter().flat_map(|operator| &operator.subtasks).flat_map(SubtaskMetadata::files)
    }

    pub(super) fn files_mut(&mut self) -> impl Iterator<Item = &mut FileRef> {
        self.operators.iter_mut().flat_map(|operator| &mut operator.subtasks).flat_map(SubtaskMetadata::files_mut)
    }

    /// Length of all files that the image names, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// The images of one node's subtasks, in order; none where the image does not know it.
    pub fn subtasks(&self, node: &str) -> &[SubtaskMetadata] {
        self.operators.iter().find(|image| image.id == node).map_or(&[], |image| &image.subtasks)
    }

    /// The image of one subtask.
    pub fn subtask(&self, node: &str, subtask: u32) -> Option<&SubtaskMetadata> {
        self.subtasks(node).get(subtask as usize)
    }

    /// The bytes of the metadata's file.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if let Some(defect) = self.defect() {
            return Err(internal(format!("the metadata of checkpoint {} {defect}", self.checkpoint_id)));
        }
        let payload = postcard::to_stdvec(self)
            .map_err(|e| internal(format!("the metadata of checkpoint {}: {e}", self.checkpoint_id)))?;
        let mut file = Vec::with_capacity(payload.len() + 24);
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&FORMAT.to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        file.extend_from_slice(&payload);
        Ok(file)
    }

    /// Reads the bytes of the file `path`. Every error is `checkpoint-corrupt` and names the file.
    pub fn decode(path: &str, file: &[u8]) -> Result<CheckpointMetadata> {
        let metadata = decode(file).map_err(|why| checkpoint_corrupt(format!("{path}: {why}")))?;
        match metadata.defect() {
            None => Ok(metadata),
            Some(defect) => Err(checkpoint_corrupt(format!("{path}: it {defect}"))),
        }
    }

    /// What is not well formed about it.
    fn defect(&self) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!("says that it has format {}, not {FORMAT}", self.format));
        }
        let groups = self.max_parallelism;
        if !(1..=MAX_PARALLELISM_LIMIT).contains(&groups) {
            return Some(format!("has a max_parallelism of {groups}"));
        }
        let mut ids = HashSet::new();
        for OperatorMetadata { id, parallelism, subtasks } in &self.operators {
            if !ids.insert(id) {
                return Some(format!("describes `{id}` twice"));
            }
            if *parallelism == 0 || *parallelism > groups || *parallelism as usize != subtasks.len() {
                let count = subtasks.len();
                return Some(format!("describes {count} subtasks of `{id}`, whose parallelism is {parallelism}"));
            }
        }
        None
    }
}

fn decode(file: &[u8]) -> Result<CheckpointMetadata, String> {
    let short = || format!("it ends after {} bytes, inside the header", file.len());
    let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err("it is not a checkpoint's metadata".to_owned());
    }
    let (format, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let format = u32::from_le_bytes(*format);
    if format > FORMAT {
        return Err(format!(
            "it has format {format}, which a newer version of Cofferdam wrote; this one reads up to format {FORMAT}"
        ));
    }
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (length, payload) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let length = u64::from_le_bytes(*length);
    if payload.len() as u64 != length {
        return Err(format!("{} bytes follow the header, which says {length}", payload.len()));
    }
    if crc32c::crc32c(payload) != u32::from_le_bytes(*crc) {
        return Err("its checksum does not match its bytes".to_owned());
    }
    match format {
        FORMAT => from_payload(payload),
        1 => from_payload::<format_1::MetadataV1>(payload).map(CheckpointMetadata::from),
        2 => from_payload::<format_2::MetadataV2>(payload).map(CheckpointMetadata::from),
        _ => Err(format!("there is no format {format}")),
    }
}

fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(payload) {
        Ok((metadata, [])) => Ok(metadata),
        Ok((_, rest)) => Err(format!("{} bytes follow behind the metadata", rest.len())),
        Err(e) => Err(format!("it cannot be decoded: {e}")),
    }
}
