//! Records from a TCP server, lines where nothing else is said, as Flink's `socketTextStream`. One connection, that of subtask 0; the other subtasks have
//! nothing. What was read and is lost with a crash cannot be had again.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::records::{Fill, RECORD_BYTES_MAX, Records};
use super::{ConnectorContext, POLL_BYTES_MAX, Poll, Source};
use crate::error::{Result, source_failed};
use crate::manifest::FileFormat;
use crate::model::{Batch, NO_TIMESTAMP};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one read waits; see [`Source::poll`].
const READ_TIMEOUT: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct SocketSource {
    address: String,
    /// None in all subtasks but the first.
    records: Option<Records<TcpStream>>,
    ended: bool,
}

impl SocketSource {
    /// Connects, in subtask 0. Fails with `source-failed` where no one listens.
    pub(super) fn open(address: &str, format: FileFormat, context: &ConnectorContext) -> Result<SocketSource> {
        let records = match context.subtask {
            0 => Some(Records::new(connect(address)?, format, 0)),
            _ => None,
        };
        Ok(SocketSource { address: address.to_owned(), ended: records.is_none(), records })
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let failed = |error| source_failed(format!("cannot connect to `{address}`: {error}"));
    let mut last = std::io::Error::other("the name has no address");
    for candidate in address.to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(READ_TIMEOUT)).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Gives the lines that are whole in the buffer.
fn take(reader: &mut Records<TcpStream>, batch: &mut Batch, records: usize) -> bool {
    let before = batch.len();
    let (records, bytes) = (before.saturating_add(records), batch.values.bytes().len() + POLL_BYTES_MAX);
    while batch.len() < records && batch.values.bytes().len() < bytes {
        let Some(line) = reader.next() else {
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
        if !self.ended {
            let address = &self.address;
            match reader.fill() {
                Ok(Fill::More) => {}
                Ok(Fill::End) => self.ended = true,
                Ok(Fill::Nothing) => return Ok(Poll::Pending(Duration::ZERO)),
                Ok(Fill::TooLong) => {
                    let limit = RECORD_BYTES_MAX >> 20;
                    return Err(source_failed(format!("a line from `{address}` is longer than {limit} MiB")));
                }
                Err(error) => return Err(source_failed(format!("reading from `{address}` failed: {error}"))),
            }
        }
        Ok(match take(reader, batch, records) {
            true => Poll::Records,
            false if self.ended => Poll::End,
            false => Poll::Pending(Duration::ZERO),
        })
    }

    /// Nothing: a connection cannot go back.
    fn position(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::path::Path;

    use super::super::fixtures::{context, drain, subtask_of};
    use super::*;

    #[test]
    fn lines_come_until_the_server_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut source = SocketSource::open(&address, FileFormat::Lines, &context(Path::new(""))).unwrap();
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
        let refused = SocketSource::open(&address, FileFormat::Lines, &context(Path::new(""))).err().unwrap();
        assert_eq!(refused.code, "source-failed");
        assert!(refused.message.contains(&address), "{refused}");
        let mut second =
            SocketSource::open(&address, FileFormat::Lines, &subtask_of(context(Path::new("")), 1, 2)).unwrap();
        assert_eq!(second.poll(&mut Batch::default(), 10).unwrap(), Poll::End);
    }
}
