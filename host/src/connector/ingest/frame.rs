//! The frames of a segment. A frame holds the records of one request, so that all of them are durable or none.
//!
//! ```text
//! header, 40 bytes     crc of the rest · bytes of the payload · crc of the payload · records · group · sequence · first record
//! payload              received · event time · key · hash of the body · attributes · lengths of the records · records
//! padding              to a multiple of 8 bytes
//! ```
//!
//! All numbers are little-endian. Both checksums begin with the salt of the log, which no client knows. So bytes in a body never look
//! like a frame, although clients choose them. Must not read or write files.

use std::ops::Range;

use crate::model::NO_TIMESTAMP;

/// Size of a frame's header.
pub(super) const FRAME_HEADER_BYTES: usize = 40;

/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGNMENT: usize = 8;

/// Size of the part of a payload that each frame has.
const PAYLOAD_FIXED_BYTES: usize = 8 + 8 + 16 + 8 + 4;

/// The idempotency key of a request, and the hash of the body that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Hash of the key. Never 0.
    pub hash: u128,
    /// Hash of the body.
    pub body: u64,
}

/// The records of one request, before they have a place in the log.
pub struct NewRequest<'a> {
    /// When the request was received, in milliseconds since the Unix epoch.
    pub received_ms: i64,
    /// The event time of its records, if the request has one.
    pub event_ms: Option<i64>,
    /// The idempotency key, if the request has one.
    pub key: Option<RequestKey>,
    /// The attributes of each record, in the encoding of the contract.
    pub attributes: &'a [u8],
    /// The body.
    pub body: &'a [u8],
    /// The records, as parts of the body. Not empty.
    pub records: &'a [Range<usize>],
}

/// An encoded frame without its place in the log: [`FrameHeader::place`] completes its header.
pub struct EncodedFrame {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u32,
    pub(super) key: Option<RequestKey>,
    pub(super) received_ms: i64,
    payload_bytes: u32,
}

impl EncodedFrame {
    /// Encodes the records of a request for a log with this salt. Returns `None` if they exceed 1 GiB.
    pub fn encode(request: &NewRequest<'_>, salt: u64) -> Option<EncodedFrame> {
        let content: usize = request.records.iter().map(|range| range.len()).sum();
        let payload_bytes = PAYLOAD_FIXED_BYTES + request.attributes.len() + 4 * request.records.len() + content;
        let records = u32::try_from(request.records.len()).ok()?;
        let stored_bytes = u32::try_from(payload_bytes).ok().filter(|bytes| *bytes < 1 << 30)?;
        let mut bytes = Vec::with_capacity(padded(FRAME_HEADER_BYTES + payload_bytes));
        bytes.resize(FRAME_HEADER_BYTES, 0);
        bytes.extend_from_slice(&request.received_ms.to_le_bytes());
        bytes.extend_from_slice(&request.event_ms.unwrap_or(NO_TIMESTAMP).to_le_bytes());
        bytes.extend_from_slice(&request.key.map_or(0, |key| key.hash).to_le_bytes());
        bytes.extend_from_slice(&request.key.map_or(0, |key| key.body).to_le_bytes());
        bytes.extend_from_slice(&(request.attributes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(request.attributes);
        for range in request.records {
            bytes.extend_from_slice(&(range.len() as u32).to_le_bytes());
        }
        for range in request.records {
            bytes.extend_from_slice(request.body.get(range.clone())?);
        }
        let payload_crc = checksum(salt, bytes.get(FRAME_HEADER_BYTES..)?);
        bytes.resize(padded(bytes.len()), 0);
        let header =
            FrameHeader { payload_bytes: stored_bytes, payload_crc, records, group: 0, sequence: 0, first_record: 0 };
        header.write(&mut bytes);
        let (key, received_ms) = (request.key, request.received_ms);
        Some(EncodedFrame { bytes, records, key, received_ms, payload_bytes: stored_bytes })
    }

    /// Returns the size of the payload.
    #[cfg(test)]
    pub(super) fn payload_bytes(&self) -> usize {
        self.payload_bytes as usize
    }

    /// Returns the size in the log.
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.bytes.len(), padded(FRAME_HEADER_BYTES + self.payload_bytes as usize));
        self.bytes.len()
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) payload_bytes: u32,
    payload_crc: u32,
    /// Number of records, at least 1.
    pub(super) records: u32,
    /// Sequence of the first frame of the group that was written and synced together. All frames before it were synced.
    pub(super) group: u64,
    /// Number of the frame in the log, from 0.
    pub(super) sequence: u64,
    /// Number of the frame's first record in the log, from 0.
    pub(super) first_record: u64,
}

impl FrameHeader {
    /// Completes the header of an encoded frame with its place in the log. `frame` begins with the frame.
    pub(super) fn place(frame: &mut [u8], salt: u64, group: u64, sequence: u64, first_record: u64) {
        let Some(header) = frame.first_chunk().map(FrameHeader::read) else { return };
        FrameHeader { group, sequence, first_record, ..header }.write(frame);
        let Some((crc, rest)) = frame.get_mut(..FRAME_HEADER_BYTES).and_then(|header| header.split_first_chunk_mut())
        else {
            return;
        };
        *crc = checksum(salt, rest).to_le_bytes();
    }

    /// Decodes a header. Returns `None` if its checksum is wrong.
    pub(super) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64) -> Option<FrameHeader> {
        let (crc, rest) = bytes.split_first_chunk()?;
        // A length is in no valid frame 0, and most of a segment is zero.
        let is_sound = rest.first_chunk() != Some(&[0; 4]) && u32::from_le_bytes(*crc) == checksum(salt, rest);
        is_sound.then(|| FrameHeader::read(bytes))
    }

    fn read(bytes: &[u8; FRAME_HEADER_BYTES]) -> FrameHeader {
        let mut rest = &bytes[4..];
        FrameHeader {
            payload_bytes: u32::from_le_bytes(take(&mut rest)),
            payload_crc: u32::from_le_bytes(take(&mut rest)),
            records: u32::from_le_bytes(take(&mut rest)),
            group: u64::from_le_bytes(take(&mut rest)),
            sequence: u64::from_le_bytes(take(&mut rest)),
            first_record: u64::from_le_bytes(take(&mut rest)),
        }
    }

    /// Writes all but the checksum.
    fn write(&self, frame: &mut [u8]) {
        let FrameHeader { payload_bytes, payload_crc, records, group, sequence, first_record } = *self;
        let numbers = [payload_bytes, payload_crc, records].map(u32::to_le_bytes);
        let large = [group, sequence, first_record].map(u64::to_le_bytes);
        let all = numbers.as_flattened().iter().chain(large.as_flattened());
        frame.iter_mut().skip(4).zip(all).for_each(|(to, from)| *to = *from);
    }

    /// Returns the size of the frame.
    pub(super) fn frame_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.payload_bytes as usize)
    }

    /// Returns the payload of a frame that begins `frame`. Returns `None` if it is damaged or incomplete.
    pub(super) fn payload<'a>(&self, frame: &'a [u8], salt: u64) -> Option<FramePayload<'a>> {
        let payload = self.raw_payload(frame)?;
        if checksum(salt, payload) != self.payload_crc {
            return None;
        }
        self.checked_payload(frame)
    }

    /// Returns the payload of a frame whose checksum has been verified before.
    pub(super) fn checked_payload<'a>(&self, frame: &'a [u8]) -> Option<FramePayload<'a>> {
        FramePayload::decode(self.raw_payload(frame)?, self.records)
    }

    fn raw_payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        frame.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + self.payload_bytes as usize)
    }
}

/// The decoded payload of a frame.
pub(super) struct FramePayload<'a> {
    pub(super) received_ms: i64,
    pub(super) event_ms: Option<i64>,
    pub(super) key: Option<RequestKey>,
    /// The attributes of each record.
    pub(super) attributes: &'a [u8],
    lengths: &'a [[u8; 4]],
    bytes: &'a [u8],
}

impl<'a> FramePayload<'a> {
    fn decode(payload: &'a [u8], records: u32) -> Option<FramePayload<'a>> {
        let (mut fixed, rest) = payload.split_at_checked(PAYLOAD_FIXED_BYTES)?;
        let received_ms = i64::from_le_bytes(take(&mut fixed));
        let event_ms = Some(i64::from_le_bytes(take(&mut fixed))).filter(|ms| *ms != NO_TIMESTAMP);
        let hash = u128::from_le_bytes(take(&mut fixed));
        let body = u64::from_le_bytes(take(&mut fixed));
        let attributes = u32::from_le_bytes(take(&mut fixed));
        let (attributes, rest) = rest.split_at_checked(attributes as usize)?;
        let (lengths, bytes) = rest.split_at_checked(4 * records as usize)?;
        let (lengths, _) = lengths.as_chunks();
        let key = (hash != 0).then_some(RequestKey { hash, body });
        Some(FramePayload { received_ms, event_ms, key, attributes, lengths, bytes })
    }

    /// Returns the records from index `first` on.
    pub(super) fn records_from(&self, first: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let length = |length: &[u8; 4]| u32::from_le_bytes(*length) as usize;
        let (before, lengths) = self.lengths.split_at(first.min(self.lengths.len()));
        let before: usize = before.iter().map(length).sum();
        let mut rest = self.bytes.get(before..).unwrap_or_default();
        lengths.iter().map(move |bytes| {
            let (record, behind) = rest.split_at(length(bytes).min(rest.len()));
            rest = behind;
            record
        })
    }
}

/// Returns the checksum of `bytes` in a log with this salt.
pub(super) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// Rounds up to the next place where a frame can begin.
fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(FRAME_ALIGNMENT)
}

/// Takes the first `N` bytes. Missing ones are 0; callers check the length first.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((first, behind)) => {
            *rest = behind;
            *first
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: u64 = 0x5a17;

    fn encode(records: &[&[u8]], key: Option<RequestKey>) -> Vec<u8> {
        let body = records.concat();
        let mut start = 0;
        let ranges: Vec<Range<usize>> = records
            .iter()
            .map(|record| {
                start += record.len();
                start - record.len()..start
            })
            .collect();
        let request =
            NewRequest { received_ms: 12, event_ms: Some(-3), key, attributes: &[0], body: &body, records: &ranges };
        let mut frame = EncodedFrame::encode(&request, SALT).unwrap();
        assert_eq!(frame.len() % FRAME_ALIGNMENT, 0);
        assert!(frame.payload_bytes() < frame.len());
        FrameHeader::place(&mut frame.bytes, SALT, 7, 8, 9);
        frame.bytes
    }

    fn decode(frame: &[u8]) -> Option<(FrameHeader, Vec<Vec<u8>>)> {
        let header = FrameHeader::decode(frame.first_chunk()?, SALT)?;
        let payload = header.payload(frame, SALT)?;
        assert_eq!((payload.received_ms, payload.event_ms, payload.attributes), (12, Some(-3), &[0][..]));
        Some((header, payload.records_from(0).map(<[u8]>::to_vec).collect()))
    }

    proptest! {
        #[test]
        fn a_frame_returns_its_records_and_no_changed_bit_goes_unnoticed(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..6),
            from in 0usize..7,
            bit in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let key = RequestKey { hash: 5, body: 6 };
            let mut frame = encode(&slices, Some(key));
            let (header, decoded) = decode(&frame).unwrap();
            prop_assert_eq!((header.group, header.sequence, header.first_record), (7, 8, 9));
            prop_assert_eq!(header.frame_bytes(), frame.len());
            prop_assert_eq!(&decoded, &records);
            let payload = header.payload(&frame, SALT).unwrap();
            prop_assert_eq!(payload.key, Some(key));
            let rest: Vec<&[u8]> = payload.records_from(from).collect();
            prop_assert_eq!(rest, &slices[from.min(slices.len())..]);

            let significant = 8 * (FRAME_HEADER_BYTES + header.payload_bytes as usize);
            let bit = bit.index(significant);
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&frame).is_none());
        }
    }

    #[test]
    fn a_frame_of_another_log_is_none() {
        let frame = encode(&[b"record"], None);
        assert!(FrameHeader::decode(frame.first_chunk().unwrap(), SALT + 1).is_none());
        assert!(FrameHeader::decode(&[0; FRAME_HEADER_BYTES], SALT).is_none());
        assert!(decode(&frame[..frame.len() - 8]).is_none());
    }
}
