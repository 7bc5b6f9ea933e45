//! Reads the blocks of a part, and checks each before its records are used.

use std::io::Read;

use super::part_writer::{BLOCK_HEADER_BYTES, MAGIC};
use super::record::{OutboxRecord, RECORD_BYTES_MAX};
use crate::error::{Error, Result, checkpoint_corrupt, storage_failed};

/// Limit on the payload of a block: a record, and what was in front of it.
const PAYLOAD_BYTES_MAX: usize = RECORD_BYTES_MAX + (1 << 20);

/// Reads one part.
pub(super) struct PartReader<'a> {
    source: Box<dyn Read + 'a>,
    /// Names the part in errors.
    name: String,
    /// Bytes that have not been read.
    bytes_left: u64,
    records_left: u64,
    payload: Vec<u8>,
}

impl<'a> PartReader<'a> {
    /// Reads a part that must have this many bytes and records.
    pub(super) fn new(source: Box<dyn Read + 'a>, name: String, bytes: u64, records: u64) -> Result<PartReader<'a>> {
        let mut reader = PartReader { source, name, bytes_left: bytes, records_left: records, payload: Vec::new() };
        let mut magic = [0; MAGIC.len()];
        reader.read(&mut magic)?;
        match magic == MAGIC {
            true => Ok(reader),
            false => Err(reader.corrupt("it does not begin as a part does")),
        }
    }

    /// Calls `take` with each record of the next block. Returns `false` at the end.
    pub(super) fn next_block<E: From<Error>>(
        &mut self,
        mut take: impl FnMut(&OutboxRecord<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.bytes_left == 0 {
            return match self.records_left {
                0 => Ok(false),
                left => Err(self.corrupt(&format!("{left} records are missing")).into()),
            };
        }
        let records = self.read_block()?;
        let mut rest = self.payload.as_slice();
        for _ in 0..records {
            let record = OutboxRecord::decode(&mut rest);
            let record = record.ok_or_else(|| self.corrupt("a block holds something else than records"))?;
            take(&record)?;
        }
        match rest.is_empty() {
            true => Ok(true),
            false => Err(self.corrupt("bytes follow the records of a block").into()),
        }
    }

    /// Reads the payload of the next block and checks it. Returns the number of records.
    fn read_block(&mut self) -> Result<u32> {
        let mut header = [0; BLOCK_HEADER_BYTES];
        self.read(&mut header)?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (length, records, crc) = (number(1) as usize, number(5), number(9));
        if header[0] != 0 {
            return Err(self.corrupt("a block has an unknown coding"));
        }
        if length > PAYLOAD_BYTES_MAX || length as u64 > self.bytes_left {
            return Err(self.corrupt("a block is longer than the part"));
        }
        if u64::from(records) > self.records_left {
            return Err(self.corrupt("it has too many records"));
        }
        self.records_left -= u64::from(records);
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(length, 0);
        self.read(&mut payload)?;
        let found = crc32c::crc32c_append(crc32c::crc32c(&header[..9]), &payload);
        self.payload = payload;
        match found == crc {
            true => Ok(records),
            false => Err(self.corrupt("the checksum of a block does not match")),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.bytes_left = match self.bytes_left.checked_sub(bytes.len() as u64) {
            Some(left) => left,
            None => return Err(self.corrupt("it ends too early")),
        };
        self.source.read_exact(bytes).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::UnexpectedEof => self.corrupt("it ends too early"),
            _ => storage_failed(format!("{}: {cause}", self.name)),
        })
    }

    fn corrupt(&self, why: &str) -> Error {
        checkpoint_corrupt(format!("{}: {why}", self.name))
    }
}
