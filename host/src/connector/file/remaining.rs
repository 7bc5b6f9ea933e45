//! What a subtask of a file source has still to read, and its durable form: the source's position.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{ConnectorContext, position};
use super::names::{FileNames, PackedNames, unpack};
use crate::error::{Result, checkpoint_corrupt};

/// The version that is written: [`PositionBytes`]. Version 1 is a list of [`SplitOfVersion1`].
const VERSION: u8 = 2;

/// A file that was begun, and how far it was read. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartedFile {
    /// The file's name in its folder.
    pub(super) name: String,
    /// Behind the last record, in bytes of the decompressed file.
    pub(super) offset: u64,
    pub(super) records: u64,
}

/// What was read whole. Durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FinishedFiles {
    pub(super) files: u64,
    pub(super) records: u64,
}

/// A position as it is written.
#[derive(Serialize, Deserialize)]
struct PositionBytes {
    done: FinishedFiles,
    begun: Vec<StartedFile>,
    /// Names of files that were not begun, see [`FileNames`]; the first `skip` are left out.
    names: Vec<u8>,
    skip: u64,
    /// What the header of the files names, where one was read.
    columns: Option<Vec<String>>,
}

/// A file in a position of version 1.
#[derive(Deserialize)]
struct SplitOfVersion1 {
    name: String,
    offset: u64,
    records: u64,
    done: bool,
}

/// How far a subtask is among its files; small, so that it can be kept to come back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadProgress {
    pub(super) done: FinishedFiles,
    /// Files that were begun, in order of their names: the one being read is in front of the others, which other subtasks had
    /// begun before a change of parallelism.
    pub(super) begun: Vec<StartedFile>,
    taken: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RemainingFiles {
    pub(super) progress: ReadProgress,
    names: FileNames,
    pub(super) columns: Option<Vec<String>>,
}

/// What one position says.
struct DecodedPosition {
    done: FinishedFiles,
    begun: Vec<StartedFile>,
    names: Vec<String>,
    columns: Option<Vec<String>>,
}

impl RemainingFiles {
    /// All of these files, in this order.
    pub(super) fn all(names: Vec<String>) -> Result<RemainingFiles> {
        Ok(RemainingFiles { names: FileNames::new(names)?, ..RemainingFiles::default() })
    }

    /// What a subtask has to read of what all have to. Where there are as many subtasks as there were, each goes on with its own;
    /// else the files are dealt in turn.
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
            return Err(checkpoint_corrupt(format!("{what} has the file `{}` twice", twice[0].name)));
        }
        let own = files.into_iter().skip(subtask).step_by(parallelism);
        let (begun, waiting): (Vec<StartedFile>, Vec<StartedFile>) = own.partition(|file| file.offset > 0);
        let names = waiting.into_iter().map(|file| file.name).collect();
        let done = if subtask == 0 { done } else { FinishedFiles::default() };
        DecodedPosition { done, begun, names, columns }.resume()
    }

    /// The file that is next, or being read; none where all are done. The files are read in order of their names, whether or not
    /// they were begun: in a folder that is in order of event time, any other order makes records late.
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

    /// The current file was read whole.
    pub(super) fn finish_current(&mut self) {
        if !self.progress.begun.is_empty() {
            let file = self.progress.begun.remove(0);
            self.progress.done.files += 1;
            self.progress.done.records += file.records;
        }
    }

    /// Every file that is not done, with the offset behind what was read of it.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let begun = self.progress.begun.iter().map(|file| (&file.name[..], file.offset));
        begun.chain(self.names.left().iter().map(|name| (&name[..], 0)))
    }

    /// A place to come back to with [`RemainingFiles::go_back`].
    pub(super) fn mark(&mut self) -> Result<ReadProgress> {
        self.names.trim()?;
        Ok(self.progress.clone())
    }

    pub(super) fn go_back(&mut self, mark: ReadProgress) {
        self.names.take_back_to(mark.taken);
        self.progress = mark;
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let PackedNames { bytes, skip } = self.names.packed();
        let ReadProgress { done, begun, .. } = self.progress.clone();
        let bytes = PositionBytes { done, begun, names: bytes.to_vec(), skip, columns: self.columns.clone() };
        position::encode(VERSION, &bytes)
    }
}

impl DecodedPosition {
    fn resume(self) -> Result<RemainingFiles> {
        let DecodedPosition { done, begun, names, columns } = self;
        let progress = ReadProgress { done, begun, taken: 0 };
        Ok(RemainingFiles { progress, names: FileNames::new(names)?, columns })
    }
}

/// What all positions of a source say together.
pub(super) struct PositionSummary {
    pub(super) columns: Option<Vec<String>>,
    /// A file that is still to be read; none where all are done.
    pub(super) first: Option<String>,
}

/// See [`PositionSummary`].
pub(super) fn summarize(positions: &[&[u8]]) -> Result<PositionSummary> {
    let mut summarize = PositionSummary { columns: None, first: None };
    for position in positions {
        let decoded = decode(position, "a position of the source")?;
        summarize.columns = summarize.columns.or(decoded.columns);
        let begun = decoded.begun.into_iter().map(|file| file.name);
        summarize.first = summarize.first.or_else(|| begun.chain(decoded.names).next());
    }
    Ok(summarize)
}

fn decode(position: &[u8], what: &str) -> Result<DecodedPosition> {
    let decoded = match position::version(position) {
        Some(position::VERSION_1) => {
            decode_version_1(position::decode::<Vec<SplitOfVersion1>>(position::VERSION_1, position, what)?)
        }
        _ => {
            let PositionBytes { done, begun, names, skip, columns } = position::decode(VERSION, position, what)?;
            let names = unpack(&PackedNames { bytes: &names, skip });
            let names = names.map_err(|why| checkpoint_corrupt(format!("{what} cannot be read: {why}")))?;
            DecodedPosition { done, begun, names, columns }
        }
    };
    let names = || decoded.begun.iter().map(|file| &file.name).chain(&decoded.names);
    match names().find(|name| Path::new(name.as_str()).file_name().is_none_or(|own| own != name.as_str())) {
        Some(odd) => Err(checkpoint_corrupt(format!("{what} names `{odd}`, which is no name of a file"))),
        None => Ok(decoded),
    }
}

fn decode_version_1(splits: Vec<SplitOfVersion1>) -> DecodedPosition {
    let (mut done, mut begun, mut names) = (FinishedFiles::default(), Vec::new(), Vec::new());
    for SplitOfVersion1 { name, offset, records, done: is_done } in splits {
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
