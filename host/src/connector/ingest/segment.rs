//! The segment files of a log: their names, their headers, and their recovery after a crash.
//!
//! A segment is `NNNNNNNNNNNNNNNNNNNN.log`. The last one is preallocated; its unused end is zero. The others end with their last frame.
//! `recover` reads all frames of a segment. Only the last segment may end with a torn group, which was never acknowledged. A frame of a
//! later group behind a damaged frame proves that the damaged one was synced: that is an error.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::frame::{FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, FramePayload, checksum};
use super::log_disk::LogDisk;
use super::segment_bytes::SegmentBytes;
use crate::error::{Error, Result, ingest_corrupt, ingest_failed};

/// Size of a segment's header. The first frame begins behind it.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 64;

const MAGIC: &[u8; 8] = b"cofdring";
const VERSION: u32 = 1;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    /// Secret number that all checksums of the log begin with.
    pub(super) salt: u64,
    /// Sequence of the first frame.
    pub(super) first_sequence: u64,
    /// Number of the first record.
    pub(super) first_record: u64,
}

impl SegmentHeader {
    fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let numbers = [self.number, self.salt, self.first_sequence, self.first_record];
        let numbers = numbers.map(u64::to_le_bytes);
        let all = MAGIC.iter().chain(numbers.as_flattened()).copied().chain(VERSION.to_le_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        let crc = checksum(0, &bytes[..60]).to_le_bytes();
        bytes[60..].copy_from_slice(&crc);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES as usize] = bytes.first_chunk()?;
        let (magic, rest) = bytes.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<32>()?;
        let numbers: Vec<u64> = numbers.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let [number, salt, first_sequence, first_record] = numbers[..] else { return None };
        let (version, _) = rest.split_first_chunk()?;
        let crc = bytes.last_chunk()?;
        let is_sound = magic == MAGIC
            && u32::from_le_bytes(*version) == VERSION
            && u32::from_le_bytes(*crc) == checksum(0, &bytes[..60]);
        is_sound.then_some(SegmentHeader { number, salt, first_sequence, first_record })
    }
}

/// Returns the path of a segment.
pub(super) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.log"))
}

/// Returns the numbers of the files with this extension, ascending.
pub(super) fn numbers(folder: &Path, extension: &str) -> Result<Vec<u64>> {
    let failed = |error| failed(folder, "cannot be listed", &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|own| own == extension) && stem.len() == 20 {
            found.extend(stem.parse::<u64>().ok());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes what a crash left of files that were being created.
pub(super) fn remove_unfinished(folder: &Path) -> Result<()> {
    let failed = |error| failed(folder, "cannot be cleaned", &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Creates a preallocated segment. It has its name once it is complete on the disk.
pub(super) fn create(folder: &Path, header: &SegmentHeader, bytes: u64, disk: &dyn LogDisk) -> io::Result<File> {
    let path = segment_path(folder, header.number);
    let unfinished = path.with_extension("new");
    let create = || {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished)?;
        disk.preallocate(&file, bytes)?;
        disk.write_at(&file, &header.encode(), 0)?;
        file.sync_all()?;
        fail_point!("ingest.create", io::Error::other);
        fs::rename(&unfinished, &path)?;
        fail_point!("ingest.created", io::Error::other);
        sync_folder(folder)?;
        Ok(file)
    };
    // A segment without frames must not remain, since the one before it may go on.
    create().inspect_err(|_| [&unfinished, &path].into_iter().for_each(|path| drop(fs::remove_file(path))))
}

/// Makes new and removed names of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the error for a file of a log.
pub(super) fn failed(path: &Path, what: &str, error: &io::Error) -> Error {
    ingest_failed(format!("{} {what}: {error}", path.display()))
}

/// Returns the error for damage at an offset of a segment.
pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> Error {
    ingest_corrupt(format!("segment {}, offset {offset}: {what}", path.display())).hint(
        "check the disk, and restore the file from a backup; requests of this source are refused until then, since records that \
         were acknowledged would be lost",
    )
}

/// A segment whose frames have all been read.
#[derive(Debug)]
pub(super) struct RecoveredSegment {
    pub(super) header: SegmentHeader,
    /// Offset behind the last frame.
    pub(super) end: u64,
    /// Behind the last frame.
    pub(super) next_sequence: u64,
    pub(super) next_record: u64,
    /// Whether frames or parts of them follow the end, which were never acknowledged.
    pub(super) is_torn: bool,
}

/// Reads all frames of a segment, and calls `visit` for each. `is_last` tells that a torn tail is expected. Error: `ingest-corrupt`.
pub(super) fn recover(
    folder: &Path,
    number: u64,
    is_last: bool,
    mut visit: impl FnMut(u64, &FrameHeader, &FramePayload<'_>),
) -> Result<RecoveredSegment> {
    let path = segment_path(folder, number);
    let mut bytes = SegmentBytes::open(&path)?;
    let file_end = bytes.limit();
    let header = read_header(&mut bytes, &path, number)?;
    let mut recovered = RecoveredSegment {
        header,
        end: SEGMENT_HEADER_BYTES,
        next_sequence: header.first_sequence,
        next_record: header.first_record,
        is_torn: false,
    };
    while recovered.end < file_end {
        let Some(frame) = read_frame(&mut bytes, recovered.end, file_end, header.salt)? else { break };
        if frame.sequence != recovered.next_sequence {
            return Err(damaged(&path, recovered.end, "a frame is missing in front of this one"));
        }
        let Some(payload) = frame.checked_payload(bytes.at(recovered.end, frame.frame_bytes())?) else { break };
        visit(recovered.end, &frame, &payload);
        recovered.end += frame.frame_bytes() as u64;
        recovered.next_sequence = frame.sequence + 1;
        recovered.next_record = frame.first_record + u64::from(frame.records);
    }
    if recovered.end == file_end {
        return Ok(recovered);
    }
    if !is_last {
        return Err(damaged(&path, recovered.end, "the checksum of a frame is wrong"));
    }
    recovered.is_torn = check_tail(&mut bytes, &path, &recovered, file_end)?;
    Ok(recovered)
}

/// Reads the header of a segment. Error: `ingest-corrupt`.
pub(super) fn read_header(bytes: &mut SegmentBytes, path: &Path, number: u64) -> Result<SegmentHeader> {
    let start = bytes.at(0, SEGMENT_HEADER_BYTES as usize)?;
    let header = SegmentHeader::decode(start).filter(|header| header.number == number);
    header.ok_or_else(|| damaged(path, 0, "the header of the segment is damaged, or of another version"))
}

/// Returns the header of the frame at `offset`, if the whole frame is sound.
fn read_frame(bytes: &mut SegmentBytes, offset: u64, end: u64, salt: u64) -> Result<Option<FrameHeader>> {
    let Some(start) = bytes.at(offset, FRAME_HEADER_BYTES)?.first_chunk() else { return Ok(None) };
    let header = FrameHeader::decode(start, salt).filter(|header| offset + header.frame_bytes() as u64 <= end);
    let Some(header) = header else { return Ok(None) };
    let is_sound = header.payload(bytes.at(offset, header.frame_bytes())?, salt).is_some();
    Ok(is_sound.then_some(header))
}

/// Checks that no frame behind the end proves that the frame at the end was synced. Returns whether there are any bytes.
fn check_tail(bytes: &mut SegmentBytes, path: &Path, recovered: &RecoveredSegment, file_end: u64) -> Result<bool> {
    const PIECE: u64 = 64 << 10;
    let (mut offset, mut is_torn) = (recovered.end, false);
    while offset < file_end {
        let piece = bytes.at(offset, PIECE as usize)?;
        let piece_end = offset + (piece.len() as u64).max(1);
        if piece.iter().all(|byte| *byte == 0) {
            offset = piece_end;
            continue;
        }
        is_torn = true;
        while offset < piece_end {
            let later = read_frame(bytes, offset, file_end, recovered.header.salt)?;
            if later.is_some_and(|frame| frame.group > recovered.next_sequence) {
                let what =
                    format!("the checksum of a frame is wrong, and the frame at offset {offset} was written later");
                return Err(damaged(path, recovered.end, &what));
            }
            offset += FRAME_ALIGNMENT as u64;
        }
    }
    Ok(is_torn)
}
