//! The file source. The files are dealt to the subtasks in turn. The list of files is part of the position: after a
//! restore the subtasks read the files that there were, and none that came later. At another parallelism the files that
//! are not done are dealt anew.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::records::{CHUNK_BYTES, Defect, Fill};
use super::super::undecodable::{self, SkipLog};
use super::super::{ConnectorContext, POLL_BYTES_MAX, Poll, RecordLocation, Source, SourceCheck};
use super::list::{self, FileRecords, UnusableEntries};
use super::locate;
use super::remaining::{PositionSummary, ReadProgress, RemainingFiles, summarize};
use crate::error::{Error, Result, source_failed};
use crate::model::{Batch, Interrupt, NO_TIMESTAMP};
use crate::pipeline::{FileFormat, UndecodablePolicy, ValueFormat};

/// How often one poll may read or open a file: between two polls the subtask looks at barriers and cancellation.
const POLL_STEPS_MAX: usize = (8 << 20) / CHUNK_BYTES;

/// What a file source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connector) struct FileSettings {
    pub(in crate::connector) path: PathBuf,
    pub(in crate::connector) format: FileFormat,
    pub(in crate::connector) header: bool,
    pub(in crate::connector) on_undecodable: UndecodablePolicy,
}

/// See the module.
pub(in crate::connector) struct FileSource {
    node: String,
    settings: FileSettings,
    input: InputPath,
    remaining: RemainingFiles,
    /// The current file, being read.
    open: Option<FileRecords>,
    interrupt: Interrupt,
    skip_log: SkipLog,
    skipped: u64,
    /// Where the last poll began, and how many records it gave.
    last_poll: (ReadProgress, usize),
    /// Where the records of the last poll are from.
    polled: Vec<PolledRun>,
}

/// Records of one poll that follow each other in one file.
struct PolledRun {
    /// The index of the first one among those of the poll.
    first: usize,
    path: PathBuf,
    /// Behind the record in front of the first one.
    offset: u64,
}

/// What reading the current file once came to.
enum ReadStep {
    /// It may have more.
    Open,
    Done,
}

impl FileSource {
    /// Begins, or goes on at `positions`; then the files that are not done must be there, as long as they were.
    pub(in crate::connector) fn open(
        settings: FileSettings,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<FileSource> {
        let input = InputPath::new(context.base_dir.join(&settings.path));
        let remaining = match positions {
            [] => RemainingFiles::all(deal(&input.path, context)?)?,
            positions => RemainingFiles::restore(positions, context)?,
        };
        let mut source = FileSource {
            node: context.node.clone(),
            settings,
            input,
            remaining,
            open: None,
            interrupt: context.interrupt.clone(),
            skip_log: SkipLog::default(),
            skipped: 0,
            last_poll: (ReadProgress::default(), 0),
            polled: Vec::new(),
        };
        if !positions.is_empty() {
            source.check_restored()?;
        }
        Ok(source)
    }

    /// Whether the files that are still to be read are there. Opens the first one that was begun, so that one which is shorter
    /// than it was is told before anything runs.
    fn check_restored(&mut self) -> Result<()> {
        let is_gone = |name: &str| !self.input.file(name).exists();
        if let Some((name, offset)) = self.remaining.files().find(|(name, _)| is_gone(name)) {
            return Err(source_failed(format!(
                "the input file `{name}` of `{}` is gone; the checkpoint has read it up to byte {offset}",
                self.input.path.display()
            ))
            .hint("put it back, or start the job without its state"));
        }
        if !self.remaining.progress.begun.is_empty() {
            self.open_current()?;
        }
        Ok(())
    }

    /// Opens the current file. Answers false where all are done.
    fn open_current(&mut self) -> Result<bool> {
        let FileSettings { format, header, .. } = &self.settings;
        let Some(file) = self.remaining.current() else { return Ok(false) };
        let path = self.input.file(&file.name);
        let (reader, columns) = list::open(&path, *format, *header, file.offset, &self.interrupt)?;
        match (&self.remaining.columns, columns) {
            (Some(known), Some(columns)) if *known != columns => {
                return Err(source_failed(format!(
                    "the header of `{}` is not that of the files before it",
                    path.display()
                ))
                .hint("give each kind of file a folder and a source of its own"));
            }
            (None, Some(columns)) => self.remaining.columns = Some(columns),
            _ => {}
        }
        self.open = Some(reader);
        Ok(true)
    }

    /// Reads from the open file until the batch has `records` records or `bytes` bytes, or until the file must be read on.
    /// What the batch got counts, also in front of an error.
    fn read(&mut self, batch: &mut Batch, records: usize, bytes: usize) -> Result<ReadStep> {
        let Some(reader) = &mut self.open else { return Ok(ReadStep::Done) };
        let before = batch.len();
        while batch.len() < records && batch.values.bytes().len() < bytes {
            let Some(record) = reader.next() else { break };
            batch.push(record, NO_TIMESTAMP);
        }
        let is_full = batch.len() >= records || batch.values.bytes().len() >= bytes;
        let filled = if is_full { Ok(Fill::More) } else { reader.fill() };
        if let Ok(Fill::Broken(defect)) = filled
            && self.settings.on_undecodable == UndecodablePolicy::Skip
        {
            reader.skip();
            let path = self.input.file(self.remaining.current().map_or("", |file| &file.name));
            self.skip_log.skip(&self.node, || undecodable::in_file(&path, defect));
        }
        let offset = reader.offset();
        self.skipped += reader.take_skipped();
        let Some(file) = self.remaining.current() else { return Ok(ReadStep::Done) };
        if batch.len() > before {
            self.polled.push(PolledRun { first: before, path: self.input.file(&file.name), offset: file.offset });
        }
        file.offset = offset;
        file.records += (batch.len() - before) as u64;
        match filled {
            Ok(Fill::More | Fill::Nothing) => Ok(ReadStep::Open),
            Ok(Fill::Broken(_)) if self.settings.on_undecodable == UndecodablePolicy::Skip => Ok(ReadStep::Open),
            Ok(Fill::End) => Ok(ReadStep::Done),
            Ok(Fill::Broken(defect)) => Err(self.failed(offset, ReadFailure::Broken(defect))),
            Ok(Fill::Foreign(name)) => Err(self.failed(offset, ReadFailure::Foreign(name))),
            Err(error) => Err(self.failed(offset, ReadFailure::Read(error))),
        }
    }

    /// The error of the current file. It is opened anew by the next poll, which fails as well: a reader that has failed may
    /// say that its input has ended.
    fn failed(&mut self, offset: u64, failure: ReadFailure) -> Error {
        self.open = None;
        let path = self.input.file(self.remaining.current().map_or("", |file| &file.name));
        match failure {
            ReadFailure::Broken(defect) => undecodable::in_file(&path, defect),
            ReadFailure::Foreign(name) => list::foreign(&path, name),
            ReadFailure::Read(error) => list::read_error(&path, offset, &error),
        }
    }
}

enum ReadFailure {
    Broken(Defect),
    Foreign(&'static str),
    Read(std::io::Error),
}

/// The names of the files that one subtask reads.
fn deal(path: &Path, context: &ConnectorContext) -> Result<Vec<String>> {
    let turns = context.parallelism.max(1) as usize;
    let files = list::list(path, UnusableEntries::PassOver)?.into_iter().map(|file| file.name);
    Ok(files.skip(context.subtask as usize).step_by(turns).collect())
}

/// What a source reads: a file, or the files of a folder.
struct InputPath {
    path: PathBuf,
    /// The name of the file, where it is one.
    file: Option<OsString>,
}

impl InputPath {
    fn new(path: PathBuf) -> InputPath {
        let file = path.file_name().filter(|_| !path.is_dir()).map(OsStr::to_owned);
        InputPath { path, file }
    }

    /// Where the file of this name is.
    fn file(&self, name: &str) -> PathBuf {
        match &self.file {
            Some(file) if file == name => self.path.clone(),
            _ => self.path.join(name),
        }
    }
}

impl Source for FileSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let before = batch.len();
        self.last_poll = (self.remaining.mark()?, 0);
        self.polled.clear();
        let (records, bytes) = (before.saturating_add(records), batch.values.bytes().len() + POLL_BYTES_MAX);
        let mut steps = 0;
        let mut ended = false;
        while !ended && steps < POLL_STEPS_MAX && batch.len() < records && batch.values.bytes().len() < bytes {
            steps += 1;
            if self.open.is_none() && !self.open_current()? {
                ended = true;
                break;
            }
            let step = self.read(batch, records, bytes);
            self.last_poll.1 = batch.len() - before;
            if let ReadStep::Done = step? {
                self.open = None;
                self.remaining.finish_current();
            }
        }
        Ok(match batch.len() > before {
            true => Poll::Records,
            false if ended => Poll::End,
            false => Poll::Pending(Duration::ZERO),
        })
    }

    fn position(&self) -> Result<Vec<u8>> {
        self.remaining.encode()
    }

    fn locate(&self, index: usize, is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        let part = self.polled.iter().rev().find(|part| part.first <= index)?;
        let (settings, nth) = (&self.settings, index - part.first);
        let written = (settings.format, settings.header);
        locate::place_behind(&part.path, written, part.offset, nth, &self.interrupt, is_cancelled)
    }

    fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        let (mark, given) = std::mem::take(&mut self.last_poll);
        self.remaining.go_back(mark);
        self.open = None;
        let mut kept = Batch::default();
        let wanted = given.saturating_sub(records);
        while kept.len() < wanted {
            let left = wanted - kept.len();
            if self.poll(&mut kept, left)? == Poll::End {
                break;
            }
        }
        Ok(())
    }

    fn place(&mut self) -> String {
        match self.remaining.current() {
            Some(file) => undecodable::place_of_record(&self.input.file(&file.name), file.offset, self.settings.format),
            None => format!("the end of `{}`", self.input.path.display()),
        }
    }
}

/// How records are written, with the names of a CSV header's columns. At submit every file is looked at. Of a job that goes on
/// at positions one file that is still to be read is, where the positions do not tell the columns.
pub(in crate::connector) fn check(
    settings: &FileSettings,
    base_dir: &Path,
    begin: SourceCheck<'_>,
) -> Result<ValueFormat> {
    let FileSettings { path, format, header, .. } = settings;
    let path = base_dir.join(path);
    let positions = match begin {
        SourceCheck::Submit => return list::check_all(&path, *format, *header, UnusableEntries::Refuse),
        SourceCheck::Attempt { positions: [] } => {
            return list::check_all(&path, *format, *header, UnusableEntries::PassOver);
        }
        SourceCheck::Attempt { positions } => positions,
    };
    let PositionSummary { columns, first } = summarize(positions)?;
    if columns.is_some() || !header {
        return Ok(list::described(*format, columns));
    }
    // Where nothing is left to read any file tells the columns, and it is no error that none is there any more.
    let first = match first {
        Some(name) => Some(InputPath::new(path).file(&name)),
        None => {
            list::list(&path, UnusableEntries::PassOver).ok().and_then(|files| Some(files.into_iter().next()?.path))
        }
    };
    let columns = first
        .map(|path| list::open(&path, *format, true, 0, &Interrupt::default()))
        .transpose()?
        .and_then(|(_, columns)| columns);
    Ok(list::described(*format, columns))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
