//! A source that reads records from a TCP server, like Flink's `socketTextStream`.
//!
//! Subtask 0 holds the only connection; the other subtasks have no records. Records that a crash loses cannot be read
//! again. The system probes a silent connection, so it fails if the peer is gone. A live but silent server is waited for.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::context::ConnectorContext;
use super::source::{POLL_BYTES_MAX, Poll, RecordLocation, Source, UNDECODABLE_BYTES_MAX, UndecodableRecord};
use super::undecodable::{self, SkipLog};
use crate::error::{Result, source_encoding, source_failed};
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
    node: String,
    address: String,
    on_undecodable: UndecodablePolicy,
    /// The connection; `None` in all subtasks but the first.
    records: Option<RecordSplitter<TcpStream>>,
    skip_log: SkipLog,
    undecodable: Vec<UndecodableRecord>,
}

impl SocketSource {
    /// Connects if this is subtask 0. Error: `source-failed` if the connection is refused.
    pub(super) fn open(
        address: &str,
        format: FileFormat,
        on_undecodable: UndecodablePolicy,
        context: &ConnectorContext,
    ) -> Result<SocketSource> {
        context.policy.check_address(address)?;
        let records = match context.subtask {
            0 => Some(RecordSplitter::new(connect(address)?, format, 0).counting_lines()),
            _ => None,
        };
        let (node, address, skip_log) = (context.node.clone(), address.to_owned(), SkipLog::default());
        Ok(SocketSource { node, address, on_undecodable, records, skip_log, undecodable: Vec::new() })
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let failed = |error| {
        source_failed(format!("cannot connect to `{address}`: {error}"))
            .hint("start the server, or correct `address` of the source")
    };
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

/// Moves complete records from the buffer to `batch`. Returns whether there was any.
fn take(reader: &mut RecordSplitter<TcpStream>, batch: &mut Batch, records: usize) -> bool {
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

impl Source for SocketSource {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let Some(reader) = &mut self.records else {
            return Ok(Poll::End);
        };
        if take(reader, batch, records) {
            return Ok(Poll::Records);
        }
        let address = &self.address;
        // Without a complete record, more bytes may be there already.
        let mut pending = Duration::ZERO;
        match reader.fill() {
            Ok(Fill::More) => {}
            Ok(Fill::Nothing) => pending = Duration::MAX,
            Ok(Fill::End) => return Ok(Poll::End),
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
                self.skip_log.skip(&self.node, error);
                reader.skip();
            }
            Ok(Fill::Foreign(name)) => {
                let message = format!("`{address}` sends {name}, which a source cannot read");
                return Err(source_encoding(message).hint(text_start::hint(name)));
            }
            Err(error) => return Err(source_failed(format!("reading from `{address}` failed: {error}"))),
        }
        Ok(match take(reader, batch, records) {
            true => Poll::Records,
            false => Poll::Pending(pending),
        })
    }

    fn wait(&self, wakeup: &Wakeup, timeout: Duration) {
        match &self.records {
            Some(reader) => wakeup.wait_or_readable(reader.input(), timeout),
            None => wakeup.wait(timeout),
        }
    }

    /// Returns no bytes: a connection cannot be read again.
    fn position(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn take_undecodable(&mut self) -> Vec<UndecodableRecord> {
        std::mem::take(&mut self.undecodable)
    }

    fn take_skipped(&mut self) -> u64 {
        self.records.as_mut().map_or(0, RecordSplitter::take_skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::path::Path;

    use super::super::testing::{context, drain, subtask_of};
    use super::*;

    #[test]
    fn lines_are_read_until_the_server_closes_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut source =
            SocketSource::open(&address, FileFormat::Lines, UndecodablePolicy::Fail, &context(Path::new(""))).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(matches!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::Pending(_)));
        server.write_all(b"one\r\ntwo\n\nlast").unwrap();
        drop(server);
        assert_eq!(drain(&mut source), ["one", "two", "", "last"]);
        assert_eq!(source.poll(&mut Batch::default(), 10).unwrap(), Poll::End);
    }

    #[test]
    fn only_the_first_subtask_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let refused = SocketSource::open(&address, FileFormat::Lines, UndecodablePolicy::Fail, &context(Path::new("")))
            .err()
            .unwrap();
        assert_eq!(refused.code, "source-failed");
        assert!(refused.message.contains(&address), "{refused}");
        let mut second = SocketSource::open(
            &address,
            FileFormat::Lines,
            UndecodablePolicy::Fail,
            &subtask_of(context(Path::new("")), 1, 2),
        )
        .unwrap();
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
