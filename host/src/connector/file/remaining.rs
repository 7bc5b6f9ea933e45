//! What a subtask of a file source has still to read, and its durable form: the source's position.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::{ConnectorContext, position};
use super::names::{Names, Packed, unpack};
use crate::error::{Result, checkpoint_corrupt};

/// The version that is written: [`PositionBytes`]. Version 1 is a list of [`SplitOfVersion1`].
const VERSION: u8 = 2;

/// A file that was begun, and how far it was read. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// The file's name in its folder.
    pub(super) name: String,
    /// Behind the last record, in bytes of the decompressed file.
    pub(super) offset: u64,
    pub(super) records: u64,
}

/// What was read whole. Durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) files: u64,
    pub(super) records: u64,
}

/// A position as it is written.
#[derive(Serialize, Deserialize)]
struct PositionBytes {
    done: Done,
    begun: Vec<Begun>,
    /// Names of files that were not begun, see [`Names`]; the first `skip` are left out.
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
pub(super) struct Progress {
    pub(super) done: Done,
    /// Files that were begun, in order of their names: the one being read is in front of the others, which other subtasks had
    /// begun before a change of parallelism.
    pub(super) begun: Vec<Begun>,
    taken: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    pub(super) progress: Progress,
    names: Names,
    pub(super) columns: Option<Vec<String>>,
}

/// What one position says.
struct Decoded {
    done: Done,
    begun: Vec<Begun>,
    names: Vec<String>,
    columns: Option<Vec<String>>,
}

impl Remaining {
    /// All of these files, in this order.
    pub(super) fn all(names: Vec<String>) -> Result<Remaining> {
        Ok(Remaining { names: Names::new(names)?, ..Remaining::default() })
    }

    /// What a subtask has to read of what all have to. Where there are as many subtasks as there were, each goes on with its own;
    /// else the files are dealt in turn.
    pub(super) fn restore(positions: &[&[u8]], context: &ConnectorContext) -> Result<Remaining> {
        let what = format!("the position of source `{}`", context.node);
        let (subtask, parallelism) = (context.subtask as usize, context.parallelism.max(1) as usize);
        if positions.len() == parallelism {
            return positions
                .get(subtask)
                .map_or_else(|| Remaining::all(Vec::new()), |own| decode(own, &what)?.resume());
        }
        let (mut done, mut columns, mut files) = (Done::default(), None, Vec::new());
        for position in positions {
            let decoded = decode(position, &what)?;
            done.files = done.files.saturating_add(decoded.done.files);
            done.records = done.records.saturating_add(decoded.done.records);
            columns = columns.or(decoded.columns);
            files.extend(decoded.begun);
            files.extend(decoded.names.into_iter().map(|name| Begun { name, offset: 0, records: 0 }));
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(twice) = files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(checkpoint_corrupt(format!("{what} has the file `{}` twice", twice[0].name)));
        }
        let own = files.into_iter().skip(subtask).step_by(parallelism);
        let (begun, waiting): (Vec<Begun>, Vec<Begun>) = own.partition(|file| file.offset > 0);
        let names = waiting.into_iter().map(|file| file.name).collect();
        let done = if subtask == 0 { done } else { Done::default() };
        Decoded { done, begun, names, columns }.resume()
    }

    /// The file that is next, or being read; none where all are done. The files are read in order of their names, whether or not
    /// they were begun: in a folder that is in order of event time, any other order makes records late.
    pub(super) fn current(&mut self) -> Option<&mut Begun> {
        let is_next = match (self.names.left().first(), self.progress.begun.first()) {
            (Some(name), Some(begun)) => *name < begun.name,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_next {
            let name = self.names.take()?.to_owned();
            self.progress.taken = self.names.taken();
            self.progress.begun.insert(0, Begun { name, offset: 0, records: 0 });
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

    /// A place to come back to with [`Remaining::go_back`].
    pub(super) fn mark(&mut self) -> Result<Progress> {
        self.names.trim()?;
        Ok(self.progress.clone())
    }

    pub(super) fn go_back(&mut self, mark: Progress) {
        self.names.take_back_to(mark.taken);
        self.progress = mark;
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let Packed { bytes, skip } = self.names.packed();
        let Progress { done, begun, .. } = self.progress.clone();
        let bytes = PositionBytes { done, begun, names: bytes.to_vec(), skip, columns: self.columns.clone() };
        position::encode(VERSION, &bytes)
    }
}

impl Decoded {
    fn resume(self) -> Result<Remaining> {
        let Decoded { done, begun, names, columns } = self;
        let progress = Progress { done, begun, taken: 0 };
        Ok(Remaining { progress, names: Names::new(names)?, columns })
    }
}

/// What all positions of a source say together.
pub(super) struct Survey {
    pub(super) columns: Option<Vec<String>>,
    /// A file that is still to be read; none where all are done.
    pub(super) first: Option<String>,
}

/// See [`Survey`].
pub(super) fn survey(positions: &[&[u8]]) -> Result<Survey> {
    let mut survey = Survey { columns: None, first: None };
    for position in positions {
        let decoded = decode(position, "a position of the source")?;
        survey.columns = survey.columns.or(decoded.columns);
        let begun = decoded.begun.into_iter().map(|file| file.name);
        survey.first = survey.first.or_else(|| begun.chain(decoded.names).next());
    }
    Ok(survey)
}

fn decode(position: &[u8], what: &str) -> Result<Decoded> {
    let decoded = match position::version(position) {
        Some(position::VERSION_1) => {
            decode_version_1(position::decode::<Vec<SplitOfVersion1>>(position::VERSION_1, position, what)?)
        }
        _ => {
            let PositionBytes { done, begun, names, skip, columns } = position::decode(VERSION, position, what)?;
            let names = unpack(&Packed { bytes: &names, skip });
            let names = names.map_err(|why| checkpoint_corrupt(format!("{what} cannot be read: {why}")))?;
            Decoded { done, begun, names, columns }
        }
    };
    let names = || decoded.begun.iter().map(|file| &file.name).chain(&decoded.names);
    match names().find(|name| Path::new(name.as_str()).file_name().is_none_or(|own| own != name.as_str())) {
        Some(odd) => Err(checkpoint_corrupt(format!("{what} names `{odd}`, which is no name of a file"))),
        None => Ok(decoded),
    }
}

fn decode_version_1(splits: Vec<SplitOfVersion1>) -> Decoded {
    let (mut done, mut begun, mut names) = (Done::default(), Vec::new(), Vec::new());
    for SplitOfVersion1 { name, offset, records, done: is_done } in splits {
        if is_done {
            done.files += 1;
            done.records = done.records.saturating_add(records);
        } else if offset > 0 {
            begun.push(Begun { name, offset, records });
        } else {
            names.push(name);
        }
    }
    Decoded { done, begun, names, columns: None }
}
