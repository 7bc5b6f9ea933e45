//! Reads the bytes of an input file, and decompresses gzip.
//!
//! The content of a file decides whether it is compressed, not its name. A read of a gzip file never crosses the end of a
//! member, so that a byte order mark at the start of each member can be found.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::input_access::InputAccess;
use crate::format::records::RecordInput;

const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// Size of one read of a compressed file, in bytes.
const COMPRESSED_BYTES: usize = 64 << 10;

/// Maximum number of empty members and buffers of padding that one read skips. After that it returns `WouldBlock`.
const EMPTY_STEPS_MAX: u32 = 256;

/// An open input file.
pub(in crate::connector) enum FileInput {
    Plain(File),
    Gzip(Box<GzipMembers>),
}

impl FileInput {
    /// Opens a file at byte `offset` of its decompressed bytes. Compressed files cannot be seeked, so this may take long; it
    /// fails once the job is interrupted.
    pub(in crate::connector) fn open(path: &Path, offset: u64, access: &InputAccess) -> io::Result<FileInput> {
        let mut file = access.policy.open_file(path)?;
        if is_gzip(&mut file, path)? {
            let mut members = GzipMembers::new(file);
            members.skip(offset, access)?;
            return Ok(FileInput::Gzip(Box::new(members)));
        }
        if offset > 0 {
            if file.metadata()?.len() < offset {
                return Err(shorter());
            }
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok(FileInput::Plain(file))
    }
}

impl FileInput {
    /// Returns whether the file is not compressed, so that it can be read from its middle.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, FileInput::Plain(_))
    }
}

impl RecordInput for FileInput {
    fn read_into(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            FileInput::Plain(file) => file.read(into),
            FileInput::Gzip(members) => members.read(into),
        }
    }

    fn begins_text(&self) -> bool {
        match self {
            FileInput::Plain(_) => false,
            FileInput::Gzip(members) => members.begins,
        }
    }
}

fn shorter() -> io::Error {
    io::Error::other("the file is shorter than its position in the checkpoint")
}

/// Whether a file contains gzip data. Reads from the start of the file and seeks back to it. An empty file is an empty text.
fn is_gzip(file: &mut File, path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    file.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(0))?;
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    match first.as_slice() {
        GZIP_MAGIC => Ok(true),
        [] => Ok(false),
        _ if named => Err(io::Error::other("its name ends in `.gz`, but its content is not gzip")),
        _ => Ok(false),
    }
}

/// Reads the members of a gzip file one after another. Zero bytes after a member are padding.
pub(in crate::connector) struct GzipMembers {
    /// The current member, or `None` after the last one.
    member: Option<GzDecoder<BufReader<File>>>,
    /// The compressed input, while it is between two members.
    between: Option<BufReader<File>>,
    /// Whether no byte of the current member has been read.
    is_fresh: bool,
    /// Whether the last read returned the first bytes of a member.
    begins: bool,
}

impl GzipMembers {
    fn new(file: File) -> GzipMembers {
        let member = GzDecoder::new(BufReader::with_capacity(COMPRESSED_BYTES, file));
        GzipMembers { member: Some(member), between: None, is_fresh: true, begins: false }
    }

    /// Skips the first `bytes` decompressed bytes.
    fn skip(&mut self, bytes: u64, access: &InputAccess) -> io::Result<()> {
        let mut scratch = vec![0; COMPRESSED_BYTES];
        let mut left = bytes;
        while left > 0 {
            if access.interrupt.is_set() {
                return Err(io::Error::other("interrupted"));
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
            match self.read(&mut scratch[..wanted]) {
                Ok(0) => return Err(shorter()),
                Ok(read) => left -= read as u64,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for _ in 0..EMPTY_STEPS_MAX {
            if let Some(between) = self.between.take() {
                match next_member(between)? {
                    NextMember::Member(input) => {
                        self.member = Some(GzDecoder::new(input));
                        self.is_fresh = true;
                    }
                    NextMember::Padding(input) => {
                        self.between = Some(input);
                        continue;
                    }
                    NextMember::End => {}
                }
            }
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(into)?;
            if read > 0 {
                self.begins = std::mem::take(&mut self.is_fresh);
                return Ok(read);
            }
            self.between = self.member.take().map(GzDecoder::into_inner);
        }
        Err(ErrorKind::WouldBlock.into())
    }
}

/// The input after a member.
enum NextMember {
    Member(BufReader<File>),
    /// A buffer of padding was skipped.
    Padding(BufReader<File>),
    End,
}

fn next_member(mut input: BufReader<File>) -> io::Result<NextMember> {
    let buffered = input.fill_buf()?;
    if buffered.is_empty() {
        return Ok(NextMember::End);
    }
    let padding = buffered.iter().take_while(|byte| **byte == 0).count();
    let next = buffered.get(padding).copied();
    input.consume(padding);
    match next {
        None => Ok(NextMember::Padding(input)),
        Some(first) if Some(&first) == GZIP_MAGIC.first() => Ok(NextMember::Member(input)),
        Some(_) => Err(io::Error::other("the bytes after the gzip data are neither gzip nor zero padding")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn skipping_compressed_bytes_can_be_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.gz");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
        encoder.finish().unwrap();
        let access = InputAccess::default();
        assert!(FileInput::open(&path, 1 << 20, &access).is_ok());
        let error = FileInput::open(&path, (1 << 20) + 1, &access).err().unwrap();
        assert!(error.to_string().contains("shorter"), "{error}");
        access.interrupt.set();
        let error = FileInput::open(&path, 1 << 20, &access).err().unwrap();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
}
