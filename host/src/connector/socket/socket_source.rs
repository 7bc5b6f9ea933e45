//! A source that reads records from a TCP server, like Flink's `socketTextStream`.
//!
//! Subtask 0 holds the only connection; the other subtasks have no records. Records that a crash loses cannot be read
//! again. The system probes a silent connection, so it fails if the peer is gone. A live but silent server is waited for.
//! A connection that is refused or lost is made again, without a failure of the job. A server that closes it ends the input.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::connector::context::ConnectorContext;
use crate::connector::reconnect::Reconnection;
use crate::connector::source::{
    POLL_BYTES_MAX, Poll, RecordLocation, Source, SplitId, UNDECODABLE_BYTES_MAX, UndecodableRecord,
};
use crate::connector::undecodable::{self, SkipLog};
use crate::error::{Result, source_encoding};
use crate::format::records::{Fill, RecordSplitter};
use crate::format::text_start;
use crate::model::{Batch, NO_TIMESTAMP};
use crate::pipeline::{FileFormat, UndecodablePolicy};
use crate::wakeup::Wakeup;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which the peer is probed.
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// Time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Number of unanswered probes after which the connection fails.
const PROBES_MAX: u32 = 3;

/// One subtask's share of a socket source.
pub(super) struct SocketSource {
    address: String,
    format: FileFormat,
    on_undecodable: UndecodablePolicy,
    context: ConnectorContext,
    connection: SocketConnection,
    /// Number of records skipped on earlier connections, and not yet taken.
    skipped: u64,
    skip_log: SkipLog,
    undecodable: Vec<UndecodableRecord>,
}

/// The connection of a subtask.
enum SocketConnection {
    /// All subtasks but the first have none.
    Absent,
    /// The server is away, or has not answered yet.
    Connecting(Reconnection<TcpStream>),
    /// Records arrive.
    Open(Box<RecordSplitter<TcpStream>>),
}

impl SocketSource {
    /// Begins to connect if this is subtask 0.
    pub(super) fn open(
        address: &str,
        format: FileFormat,
        on_undecodable: UndecodablePolicy,
        context: &ConnectorContext,
    ) -> Result<SocketSource> {
        context.policy.check_address(address)?;
        let connection = match context.subtask {
            0 => begin_to_connect(address, context)?,
            _ => SocketConnection::Absent,
        };
        Ok(SocketSource {
            address: address.to_owned(),
            format,
            on_undecodable,
            context: context.clone(),
            connection,
            skipped: 0,
            skip_log: SkipLog::default(),
            undecodable: Vec::new(),
        })
    }

    /// Goes on without the lost connection. The bytes of a record that has not arrived completely are lost with it.
    fn reconnect(&mut self, error: &std::io::Error) -> Result<()> {
        self.context.health.down(format_args!("the connection to `{}` is lost: {error}", self.address));
        self.skipped += self.take_skipped();
        self.connection = begin_to_connect(&self.address, &self.context)?;
        Ok(())
    }

    /// Takes over a new connection. Returns whether there is one.
    fn finish_connecting(&mut self) -> Result<bool> {
        if let SocketConnection::Connecting(reconnection) = &mut self.connection
            && let Some(stream) = reconnection.poll()?
        {
            self.context.health.healthy();
            let records = RecordSplitter::new(stream, self.format, 0).counting_lines();
            self.connection = SocketConnection::Open(Box::new(records));
        }
        Ok(matches!(self.connection, SocketConnection::Open(_)))
    }

    /// Moves complete records from the buffer to `batch`. Returns whether there was any.
    fn take(&mut self, batch: &mut Batch, records: usize) -> bool {
        let SocketConnection::Open(reader) = &mut self.connection else { return false };
        let before = batch.len();
        let (records, bytes) = (before.saturating_add(records), batch.values.bytes().len() + POLL_BYTES_MAX);
        while batch.len() < records && batch.values.bytes().len() < bytes {
            let Some(line) = reader.next_record() else {
                break;
            };
            batch.push(line, NO_TIMESTAMP);
        }
        batch.len() > before
    }

    /// Reads more bytes. Returns how long no record will follow, or `None` at the end of the input.
    fn fill(&mut self) -> Result<Option<Duration>> {
        let SocketConnection::Open(reader) = &mut self.connection else { return Ok(Some(Duration::MAX)) };
        let address = &self.address;
        match reader.fill() {
            // Without a complete record, more bytes may be there already.
            Ok(Fill::More) => {}
            Ok(Fill::Nothing) => return Ok(Some(Duration::MAX)),
            Ok(Fill::End) => return Ok(None),
            Ok(Fill::Broken(defect)) => {
                let error = || undecodable::in_stream(&format!("`{address}`"), defect, |offset| reader.line_of(offset));
                if self.on_undecodable == UndecodablePolicy::Fail {
                    return Err(error());
                }
                if self.on_undecodable == UndecodablePolicy::DeadLetter {
                    let byte = defect.offset();
                    let location = RecordLocation { file: address.clone(), byte, line: reader.line_of(byte) };
                    let value = reader.defective(UNDECODABLE_BYTES_MAX).to_vec();
                    let message = undecodable::reason(defect, &|offset| reader.line_of(offset));
                    self.undecodable.push(UndecodableRecord { value, location: Some(location), message });
                }
                self.skip_log.skip(&self.context.node, error);
                reader.skip();
            }
            Ok(Fill::Foreign(name)) => {
                let message = format!("`{address}` sends {name}, which a source cannot read");
                return Err(source_encoding(message).hint(text_start::hint(name)));
            }
            Err(error) => {
                self.reconnect(&error)?;
                return Ok(Some(Duration::MAX));
            }
        }
        Ok(Some(Duration::ZERO))
    }
}

fn begin_to_connect(address: &str, context: &ConnectorContext) -> Result<SocketConnection> {
    let address = address.to_owned();
    Ok(SocketConnection::Connecting(Reconnection::start(context, move || connect(&address))?))
}

/// Connects to the first address that answers. Returns why none does.
fn connect(address: &str) -> Result<TcpStream, String> {
    let failed = |error| format!("cannot connect to `{address}`: {error}");
    let mut last = std::io::Error::other("the host name has no address");
    for candidate in address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nonblocking(true).map_err(failed)?;
                probe_when_silent(&stream).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn probe_when_silent(stream: &TcpStream) -> std::io::Result<()> {
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL).with_retries(PROBES_MAX);
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

impl Source for SocketSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        if matches!(self.connection, SocketConnection::Absent) {
            return Ok(Poll::End);
        }
        // The thread that connects wakes the subtask.
        if !self.finish_connecting()? {
            return Ok(Poll::Pending(Duration::MAX));
        }
        if self.take(batch, records) {
            return Ok(Poll::Records(SplitId::ONLY));
        }
        let Some(pending) = self.fill()? else { return Ok(Poll::End) };
        Ok(match self.take(batch, records) {
            true => Poll::Records(SplitId::ONLY),
            false => Poll::Pending(pending),
        })
    }

    fn wait(&self, wakeup: &Wakeup, timeout: Duration) {
        match &self.connection {
            SocketConnection::Open(reader) => wakeup.wait_or_readable(reader.input(), timeout),
            SocketConnection::Absent | SocketConnection::Connecting(_) => wakeup.wait(timeout),
        }
    }

    /// Returns no bytes: a connection cannot be read again.
    fn snapshot(&mut self, _checkpoint: u64) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn take_undecodable(&mut self) -> Vec<UndecodableRecord> {
        std::mem::take(&mut self.undecodable)
    }

    fn take_skipped(&mut self) -> u64 {
        let own = match &mut self.connection {
            SocketConnection::Open(reader) => reader.take_skipped(),
            SocketConnection::Absent | SocketConnection::Connecting(_) => 0,
        };
        own + std::mem::take(&mut self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::connector::health::HealthState;
    use crate::connector::testing::{context, drain, observed, subtask_of, wait_until};

    fn open(address: &str, context: &ConnectorContext) -> SocketSource {
        SocketSource::open(address, FileFormat::Lines, UndecodablePolicy::Fail, context).unwrap()
    }

    /// Polls a source until it has read a record, as its subtask does. Returns the records.
    fn read(source: &mut SocketSource) -> Vec<String> {
        wait_until("a record arrives", || {
            let mut batch = Batch::default();
            let polled = source.poll(&mut batch, 10).unwrap();
            assert_ne!(polled, Poll::End);
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            (!batch.is_empty()).then(|| batch.values.iter().map(text).collect())
        })
    }

    #[test]
    fn lines_are_read_until_the_server_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut source = open(&address, &context(Path::new("")));
        let (mut server, _) = listener.accept().unwrap();
        assert!(matches!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::Pending(_)));
        server.write_all(b"one\r\ntwo\n\nlast").unwrap();
        drop(server);
        assert_eq!(drain(&mut source), ["one", "two", "", "last"]);
        assert_eq!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::End);
    }

    #[test]
    fn a_server_that_is_away_is_waited_for_and_one_that_is_lost_is_connected_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let (context, board) = observed(context(Path::new("")));
        let mut source = open(&address, &context);
        let health = wait_until("its health is reported", || {
            assert_eq!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::Pending(Duration::MAX));
            board.of_node(&context.node)
        });
        assert!(health.state == HealthState::Down && health.message.contains(&address), "{health:?}");

        let listener = TcpListener::bind(&address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"one\nhalf a rec").unwrap();
        assert_eq!(read(&mut source), ["one"]);
        assert_eq!(board.of_node(&context.node).unwrap().state, HealthState::Healthy);
        // With this setting, closing resets the connection, as a failing machine does.
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        let accepted = std::thread::spawn(move || listener.accept().unwrap());
        wait_until("it connects again", || {
            assert!(matches!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::Pending(_)));
            accepted.is_finished().then_some(())
        });
        let (mut server, _) = accepted.join().unwrap();
        server.write_all(b"two\n").unwrap();
        assert_eq!(read(&mut source), ["two"]);
        let health = board.of_node(&context.node).unwrap();
        assert_eq!((health.state, health.message.as_str()), (HealthState::Healthy, ""));
    }

    #[test]
    fn only_the_first_subtask_connects() {
        let mut second = open("127.0.0.1:1", &subtask_of(context(Path::new("")), 1, 2));
        assert_eq!(second.poll(&mut Batch::default(), 10).unwrap(), Poll::End);
    }

    /// Sends `bytes` in pieces of `step` bytes. Returns the records, the number of skipped ones, and the error at the end.
    fn sent(
        format: FileFormat,
        on_undecodable: UndecodablePolicy,
        bytes: &[u8],
        step: usize,
    ) -> (Vec<String>, u64, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut source = SocketSource::open(&address, format, on_undecodable, &context(Path::new(""))).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (mut records, mut skipped, mut pieces) = (Vec::new(), 0, bytes.chunks(step));
        let mut server = Some(server.set_nodelay(true).map(|()| &mut server).unwrap());
        loop {
            match pieces.next() {
                Some(piece) => server.as_mut().unwrap().write_all(piece).unwrap(),
                None => drop(server.take().map(|server| server.shutdown(std::net::Shutdown::Both))),
            }
            let mut batch = Batch::default();
            let poll = source.poll(&mut batch, 10);
            records.extend(batch.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()));
            skipped += source.take_skipped();
            match poll {
                Ok(Poll::End) => return (records, skipped, String::new()),
                Ok(_) => {}
                Err(error) => return (records, skipped, error.to_string().replace(&address, "ADDRESS")),
            }
        }
    }

    #[test]
    fn an_unclosed_quote_costs_one_line() {
        let csv = b"a,1\n\nb,\"12 inch\nc,3\nd,\"4\"\n";
        let (records, skipped, error) = sent(FileFormat::Csv, UndecodablePolicy::Skip, csv, 5);
        assert_eq!((records, skipped, error), (vec!["a,1".into(), "c,3".into(), "d,\"4\"".into()], 1, String::new()));
        let (records, _, error) = sent(FileFormat::Csv, UndecodablePolicy::Fail, csv, 5);
        assert_eq!(records, ["a,1"]);
        assert!(error.contains("line 3, byte 7 of the data from `ADDRESS`") && error.contains("line 5"), "{error}");
    }

    #[test]
    fn a_byte_order_mark_is_removed_and_another_encoding_is_an_error() {
        for step in [1, 2, 100] {
            let marked = sent(FileFormat::Lines, UndecodablePolicy::Fail, b"\xef\xbb\xbfone\ntwo\n", step);
            assert_eq!(marked.0, ["one", "two"]);
            let (records, _, error) = sent(FileFormat::Csv, UndecodablePolicy::Skip, b"\xff\xfek\0\n\0", step);
            assert!(records.is_empty() && error.contains("UTF-16") && error.contains("[source-encoding]"), "{error}");
        }
    }

    #[test]
    fn a_silent_connection_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(&listener.local_addr().unwrap().to_string()).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES_MAX);
    }
}
