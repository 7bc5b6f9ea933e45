//! The file source. A file is a split; the files are dealt to the subtasks in turn. The list of files is part of the
//! position: after a restore the subtasks read the files that there were, and none that came later. At another
//! parallelism the files that are not done are dealt anew, and so are the others, so that each stays in the list once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::position;
use super::super::records::Fill;
use super::super::{ConnectorContext, InputPlace, POLL_BYTES_MAX, Poll, Source};
use super::list::{InputFile, Reader, list, open, read_error, too_long};
use super::locate;
use crate::error::{Result, checkpoint_corrupt, source_failed};
use crate::manifest::FileFormat;
use crate::model::{Batch, Interrupt, NO_TIMESTAMP};

/// How far a file was read. Durable: part of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Split {
    /// The file's name in its folder.
    name: String,
    /// Behind the last record, in bytes of the decompressed file.
    offset: u64,
    records: u64,
    done: bool,
}

/// See the module.
pub(in crate::connector) struct FileSource {
    path: PathBuf,
    format: FileFormat,
    header: bool,
    splits: Vec<Split>,
    /// Where each file that is still to be read is.
    paths: HashMap<String, PathBuf>,
    /// The first split that is not done, being read.
    open: Option<Reader>,
    interrupt: Interrupt,
    /// Where the records of the last poll are from, by files.
    polled: Vec<PolledPart>,
}

/// Records of one poll that follow each other in one file.
struct PolledPart {
    /// The index of the first one among those of the poll.
    first: usize,
    /// The file, by its place in the list.
    split: usize,
    /// Behind the record in front of the first one.
    offset: u64,
}

impl FileSource {
    /// Begins, or goes on at `positions`; then the files that are not done must be there, as long as they were.
    pub(in crate::connector) fn open(
        path: &Path,
        format: FileFormat,
        header: bool,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<FileSource> {
        let path = context.base_dir.join(path);
        let (splits, paths, interrupt) = (Vec::new(), HashMap::new(), context.interrupt.clone());
        let mut source = FileSource { path, format, header, splits, paths, open: None, polled: Vec::new(), interrupt };
        match positions {
            [] => source.deal(context)?,
            positions => source.restore(positions, context)?,
        }
        Ok(source)
    }

    fn deal(&mut self, context: &ConnectorContext) -> Result<()> {
        let turns = context.parallelism.max(1) as usize;
        for InputFile { name, path } in list(&self.path)?.into_iter().skip(context.subtask as usize).step_by(turns) {
            self.splits.push(Split { name: name.clone(), offset: 0, records: 0, done: false });
            self.paths.insert(name, path);
        }
        Ok(())
    }

    fn restore(&mut self, positions: &[&[u8]], context: &ConnectorContext) -> Result<()> {
        self.splits = share(positions, context)?;
        if self.splits.iter().all(|split| split.done) {
            return Ok(());
        }
        let path = self.path.display();
        let files = list(&self.path).map_err(|error| source_failed(error.message))?;
        self.paths = files.into_iter().map(|file| (file.name, file.path)).collect();
        if let Some(lost) = self.splits.iter().find(|split| !split.done && !self.paths.contains_key(&split.name)) {
            let (name, offset) = (&lost.name, lost.offset);
            return Err(source_failed(format!(
                "the input file `{name}` of `{path}` is gone; the checkpoint has read it up to byte {offset}"
            ))
            .hint("put it back, or start the job without its state"));
        }
        // The one begun is opened now, so that a file which is shorter than it was is told before anything runs.
        self.open_next()?;
        Ok(())
    }

    /// Opens the first split that is not done. Answers false where all are.
    fn open_next(&mut self) -> Result<bool> {
        let Some(split) = self.splits.iter().find(|split| !split.done) else {
            return Ok(false);
        };
        let path = path_of(&self.paths, split)?;
        self.open = Some(open(path, self.format, self.header, split.offset, &self.interrupt)?);
        Ok(true)
    }

    /// Reads from the open split until the batch has `records` records or `bytes` bytes, or until the split ends.
    fn read(&mut self, batch: &mut Batch, records: usize, bytes: usize) -> Result<()> {
        let first_open = self.splits.iter_mut().enumerate().find(|(_, split)| !split.done);
        let (Some(reader), Some((at, split))) = (&mut self.open, first_open) else { return Ok(()) };
        let before = batch.len();
        self.polled.push(PolledPart { first: before, split: at, offset: split.offset });
        let mut ended = false;
        while batch.len() < records && batch.values.bytes().len() < bytes {
            if let Some(record) = reader.next() {
                batch.push(record, NO_TIMESTAMP);
                continue;
            }
            if ended {
                split.done = true;
                break;
            }
            match reader.fill() {
                Ok(Fill::More) => {}
                Ok(Fill::End | Fill::Nothing) => ended = true,
                Ok(Fill::TooLong) => return Err(too_long(path_of(&self.paths, split)?, self.format, reader.offset())),
                Err(error) => return Err(read_error(path_of(&self.paths, split)?, reader.offset(), &error)),
            }
        }
        split.offset = reader.offset();
        split.records += (batch.len() - before) as u64;
        if split.done {
            self.open = None;
        }
        Ok(())
    }
}

/// What a subtask has to read of what all have to.
fn share(positions: &[&[u8]], context: &ConnectorContext) -> Result<Vec<Split>> {
    let what = format!("the position of source `{}`", context.node);
    let decode = |position: &&[u8]| position::decode::<Vec<Split>>(position::VERSION_1, position, &what);
    let (subtask, parallelism) = (context.subtask as usize, context.parallelism.max(1) as usize);
    if positions.len() == parallelism {
        return positions.get(subtask).map_or_else(|| Ok(Vec::new()), decode);
    }
    let mut all: Vec<Split> = Vec::new();
    for position in positions {
        all.extend(decode(position)?);
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(twice) = all.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(checkpoint_corrupt(format!("{what} has the file `{}` twice", twice[0].name)));
    }
    let (done, open): (Vec<Split>, Vec<Split>) = all.into_iter().partition(|split| split.done);
    let turn = |splits: Vec<Split>| splits.into_iter().skip(subtask).step_by(parallelism);
    Ok(turn(open).chain(turn(done)).collect())
}

fn path_of<'a>(paths: &'a HashMap<String, PathBuf>, split: &Split) -> Result<&'a Path> {
    let path = paths.get(&split.name).map(PathBuf::as_path);
    path.ok_or_else(|| source_failed(format!("the input file `{}` is gone", split.name)))
}

impl Source for FileSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let before = batch.len();
        self.polled.clear();
        let (records, bytes) = (before.saturating_add(records), batch.values.bytes().len() + POLL_BYTES_MAX);
        while batch.len() < records && batch.values.bytes().len() < bytes {
            if self.open.is_none() && !self.open_next()? {
                break;
            }
            self.read(batch, records, bytes)?;
        }
        Ok(if batch.len() > before { Poll::Records } else { Poll::End })
    }

    fn position(&self) -> Result<Vec<u8>> {
        position::encode(position::VERSION_1, &self.splits)
    }

    fn locate(&self, index: usize, is_cancelled: &dyn Fn() -> bool) -> Option<InputPlace> {
        let part = self.polled.iter().rev().find(|part| part.first <= index)?;
        let path = path_of(&self.paths, self.splits.get(part.split)?).ok()?;
        locate::place_behind(
            path,
            (self.format, self.header),
            part.offset,
            index - part.first,
            &self.interrupt,
            is_cancelled,
        )
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
