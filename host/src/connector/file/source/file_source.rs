//! The file source.
//!
//! The files are dealt out to the subtasks in turn. The list of files is part of the position: after a restore the
//! subtasks read the listed files and no newer ones. At another parallelism the unfinished files are dealt out again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::input_access::InputAccess;
use super::input_path::{FileSettings, InputPath};
use super::line::LineCursor;
use super::list::{UnusableEntries, list};
use super::locate;
use super::open::{self, FileRecords, undecodable_record};
use super::remaining_files::{ReadProgress, RemainingFiles};
use crate::connector::context::ConnectorContext;
use crate::connector::source::{
    HeaderRun, POLL_BYTES_MAX, Poll, RecordLocation, Source, SplitId, UNDECODABLE_BYTES_MAX, UndecodableRecord,
};
use crate::connector::undecodable::{self, SkipLog};
use crate::error::{Error, Result, source_failed};
use crate::format::records::{CHUNK_BYTES, Defect, Fill};
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::{FileFormat, UndecodablePolicy};

/// Maximum number of reads and file opens in one poll. The subtask handles barriers and cancellation between polls.
const POLL_STEPS_MAX: usize = (8 << 20) / CHUNK_BYTES;

/// One subtask's share of a file source.
pub(in crate::connector) struct FileSource {
    node: String,
    settings: FileSettings,
    input: InputPath,
    pub(super) remaining: RemainingFiles,
    /// The open current file.
    open: Option<FileRecords>,
    access: InputAccess,
    skip_log: SkipLog,
    skipped: u64,
    /// The progress before the last poll, and the number of records that it returned.
    last_poll: (ReadProgress, usize),
    /// The origins of the records of the last poll.
    polled: Vec<PolledRun>,
    /// The header of the open file.
    header: Option<(Arc<[String]>, Arc<str>)>,
    /// The headers of the records of the last poll.
    headers: Vec<HeaderRun>,
    undecodable: Vec<UndecodableRecord>,
    lines: LineCursor,
}

/// Consecutive records of one poll that come from one file.
struct PolledRun {
    /// Index of the first record within the poll.
    first: usize,
    path: PathBuf,
    /// Offset in the file behind the preceding record.
    offset: u64,
}

/// The outcome of one read of the current file.
enum ReadStep {
    /// The file may have more records.
    Open,
    /// The file has been read completely.
    Done,
}

impl FileSource {
    /// Starts from the beginning, or continues from `positions`. In the latter case the unfinished files must still exist and
    /// must not be shorter than before.
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
            access: InputAccess::of(context),
            skip_log: SkipLog::default(),
            skipped: 0,
            last_poll: (ReadProgress::default(), 0),
            polled: Vec::new(),
            header: None,
            headers: Vec::new(),
            undecodable: Vec::new(),
            lines: LineCursor::default(),
        };
        if !positions.is_empty() {
            source.check_restored()?;
        }
        Ok(source)
    }

    /// Checks that the remaining files exist. Also opens the first partially read file, so that a file that became shorter is
    /// reported before the job runs.
    fn check_restored(&mut self) -> Result<()> {
        let is_gone = |name: &str| !self.input.file(name).exists();
        if let Some((name, offset)) = self.remaining.files().find(|(name, _)| is_gone(name)) {
            return Err(source_failed(format!(
                "the input file `{name}` of `{}` is gone, but the checkpoint has read it only up to byte {offset}",
                self.input.path.display()
            ))
            .hint("restore the file, or start the job without its state"));
        }
        if !self.remaining.progress.begun.is_empty() {
            self.open_current()?;
        }
        Ok(())
    }

    /// Opens the current file. Returns false if all files are finished.
    fn open_current(&mut self) -> Result<bool> {
        let FileSettings { format, header, .. } = &self.settings;
        let Some(file) = self.remaining.current() else { return Ok(false) };
        let path = self.input.file(&file.name);
        let (reader, columns) = open::open(&path, *format, *header, file.offset, &self.access)?;
        let columns = match columns {
            None if *header && file.offset > 0 => open::open(&path, *format, true, 0, &self.access)?.1,
            columns => columns,
        };
        self.header = columns.as_ref().map(|columns| (columns.as_slice().into(), path.display().to_string().into()));
        match (&self.remaining.columns, columns) {
            (Some(known), Some(columns)) if *known != columns && self.settings.one_header => {
                return Err(source_failed(format!(
                    "the header of `{}` differs from the header of the files before it",
                    path.display()
                ))
                .hint("use a separate folder and source for each kind of file"));
            }
            (None, Some(columns)) => self.remaining.columns = Some(columns),
            _ => {}
        }
        self.open = Some(reader);
        Ok(true)
    }

    /// Moves buffered records of the open file to the batch, up to `records` records or `bytes` bytes. Refills the buffer if
    /// the batch is not full. Records moved before an error count.
    fn read(&mut self, batch: &mut Batch, records: usize, bytes: usize) -> Result<ReadStep> {
        let Some(reader) = &mut self.open else { return Ok(ReadStep::Done) };
        let before = batch.len();
        while batch.len() < records && batch.values.bytes().len() < bytes {
            let Some(record) = reader.next_record() else { break };
            batch.push(record, NO_TIMESTAMP);
        }
        let is_full = batch.len() >= records || batch.values.bytes().len() >= bytes;
        let filled = if is_full { Ok(Fill::More) } else { reader.fill() };
        let is_failing = self.settings.on_undecodable == UndecodablePolicy::Fail;
        if let Ok(Fill::Broken(defect)) = filled
            && !is_failing
        {
            let value = reader.defective(UNDECODABLE_BYTES_MAX).to_vec();
            reader.skip();
            let path = self.input.file(self.remaining.current().map_or("", |file| &file.name));
            let (access, is_cancelled) = (&self.access, || self.access.interrupt.is_set());
            self.skip_log.skip(&self.node, || undecodable_record(&path, defect, access));
            if self.settings.on_undecodable == UndecodablePolicy::DeadLetter {
                let location = self.lines.location(&path, FileFormat::Lines, defect.offset(), access, &is_cancelled);
                let message = undecodable::reason(defect, &|_| None);
                self.undecodable.push(UndecodableRecord { value, location: Some(location), message });
            }
        }
        let offset = reader.offset();
        self.skipped += reader.take_skipped();
        let Some(file) = self.remaining.current() else { return Ok(ReadStep::Done) };
        if batch.len() > before {
            self.polled.push(PolledRun { first: before, path: self.input.file(&file.name), offset: file.offset });
            if let Some((columns, input)) = &self.header
                && self.headers.last().is_none_or(|run| !Arc::ptr_eq(&run.input, input))
            {
                self.headers.push(HeaderRun { first: before, columns: columns.clone(), input: input.clone() });
            }
        }
        file.offset = offset;
        file.records += (batch.len() - before) as u64;
        match filled {
            Ok(Fill::More | Fill::Nothing) => Ok(ReadStep::Open),
            Ok(Fill::Broken(_)) if !is_failing => Ok(ReadStep::Open),
            Ok(Fill::End) => Ok(ReadStep::Done),
            Ok(Fill::Broken(defect)) => Err(self.failed(offset, ReadFailure::Broken(defect))),
            Ok(Fill::Foreign(name)) => Err(self.failed(offset, ReadFailure::Foreign(name))),
            Err(error) => Err(self.failed(offset, ReadFailure::Read(error))),
        }
    }

    /// Returns the error for a failure of the current file, and closes the file. The next poll reopens it and fails again. A
    /// failed reader might instead report the end of its input.
    fn failed(&mut self, offset: u64, failure: ReadFailure) -> Error {
        self.open = None;
        let path = self.input.file(self.remaining.current().map_or("", |file| &file.name));
        match failure {
            ReadFailure::Broken(defect) => undecodable_record(&path, defect, &self.access),
            ReadFailure::Foreign(name) => open::foreign(&path, name),
            ReadFailure::Read(error) => open::read_error(&path, offset, &error),
        }
    }
}

/// The reason why a file cannot be read further.
enum ReadFailure {
    Broken(Defect),
    Foreign(&'static str),
    Read(std::io::Error),
}

/// Returns the names of the files that one subtask reads.
fn deal(path: &Path, context: &ConnectorContext) -> Result<Vec<String>> {
    let turns = context.parallelism.max(1) as usize;
    let files = list(path, &context.policy, UnusableEntries::Skip)?.into_iter().map(|file| file.name);
    Ok(files.skip(context.subtask as usize).step_by(turns).collect())
}

impl Source for FileSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let before = batch.len();
        self.last_poll = (self.remaining.mark()?, 0);
        self.polled.clear();
        self.headers.clear();
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
            true => Poll::Records(SplitId::ONLY),
            false if ended => Poll::End,
            false => Poll::Pending(Duration::ZERO),
        })
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<Vec<u8>> {
        self.remaining.encode()
    }

    fn locate(&self, index: usize, is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        let part = self.polled.iter().rev().find(|part| part.first <= index)?;
        let (settings, nth) = (&self.settings, index - part.first);
        let written = (settings.format, settings.header);
        locate::location_behind(&part.path, written, part.offset, nth, &self.access, is_cancelled)
    }

    fn headers(&self) -> &[HeaderRun] {
        &self.headers
    }

    fn take_undecodable(&mut self) -> Vec<UndecodableRecord> {
        std::mem::take(&mut self.undecodable)
    }

    fn locate_all(&mut self, indexes: &[usize], is_cancelled: &dyn Fn() -> bool) -> Vec<Option<RecordLocation>> {
        let mut locations = Vec::with_capacity(indexes.len());
        let mut indexes = indexes.iter().copied().peekable();
        for (number, run) in self.polled.iter().enumerate() {
            let end = self.polled.get(number + 1).map_or(usize::MAX, |next| next.first);
            let mut wanted = Vec::new();
            while let Some(index) = indexes.next_if(|index| *index < end) {
                wanted.push(index.saturating_sub(run.first));
            }
            let written = (self.settings.format, self.settings.header);
            let offsets = locate::offsets_behind(&run.path, written, run.offset, &wanted, &self.access);
            locations.extend(wanted.iter().enumerate().map(|(place, _)| {
                let byte = *offsets.get(place)?;
                Some(self.lines.location(&run.path, self.settings.format, byte, &self.access, is_cancelled))
            }));
        }
        locations.extend(indexes.map(|_| None));
        locations
    }

    fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        let (mark, given) = std::mem::take(&mut self.last_poll);
        let (skipped, undecodable) = (self.skipped, std::mem::take(&mut self.undecodable));
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
        // What is read again was counted before.
        (self.skipped, self.undecodable) = (skipped, undecodable);
        Ok(())
    }
}
