//! Stores the history of a job: lines of JSON in segments below the job's folder.
//!
//! A segment is named by the number of its first event. Events are appended to the newest segment; once that is full, the next one
//! begins, and the oldest one is removed if there are too many. A line that a crash has cut off is removed before the next one is
//! written. An event survives the end of the process, also by a kill. The last ones before a loss of power may be lost: they are not
//! worth a write to the disk each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::clock::SharedClock;
use crate::job::view::{JobEvent, JobEventPage};

/// Size at which a segment is full, in bytes.
const SEGMENT_BYTES: u64 = 1 << 20;
/// Number of segments that are kept.
const SEGMENTS_MAX: usize = 16;
/// Length of a message, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// Size at which a page ends, in bytes.
const PAGE_BYTES: usize = 512 << 10;

/// The history of one job.
pub struct EventLog {
    folder: PathBuf,
    clock: SharedClock,
    segment_bytes: u64,
    /// Where the next event goes. `None` until the first one of this process.
    end: Mutex<Option<LogEnd>>,
}

/// The end of the newest segment. The file is not kept open: a server has many jobs.
struct LogEnd {
    segment: PathBuf,
    bytes: u64,
    /// Number of the next event.
    next: u64,
}

impl EventLog {
    /// Returns the history that is stored below the folder of a job.
    pub fn new(job_dir: &Path, clock: SharedClock) -> EventLog {
        EventLog { folder: job_dir.join("events"), clock, segment_bytes: SEGMENT_BYTES, end: Mutex::default() }
    }

    /// Appends events. Sets their numbers and times. A failure is logged: the job goes on.
    pub fn append(&self, events: Vec<JobEvent>) {
        if events.is_empty() {
            return;
        }
        let mut end = self.end.lock();
        for event in events {
            if let Err(error) = self.append_one(&mut end, event) {
                tracing::warn!("an event of a job is not stored: {}: {error}", self.folder.display());
                // The next event looks for the end once more.
                *end = None;
            }
        }
    }

    fn append_one(&self, end: &mut Option<LogEnd>, mut event: JobEvent) -> io::Result<()> {
        let mut current = match end.take() {
            Some(end) => end,
            None => self.find_end()?,
        };
        event.number = current.next;
        event.at_ms = self.clock.wall_ms();
        if let Some((cut, _)) = event.message.char_indices().nth(MESSAGE_CHARS_MAX) {
            event.message.truncate(cut);
            event.message.push_str("...");
        }
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        if current.bytes > 0 && current.bytes + line.len() as u64 > self.segment_bytes {
            current.segment = self.segment(event.number);
            current.bytes = 0;
            self.remove_oldest()?;
        }
        OpenOptions::new().create(true).append(true).open(&current.segment)?.write_all(&line)?;
        current.bytes += line.len() as u64;
        current.next += 1;
        *end = Some(current);
        Ok(())
    }

    fn segment(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.jsonl"))
    }

    /// Finds the end of the newest segment, and removes what a crash has left behind it.
    fn find_end(&self) -> io::Result<LogEnd> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let Some((first, segment)) = self.segments()?.pop() else {
            return Ok(LogEnd { segment: self.segment(1), bytes: 0, next: 1 });
        };
        let text = fs::read(&segment)?;
        let (mut bytes, mut next) = (0, first);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(event) = parse(line) else { break };
            bytes += line.len() as u64;
            next = event.number + 1;
        }
        if bytes < text.len() as u64 {
            File::options().write(true).open(&segment)?.set_len(bytes)?;
        }
        Ok(LogEnd { segment, bytes, next })
    }

    /// Removes the oldest segments, so that there is room for another one.
    fn remove_oldest(&self) -> io::Result<()> {
        let segments = self.segments()?;
        let surplus = (segments.len() + 1).saturating_sub(SEGMENTS_MAX);
        segments.iter().take(surplus).try_for_each(|(_, segment)| fs::remove_file(segment))
    }

    /// Returns the number of the first event and the path of each segment, oldest first.
    fn segments(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut segments = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let is_segment = path.extension().is_some_and(|extension| extension == "jsonl");
            if let Some(first) = stem.filter(|_| is_segment).and_then(|stem| stem.parse().ok()) {
                segments.push((first, path));
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Returns at most `limit` events: the oldest ones after the event with this number, or else the newest ones.
    pub fn page(&self, after: Option<u64>, limit: usize) -> io::Result<JobEventPage> {
        let segments = self.segments()?;
        let mut page = JobEventPage {
            oldest: segments.first().map(|(first, _)| *first),
            newest: None,
            events: match after {
                Some(after) => events_after(&segments, after, limit)?,
                None => newest_events(&segments, limit)?,
            },
        };
        page.newest = match segments.last() {
            Some((_, segment)) => events_of(segment)?.last().map(|event| event.number),
            None => None,
        };
        page.oldest = page.oldest.filter(|_| page.newest.is_some());
        Ok(page)
    }
}

fn events_after(segments: &[(u64, PathBuf)], after: u64, limit: usize) -> io::Result<Vec<JobEvent>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    // The last segment that begins at or before the first wanted event, and those behind it.
    let begin = segments.partition_point(|(first, _)| *first <= after.saturating_add(1)).saturating_sub(1);
    for (_, segment) in &segments[begin.min(segments.len())..] {
        for event in events_of(segment)?.into_iter().filter(|event| event.number > after) {
            bytes += size_of_event(&event);
            if events.len() >= limit || bytes > PAGE_BYTES {
                return Ok(events);
            }
            events.push(event);
        }
    }
    Ok(events)
}

fn newest_events(segments: &[(u64, PathBuf)], limit: usize) -> io::Result<Vec<JobEvent>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    'segments: for (_, segment) in segments.iter().rev() {
        for event in events_of(segment)?.into_iter().rev() {
            bytes += size_of_event(&event);
            if events.len() >= limit || bytes > PAGE_BYTES {
                break 'segments;
            }
            events.push(event);
        }
    }
    events.reverse();
    Ok(events)
}

/// Returns an upper bound of the size of an event as JSON, in bytes.
fn size_of_event(event: &JobEvent) -> usize {
    512 + 6 * event.message.len()
}

/// Returns the events of a segment, without a line that a crash has cut off. A segment that was removed meanwhile has none.
fn events_of(segment: &Path) -> io::Result<Vec<JobEvent>> {
    let text = match fs::read(segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    Ok(text.split_inclusive(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// Parses a line, which ends with a line break.
fn parse(line: &[u8]) -> Option<JobEvent> {
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::job::view::JobEventKind;

    fn log(folder: &Path) -> EventLog {
        EventLog { segment_bytes: 1000, ..EventLog::new(folder, Arc::<ManualClock>::default()) }
    }

    fn event(message: &str) -> JobEvent {
        JobEvent::new(JobEventKind::Warning, message)
    }

    fn numbers(page: &JobEventPage) -> Vec<u64> {
        page.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn the_history_outlives_its_process_and_a_line_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(log(folder.path()).page(None, 10).unwrap().events, []);
        log(folder.path()).append(vec![event("one"), event("two")]);
        let segment = folder.path().join("events/00000000000000000001.jsonl");
        let whole = fs::read(&segment).unwrap();
        for cut in 1..whole.len() / 2 {
            fs::write(&segment, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(numbers(&log(folder.path()).page(None, 10).unwrap()), [1]);
            let next = log(folder.path());
            next.append(vec![event("again")]);
            let page = next.page(None, 10).unwrap();
            assert_eq!((numbers(&page), &*page.events[1].message), (vec![1, 2], "again"));
        }
    }

    #[test]
    fn the_oldest_segments_are_dropped_and_pages_continue_behind_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        for _ in 0..1000 {
            log.append(vec![event("0123456789")]);
        }
        let segments = fs::read_dir(folder.path().join("events")).unwrap().count();
        assert_eq!(segments, SEGMENTS_MAX);
        let newest = log.page(None, 3).unwrap();
        assert_eq!((numbers(&newest), newest.newest), (vec![998, 999, 1000], Some(1000)));
        let oldest = newest.oldest.unwrap();
        assert!(oldest > 1 && oldest < 998, "{oldest}");
        let mut seen = Vec::new();
        loop {
            let page = log.page(Some(seen.last().copied().unwrap_or(0)), 7).unwrap();
            if page.events.is_empty() {
                break;
            }
            seen.extend(numbers(&page));
        }
        assert_eq!(seen, (oldest..=1000).collect::<Vec<_>>(), "every page goes on where the one before ended");
        assert_eq!(numbers(&log.page(Some(u64::MAX), 7).unwrap()), [0; 0]);
    }

    #[test]
    fn long_messages_and_pages_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::new(folder.path(), Arc::<ManualClock>::default());
        for _ in 0..500 {
            log.append(vec![event(&"\u{1}".repeat(5_000))]);
        }
        let page = log.page(Some(0), 1000).unwrap();
        assert!(page.events.iter().all(|event| event.message.chars().count() == MESSAGE_CHARS_MAX + 3));
        assert!(!page.events.is_empty() && serde_json::to_vec(&page).unwrap().len() < 1 << 20);
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_events_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder.path().join("missing"));
        log.append(vec![event("lost")]);
        assert_eq!(log.page(None, 10).unwrap().events, []);
    }
}
