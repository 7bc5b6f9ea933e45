//! The standard output and the standard error of this process, each written by its own thread.
//!
//! Invariant: a caller never waits for the reader of a pipe or a terminal, and never fails because the reader is gone.
//!
//! The standard error is lossy: text beyond the size of its buffer is dropped and counted. The count is written when there
//! is room. The standard output loses nothing: [`StandardStream::offer`] rejects text that does not fit, and the caller
//! waits until text was written or until it is cancelled.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::SharedClock;
use crate::escape;
use crate::wakeup::Wakeup;

/// Size of a buffer, in bytes. A stream accepts no text while its buffer is full.
const BUFFER_BYTES: usize = 1 << 20;
/// Time that [`flush`] waits for a reader that reads nothing.
const FLUSH_WAIT: Duration = Duration::from_millis(800);
/// Time between two attempts to write to a full non-blocking file.
const RETRY_WAIT: Duration = Duration::from_millis(5);

/// A standard stream with its buffer.
pub struct StandardStream {
    buffer: Mutex<StreamBuffer>,
    changed: Condvar,
    writer: OnceLock<bool>,
    open: fn() -> Box<dyn Write>,
    name: &'static str,
}

/// The text that waits for its reader.
struct StreamBuffer {
    bytes: Vec<u8>,
    /// Total number of accepted bytes.
    taken: u64,
    /// Number of accepted bytes that were written, or lost because of an error.
    settled: u64,
    /// Number of dropped lines that have not been reported.
    dropped: u64,
    /// Number of failed writes.
    failures: u64,
    /// The kind of the last failure.
    failure: Option<ErrorKind>,
    /// Threads to wake after the next write.
    waiting: Vec<Wakeup>,
}

/// The outcome of [`StandardStream::offer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The text was accepted and ends at this stream offset. [`StandardStream::is_settled`] returns whether it was written.
    Taken(u64),
    /// The buffer is full, because the reader is slow.
    Full,
}

impl OfferOutcome {
    /// Returns the stream offset behind the text, if it was accepted.
    pub fn taken(self) -> Option<u64> {
        match self {
            OfferOutcome::Taken(offset) => Some(offset),
            OfferOutcome::Full => None,
        }
    }
}

/// Replaces text of the standard error, see [`redact_stderr`].
static REDACT: OnceLock<RedactText> = OnceLock::new();

/// Returns a text without what must not leave the process.
type RedactText = Box<dyn Fn(&str) -> String + Send + Sync>;

/// Tells the time of lines of the standard error, if they are JSON.
static JSON_CLOCK: OnceLock<SharedClock> = OnceLock::new();

static STDOUT: StandardStream = StandardStream::new("stdout", || Box::new(io::stdout()));
static STDERR: StandardStream = StandardStream::new("stderr", || Box::new(io::stderr()));

/// Returns the standard output.
pub fn stdout() -> &'static StandardStream {
    &STDOUT
}

/// Writes a text as one line of the standard error, and escapes it. Never waits and never fails.
pub fn tell(text: impl Display) {
    tell_lines(escape::one_line(&text.to_string()));
}

/// Replaces text that must not leave the process in all further lines of the standard error. Only the first call has an effect.
pub fn redact_stderr(redact: impl Fn(&str) -> String + Send + Sync + 'static) {
    let _ = REDACT.set(Box::new(redact));
}

/// Returns a text as it may be written to the standard error.
fn redacted(text: String) -> String {
    match REDACT.get() {
        Some(redact) => redact(&text),
        None => text,
    }
}

/// Writes lines to the standard error. The caller must have escaped the content of each line.
pub fn tell_lines(text: impl Display) {
    let text = text.to_string();
    let line = match JSON_CLOCK.get() {
        Some(clock) => json_line(&text, clock.wall_ms()),
        None => format!("{}\n", escape::lines(&text)),
    };
    STDERR.write_or_drop(redacted(line).as_bytes());
}

/// Formats a text as one line like a JSON event of the log.
fn json_line(text: &str, at_ms: i64) -> String {
    let level = match text {
        text if text.starts_with("error: ") || text.starts_with("thread `") => "ERROR",
        text if text.starts_with("warning: ") => "WARN",
        _ => "INFO",
    };
    let timestamp = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let event = serde_json::json!({
        "timestamp": format!("{timestamp:.6}"), "level": level, "message": text, "target": "cofferdam"
    });
    format!("{}\n", escape::json(&event.to_string()))
}

/// Returns whether text for this terminal or file has colors: if it is a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` demands
/// them.
pub fn uses_colors(file: &impl IsTerminal) -> bool {
    wants_colors(file.is_terminal(), |name| std::env::var_os(name))
}

/// Writes text with control sequences to the terminal on the standard error.
pub fn draw(text: &str) {
    STDERR.write_or_drop(text.as_bytes());
}

/// Waits briefly until the readers of both streams have read the buffered text. Call it before the process exits.
pub fn flush() {
    STDERR.flush();
    STDOUT.flush();
}

impl StandardStream {
    const fn new(name: &'static str, open: fn() -> Box<dyn Write>) -> StandardStream {
        let buffer = StreamBuffer {
            bytes: Vec::new(),
            taken: 0,
            settled: 0,
            dropped: 0,
            failures: 0,
            failure: None,
            waiting: Vec::new(),
        };
        StandardStream { buffer: Mutex::new(buffer), changed: Condvar::new(), writer: OnceLock::new(), open, name }
    }

    /// Accepts the whole text, unless the buffer is full.
    pub fn offer(&'static self, text: &[u8]) -> OfferOutcome {
        self.start();
        let mut buffer = self.buffer.lock();
        if buffer.bytes.len() >= BUFFER_BYTES {
            return OfferOutcome::Full;
        }
        buffer.bytes.extend_from_slice(text);
        buffer.taken += text.len() as u64;
        self.changed.notify_all();
        OfferOutcome::Taken(buffer.taken)
    }

    /// Returns whether all text up to this stream offset was written, or lost because of a failure.
    pub fn is_settled(&self, offset: u64) -> bool {
        self.buffer.lock().settled >= offset
    }

    /// Wakes a thread once after the write that is in progress. Returns false if all text has been written, so that it must not
    /// wait.
    pub fn wake_when_written(&self, wakeup: &Wakeup) -> bool {
        let mut buffer = self.buffer.lock();
        let is_writing = buffer.taken > buffer.settled;
        if is_writing {
            buffer.waiting.push(wakeup.clone());
        }
        is_writing
    }

    /// Returns the number of failed writes and the kind of the last failure. The text of a failed write is lost.
    pub fn failures(&self) -> (u64, Option<ErrorKind>) {
        let buffer = self.buffer.lock();
        (buffer.failures, buffer.failure)
    }

    fn write_or_drop(&'static self, text: &[u8]) {
        if self.offer(text) == OfferOutcome::Full {
            self.buffer.lock().dropped += 1;
        }
    }

    fn flush(&self) {
        let mut buffer = self.buffer.lock();
        while buffer.settled < buffer.taken {
            if self.changed.wait_for(&mut buffer, FLUSH_WAIT).timed_out() {
                return;
            }
        }
    }

    fn start(&'static self) {
        self.writer.get_or_init(|| {
            let thread = std::thread::Builder::new().name(self.name.to_owned());
            thread.spawn(move || self.write_all((self.open)())).is_ok()
        });
    }

    /// Waits for text and moves it to `bytes`, which must be empty. Returns the number of lines dropped since the last call.
    fn take(&self, bytes: &mut Vec<u8>) -> u64 {
        let mut buffer = self.buffer.lock();
        while buffer.bytes.is_empty() {
            self.changed.wait(&mut buffer);
        }
        mem::swap(bytes, &mut buffer.bytes);
        mem::take(&mut buffer.dropped)
    }

    /// Writes accepted text until the process exits.
    fn write_all(&self, mut to: Box<dyn Write>) {
        let mut bytes = Vec::new();
        loop {
            let dropped = self.take(&mut bytes);
            let length = bytes.len() as u64;
            if dropped > 0 {
                let notice = format!("warning: {dropped} lines were dropped here because {} was not read", self.name);
                let notice =
                    JSON_CLOCK.get().map_or_else(|| format!("{notice}\n"), |clock| json_line(&notice, clock.wall_ms()));
                bytes.extend_from_slice(notice.as_bytes());
            }
            let written = write_retrying(&mut *to, &bytes);
            bytes.clear();
            let mut buffer = self.buffer.lock();
            buffer.settled += length;
            if let Err(error) = written {
                buffer.failures += 1;
                buffer.failure = Some(error.kind());
            }
            buffer.waiting.drain(..).for_each(|waiting| waiting.wake());
            self.changed.notify_all();
        }
    }
}

/// Works like `write_all` and `flush`, even if another process has made the file non-blocking.
fn write_retrying(to: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_WAIT),
            Err(error) => return Err(error),
        }
    }
    loop {
        match to.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_WAIT),
            flushed => return flushed,
        }
    }
}

/// Writes each log event as one line of the standard error. Used by `tracing_subscriber`.
pub struct LogWriter {
    ansi: bool,
    is_json: bool,
}

impl LogWriter {
    /// Creates a writer of text. It uses colors if the standard error is a terminal, and as `NO_COLOR` and `CLICOLOR_FORCE` say.
    pub fn new() -> LogWriter {
        LogWriter { ansi: uses_colors(&io::stderr()), is_json: false }
    }

    /// Creates a writer of JSON documents. All further lines of the standard error are JSON documents, except what is drawn.
    pub fn json(clock: SharedClock) -> LogWriter {
        let _ = JSON_CLOCK.set(clock);
        LogWriter { ansi: false, is_json: true }
    }

    /// Returns whether the writer uses colors.
    pub fn has_colors(&self) -> bool {
        self.ansi
    }
}

/// Returns whether to use colors, by the conventions of no-color.org and bixense.com/clicolors.
fn wants_colors(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    is_terminal || (is_set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE").is_some_and(|value| value != "0"))
}

impl Default for LogWriter {
    fn default() -> LogWriter {
        LogWriter::new()
    }
}

impl Write for &LogWriter {
    /// Writes one event with its line break. Line breaks in the event's text are escaped.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let event = String::from_utf8_lossy(event);
        let line = match self.is_json {
            true => format!("{}\n", escape::json(event.strip_suffix('\n').unwrap_or(&event))),
            false => log_line(&event, self.ansi),
        };
        STDERR.write_or_drop(redacted(line).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats an event as one line. Keeps the colors of the log formatter; the formatter itself escapes those in the text.
fn log_line(event: &str, ansi: bool) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    let mut parts = event.split('\x1b');
    line.push_str(&escape::one_line(parts.next().unwrap_or_default()));
    for part in parts {
        let color = part.strip_prefix('[').and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            rest[end..].starts_with('m').then_some(end + 2)
        });
        match color.filter(|_| ansi) {
            Some(end) => {
                line.push('\x1b');
                line.push_str(&part[..end]);
                line.push_str(&escape::one_line(&part[end..]));
            }
            None => {
                line.push_str(&escape::one_line("\x1b"));
                line.push_str(&escape::one_line(part));
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Reports each write to the test, and then waits for the test's result.
    struct BlockedWriter {
        begun: Sender<()>,
        go_on: Arc<Mutex<Receiver<io::Result<()>>>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for BlockedWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(());
            if let Ok(result) = self.go_on.lock().recv() {
                result?;
            }
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct StreamFixture {
        stream: &'static StandardStream,
        begun: Receiver<()>,
        go_on: Sender<io::Result<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    /// Waits until all text up to this offset was written, as the sink does.
    fn wait_until_settled(stream: &StandardStream, offset: u64) {
        let wakeup = Wakeup::default();
        while !stream.is_settled(offset) {
            if stream.wake_when_written(&wakeup) {
                wakeup.wait(LONG);
            }
        }
    }

    fn setup() -> StreamFixture {
        let stream: &'static StandardStream = Box::leak(Box::new(StandardStream::new("test", || Box::new(io::sink()))));
        let ((begun_sender, begun), (go_on, waits)) = (channel(), channel());
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let held = BlockedWriter { begun: begun_sender, go_on: Arc::new(Mutex::new(waits)), written: written.clone() };
        stream.writer.set(true).unwrap();
        std::thread::spawn(move || stream.write_all(Box::new(held)));
        StreamFixture { stream, begun, go_on, written }
    }

    #[test]
    fn a_writer_never_waits_for_a_reader_and_dropped_lines_are_counted() {
        let StreamFixture { stream, begun, go_on, written } = setup();
        stream.write_or_drop(b"first\n");
        begun.recv_timeout(LONG).unwrap();
        let line = vec![b'x'; BUFFER_BYTES];
        stream.write_or_drop(&line);
        stream.write_or_drop(b"dropped\n");
        stream.write_or_drop(b"dropped too\n");
        assert_eq!(stream.offer(b"refused"), OfferOutcome::Full);
        go_on.send(Ok(())).unwrap();
        go_on.send(Ok(())).unwrap();
        begun.recv_timeout(LONG).unwrap();
        let total = (BUFFER_BYTES + 6) as u64;
        wait_until_settled(stream, total);
        let written = String::from_utf8(written.lock().clone()).unwrap();
        assert!(written.starts_with("first\nxxx") && written.len() < BUFFER_BYTES + 200);
        assert!(written.ends_with("xwarning: 2 lines were dropped here because test was not read\n"), "{written:.20}");
    }

    #[test]
    fn a_failed_write_is_counted_and_the_stream_continues() {
        let StreamFixture { stream, begun, go_on, written } = setup();
        let OfferOutcome::Taken(lost) = stream.offer(b"lost\n") else { panic!("full") };
        go_on.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        begun.recv_timeout(LONG).unwrap();
        wait_until_settled(stream, lost);
        assert_eq!(stream.failures(), (1, Some(ErrorKind::BrokenPipe)));
        let OfferOutcome::Taken(end) = stream.offer(b"there\n") else { panic!("full") };
        // A full non-blocking file is retried and is not a failure.
        go_on.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        go_on.send(Ok(())).unwrap();
        wait_until_settled(stream, end);
        assert_eq!((stream.failures().0, &written.lock()[..]), (1, &b"there\n"[..]));
    }

    #[test]
    fn a_message_is_a_json_document_like_the_events_of_the_log() {
        let line = json_line("warning: `a\u{202e}\n` is \"odd\"", 1_700_000_000_123);
        assert!(line.ends_with('\n') && line.is_ascii(), "{line}");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&event["level"], &event["timestamp"]), (&"WARN".into(), &"2023-11-14T22:13:20.123000Z".into()));
        assert_eq!(event["message"], "warning: `a\u{202e}\n` is \"odd\"");
    }

    #[test]
    fn a_log_event_is_one_line() {
        let event = "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\nb\u{202e}c \x1b]0;title\x07\n";
        let coloured = "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\\nb\\u{202e}c \\u{1b}]0;title\\u{7}\n";
        assert_eq!(log_line(event, true), coloured);
        assert_eq!(log_line(event, false), coloured.replace('\x1b', "\\u{1b}"));
    }

    #[test]
    fn colors_follow_the_terminal_and_the_variables() {
        for (is_terminal, no_color, force, expected) in [
            (true, None, None, true),
            (false, None, None, false),
            (true, Some("1"), Some("1"), false),
            (true, Some(""), None, true),
            (false, None, Some("1"), true),
            (false, None, Some("0"), false),
        ] {
            let variable = |name: &str| if name == "NO_COLOR" { no_color } else { force }.map(OsString::from);
            assert_eq!(wants_colors(is_terminal, variable), expected, "{is_terminal} {no_color:?} {force:?}");
        }
    }
}
