//! The files that one subtask of a file source has still to read, and their durable form: the source's position.
//!
//! Invariant: at any parallelism, each remaining file belongs to exactly one subtask.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file_names::{FileNames, PackedNames, unpack};
use crate::connector::context::ConnectorContext;
use crate::connector::versioned_bytes;
use crate::error::{Result, checkpoint_corrupt};

/// Version of the positions that are written: [`PositionBytes`]. Version 1 is a list of [`SplitVersion1`].
const VERSION: u8 = 2;

/// Limit on the files in the positions of all subtasks together. Untrusted positions of a few bytes could contain many more.
const FILES_MAX: usize = 4 << 20;

/// A partially read file. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartedFile {
    /// The file's name in its folder.
    pub(super) name: String,
    /// Offset behind the last record, in bytes of the decompressed file.
    pub(super) offset: u64,
    /// Number of records read.
    pub(super) records: u64,
}

/// Totals of the files that were read completely. Durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FinishedFiles {
    pub(super) files: u64,
    pub(super) records: u64,
}

/// The encoded form of a position.
#[derive(Serialize, Deserialize)]
struct PositionBytes {
    done: FinishedFiles,
    begun: Vec<StartedFile>,
    /// Packed names of the unread files, see [`FileNames`], after the first `skip` names.
    names: Vec<u8>,
    skip: u64,
    /// The column names of the header, if one was read.
    columns: Option<Vec<String>>,
}

/// One file in a position of version 1.
#[derive(Deserialize)]
struct SplitVersion1 {
    name: String,
    offset: u64,
    records: u64,
    done: bool,
}

/// The progress of a subtask in its files. Small, so that it can be saved before each poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadProgress {
    pub(super) done: FinishedFiles,
    /// Partially read files, in order of their names. The first one is current. The others were partially read by other
    /// subtasks before a change of parallelism.
    pub(super) begun: Vec<StartedFile>,
    /// Number of names taken from the list.
    taken: usize,
}

/// The files that one subtask has still to read.
#[derive(Debug, Default)]
pub(super) struct RemainingFiles {
    pub(super) progress: ReadProgress,
    names: FileNames,
    pub(super) columns: Option<Vec<String>>,
}

/// The content of one position.
struct DecodedPosition {
    done: FinishedFiles,
    begun: Vec<StartedFile>,
    names: Vec<String>,
    columns: Option<Vec<String>>,
}

impl RemainingFiles {
    /// Starts with all of these files, in this order.
    pub(super) fn all(names: Vec<String>) -> Result<RemainingFiles> {
        Ok(RemainingFiles { names: FileNames::new(names)?, ..RemainingFiles::default() })
    }

    /// Returns the files that a subtask continues with after a restore. If the parallelism is unchanged, each subtask
    /// continues with its own files. Otherwise the files are dealt out in turn.
    pub(super) fn restore(positions: &[&[u8]], context: &ConnectorContext) -> Result<RemainingFiles> {
        let what = format!("the position of source `{}`", context.node);
        let (subtask, parallelism) = (context.subtask as usize, context.parallelism.max(1) as usize);
        if positions.len() == parallelism {
            return positions
                .get(subtask)
                .map_or_else(|| RemainingFiles::all(Vec::new()), |own| decode(own, &what)?.resume());
        }
        let (mut done, mut columns, mut files) = (FinishedFiles::default(), None, Vec::new());
        for position in positions {
            let decoded = decode(position, &what)?;
            done.files = done.files.saturating_add(decoded.done.files);
            done.records = done.records.saturating_add(decoded.done.records);
            columns = columns.or(decoded.columns);
            files.extend(decoded.begun);
            files.extend(decoded.names.into_iter().map(|name| StartedFile { name, offset: 0, records: 0 }));
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(twice) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(checkpoint_corrupt(format!("{what} contains the file `{}` twice", twice[0].name)));
        }
        let own = files.into_iter().skip(subtask).step_by(parallelism);
        let (begun, waiting): (Vec<StartedFile>, Vec<StartedFile>) = own.partition(|file| file.offset > 0);
        let names = waiting.into_iter().map(|file| file.name).collect();
        let done = if subtask == 0 { done } else { FinishedFiles::default() };
        DecodedPosition { done, begun, names, columns }.resume()
    }

    /// Returns the current file, or `None` if all are finished.
    ///
    /// Files are read in order of their names, partially read ones included. Folders are often in order of event time, and
    /// another order would make records late.
    pub(super) fn current(&mut self) -> Option<&mut StartedFile> {
        let is_next = match (self.names.left().first(), self.progress.begun.first()) {
            (Some(name), Some(begun)) => *name < begun.name,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_next {
            let name = self.names.take()?.to_owned();
            self.progress.taken = self.names.taken();
            self.progress.begun.insert(0, StartedFile { name, offset: 0, records: 0 });
        }
        self.progress.begun.first_mut()
    }

    /// Counts the current file as finished.
    pub(super) fn finish_current(&mut self) {
        if !self.progress.begun.is_empty() {
            let file = self.progress.begun.remove(0);
            self.progress.done.files += 1;
            self.progress.done.records += file.records;
        }
    }

    /// Returns every unfinished file, with the offset up to which it was read.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let begun = self.progress.begun.iter().map(|file| (&file.name[..], file.offset));
        begun.chain(self.names.left().iter().map(|name| (&name[..], 0)))
    }

    /// Returns the progress that [`RemainingFiles::go_back`] can return to.
    pub(super) fn mark(&mut self) -> Result<ReadProgress> {
        self.names.trim()?;
        Ok(self.progress.clone())
    }

    /// Returns to the progress of the last mark.
    pub(super) fn go_back(&mut self, mark: ReadProgress) {
        self.names.take_back_to(mark.taken);
        self.progress = mark;
    }

    /// Encodes the position of the source.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let PackedNames { bytes, skip } = self.names.packed();
        let ReadProgress { done, begun, .. } = self.progress.clone();
        let bytes = PositionBytes { done, begun, names: bytes.to_vec(), skip, columns: self.columns.clone() };
        versioned_bytes::encode(VERSION, &bytes)
    }
}

impl DecodedPosition {
    fn resume(self) -> Result<RemainingFiles> {
        let DecodedPosition { done, begun, names, columns } = self;
        let progress = ReadProgress { done, begun, taken: 0 };
        Ok(RemainingFiles { progress, names: FileNames::new(names)?, columns })
    }
}

/// A summary of the positions of all subtasks of a source.
pub(super) struct PositionSummary {
    /// The column names of the header, if a position contains them.
    pub(super) columns: Option<Vec<String>>,
    /// An unfinished file, or `None` if all are finished.
    pub(super) first: Option<String>,
}

/// Summarizes the positions of all subtasks.
pub(super) fn summarize(positions: &[&[u8]]) -> Result<PositionSummary> {
    let mut summarize = PositionSummary { columns: None, first: None };
    let mut files = 0_usize;
    for position in positions {
        let decoded = decode(position, "a position of the source")?;
        files = files.saturating_add(decoded.names.len());
        if files > FILES_MAX {
            return Err(checkpoint_corrupt(format!("the positions of the source contain more than {FILES_MAX} files")));
        }
        summarize.columns = summarize.columns.or(decoded.columns);
        let begun = decoded.begun.into_iter().map(|file| file.name);
        summarize.first = summarize.first.or_else(|| begun.chain(decoded.names).next());
    }
    Ok(summarize)
}

fn decode(position: &[u8], what: &str) -> Result<DecodedPosition> {
    let decoded = match versioned_bytes::version(position) {
        Some(versioned_bytes::VERSION_1) => {
            decode_version_1(versioned_bytes::decode::<Vec<SplitVersion1>>(versioned_bytes::VERSION_1, position, what)?)
        }
        _ => {
            let PositionBytes { done, begun, names, skip, columns } = versioned_bytes::decode(VERSION, position, what)?;
            let names = unpack(&PackedNames { bytes: &names, skip });
            let names = names.map_err(|why| checkpoint_corrupt(format!("{what} cannot be read: {why}")))?;
            DecodedPosition { done, begun, names, columns }
        }
    };
    let names = || decoded.begun.iter().map(|file| &file.name).chain(&decoded.names);
    match names().find(|name| Path::new(name.as_str()).file_name().is_none_or(|own| own != name.as_str())) {
        Some(odd) => Err(checkpoint_corrupt(format!("{what} contains `{odd}`, which is not a file name"))),
        None => Ok(decoded),
    }
}

fn decode_version_1(splits: Vec<SplitVersion1>) -> DecodedPosition {
    let (mut done, mut begun, mut names) = (FinishedFiles::default(), Vec::new(), Vec::new());
    for SplitVersion1 { name, offset, records, done: is_done } in splits {
        if is_done {
            done.files += 1;
            done.records = done.records.saturating_add(records);
        } else if offset > 0 {
            begun.push(StartedFile { name, offset, records });
        } else {
            names.push(name);
        }
    }
    DecodedPosition { done, begun, names, columns: None }
}
