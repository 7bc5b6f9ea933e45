//! The standard output and the standard error of this process, each written by a thread of its own.
//!
//! Whoever hands text over never waits for the reader of a pipe or a terminal, and never fails because it is gone. The
//! standard error is lossy: text that does not fit into [`BUFFER_BYTES`] is dropped and counted, and the count is written
//! as soon as there is room. The standard output is exact: [`StandardStream::offer`] refuses what does not fit, and the caller
//! waits, and looks for a cancellation between two waits.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem;
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::escape;

/// Bytes that wait for their reader. A stream takes no more text while it has that many.
const BUFFER_BYTES: usize = 1 << 20;
/// How long a process that ends waits for a reader that takes nothing.
const FLUSH_WAIT: Duration = Duration::from_secs(1);
/// How long the writing thread waits where the reader made the file non-blocking.
const RETRY_WAIT: Duration = Duration::from_millis(5);

/// One standard stream. See the module.
pub struct StandardStream {
    buffer: Mutex<StreamBuffer>,
    changed: Condvar,
    writer: OnceLock<bool>,
    open: fn() -> Box<dyn Write>,
    name: &'static str,
}

struct StreamBuffer {
    bytes: Vec<u8>,
    /// Bytes that were taken so far.
    taken: u64,
    /// Bytes of those that were written, or lost by an error.
    settled: u64,
    /// Lines that were dropped and are not told yet.
    dropped: u64,
    failures: u64,
    failure: Option<ErrorKind>,
}

/// What became of text that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferOutcome {
    /// It will be written. [`StandardStream::is_settled`] tells when, by this number.
    Taken(u64),
    /// There is no room: the reader is behind.
    Full,
}

static STDOUT: StandardStream = StandardStream::new("stdout", || Box::new(io::stdout()));
static STDERR: StandardStream = StandardStream::new("stderr", || Box::new(io::stderr()));

/// The standard output.
pub fn stdout() -> &'static StandardStream {
    &STDOUT
}

/// Writes one line to the standard error, whatever the text holds. Never waits, never fails.
pub fn tell(text: impl Display) {
    tell_lines(escape::one_line(&text.to_string()));
}

/// Writes lines to the standard error. The caller has escaped what it put into a line.
pub fn tell_lines(text: impl Display) {
    STDERR.write_or_drop(format!("{}\n", escape::lines(&text.to_string())).as_bytes());
}

/// Writes to the terminal behind the standard error what draws and moves, as it is.
pub fn draw(text: &str) {
    STDERR.write_or_drop(text.as_bytes());
}

/// Gives the readers of both streams a moment to take what still waits. To be called before the process ends.
pub fn flush() {
    STDERR.flush();
    STDOUT.flush();
}

impl StandardStream {
    const fn new(name: &'static str, open: fn() -> Box<dyn Write>) -> StandardStream {
        let buffer = StreamBuffer { bytes: Vec::new(), taken: 0, settled: 0, dropped: 0, failures: 0, failure: None };
        StandardStream { buffer: Mutex::new(buffer), changed: Condvar::new(), writer: OnceLock::new(), open, name }
    }

    /// Takes the text whole, where less than [`BUFFER_BYTES`] wait.
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

    /// Whether everything up to this number was written, or lost by a failure.
    pub fn is_settled(&self, number: u64) -> bool {
        self.buffer.lock().settled >= number
    }

    /// Waits until something was written, for `timeout` at most.
    pub fn wait(&self, timeout: Duration) {
        let mut buffer = self.buffer.lock();
        if buffer.taken > buffer.settled {
            self.changed.wait_for(&mut buffer, timeout);
        }
    }

    /// How many writes have failed so far, and how the last one did. What they should have written is lost.
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

    /// Waits for text and swaps it into `bytes`, which is empty. Returns how many lines were dropped since the last call.
    fn take(&self, bytes: &mut Vec<u8>) -> u64 {
        let mut buffer = self.buffer.lock();
        while buffer.bytes.is_empty() {
            self.changed.wait(&mut buffer);
        }
        mem::swap(bytes, &mut buffer.bytes);
        mem::take(&mut buffer.dropped)
    }

    /// Writes what is taken, for as long as the process lives.
    fn write_all(&self, mut to: Box<dyn Write>) {
        let mut bytes = Vec::new();
        loop {
            let dropped = self.take(&mut bytes);
            let length = bytes.len() as u64;
            if dropped > 0 {
                let notice =
                    format!("warning: {dropped} lines were dropped here, because nothing read {}\n", self.name);
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
            self.changed.notify_all();
        }
    }
}

/// Like `write_all` and `flush`, also where another process has made the file non-blocking.
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

/// Writes each event of the log as one line of the standard error. For `tracing_subscriber`.
pub struct LogWriter {
    ansi: bool,
}

impl LogWriter {
    /// With colours where the standard error is a terminal.
    pub fn new() -> LogWriter {
        LogWriter { ansi: io::stderr().is_terminal() }
    }

    pub fn has_colours(&self) -> bool {
        self.ansi
    }
}

impl Default for LogWriter {
    fn default() -> LogWriter {
        LogWriter::new()
    }
}

impl Write for &LogWriter {
    /// Takes one event with its line break. What the event's text holds cannot make a second line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        STDERR.write_or_drop(log_line(&String::from_utf8_lossy(event), self.ansi).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one line. Colours that the log's formatter chose stay; it escapes those in the text itself.
fn log_line(event: &str, ansi: bool) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    let mut parts = event.split('\x1b');
    line.push_str(&escape::one_line(parts.next().unwrap_or_default()));
    for part in parts {
        let colour = part.strip_prefix('[').and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            rest[end..].starts_with('m').then_some(end + 2)
        });
        match colour.filter(|_| ansi) {
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

    /// Tells when it is written to, and then waits until the test lets it go on.
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
    fn who_writes_never_waits_for_a_reader_and_what_is_dropped_is_counted() {
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
        while !stream.is_settled(total) {
            stream.wait(LONG);
        }
        let written = String::from_utf8(written.lock().clone()).unwrap();
        assert!(written.starts_with("first\nxxx") && written.len() < BUFFER_BYTES + 200);
        assert!(written.ends_with("xwarning: 2 lines were dropped here, because nothing read test\n"), "{written:.20}");
    }

    #[test]
    fn a_failed_write_is_counted_and_the_stream_goes_on() {
        let StreamFixture { stream, begun, go_on, written } = setup();
        let OfferOutcome::Taken(lost) = stream.offer(b"lost\n") else { panic!("full") };
        go_on.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        begun.recv_timeout(LONG).unwrap();
        while !stream.is_settled(lost) {
            stream.wait(LONG);
        }
        assert_eq!(stream.failures(), (1, Some(ErrorKind::BrokenPipe)));
        let OfferOutcome::Taken(end) = stream.offer(b"there\n") else { panic!("full") };
        // A non-blocking file that is full is tried again, and is no failure.
        go_on.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        go_on.send(Ok(())).unwrap();
        while !stream.is_settled(end) {
            stream.wait(LONG);
        }
        assert_eq!((stream.failures().0, &written.lock()[..]), (1, &b"there\n"[..]));
    }

    #[test]
    fn an_event_of_the_log_is_one_line() {
        let event = "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\nb\u{202e}c \x1b]0;title\x07\n";
        let coloured = "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m a\\nb\\u{202e}c \\u{1b}]0;title\\u{7}\n";
        assert_eq!(log_line(event, true), coloured);
        assert_eq!(log_line(event, false), coloured.replace('\x1b', "\\u{1b}"));
    }
}
