//! The bytes of a file, decompressed. What is in the file decides whether that is needed, not its name.
//!
//! A read of a gzip file ends where a member does, so that a byte order mark at the start of each can be found.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::super::records::RecordInput;
use crate::model::Interrupt;

const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// Of a compressed file, read at once, in bytes.
const COMPRESSED_BYTES: usize = 64 << 10;

/// Empty members and pieces of padding that one read passes over; then it has nothing for a moment.
const EMPTY_STEPS_MAX: u32 = 256;

/// See the module.
pub(in crate::connector) enum FileInput {
    Plain(File),
    Gzip(Box<GzipMembers>),
}

impl FileInput {
    /// Opens a file in front of byte `offset` of its decompressed bytes. Fails once `interrupt` is set: compressed bytes
    /// cannot be stepped over, and reading them may take long.
    pub(in crate::connector) fn open(path: &Path, offset: u64, interrupt: &Interrupt) -> io::Result<FileInput> {
        let mut file = File::open(path)?;
        if is_gzip(&mut file, path)? {
            let mut members = GzipMembers::new(file);
            members.pass(offset, interrupt)?;
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
    io::Error::other("the file is shorter than it was: the source cannot go on where it was")
}

/// Whether a file that stands at its start holds gzip data. It stands there afterwards. An empty file is an empty text.
fn is_gzip(file: &mut File, path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    file.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(0))?;
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    match first.as_slice() {
        GZIP_MAGIC => Ok(true),
        [] => Ok(false),
        _ if named => Err(io::Error::other("its name says gzip, and what is in it is not")),
        _ => Ok(false),
    }
}

/// The members of a gzip file, one after the other. Zero bytes behind a member are padding.
pub(in crate::connector) struct GzipMembers {
    /// None behind the last member.
    member: Option<GzDecoder<BufReader<File>>>,
    /// Between two members.
    between: Option<BufReader<File>>,
    /// Nothing of the member was read yet.
    is_fresh: bool,
    begins: bool,
}

impl GzipMembers {
    fn new(file: File) -> GzipMembers {
        let member = GzDecoder::new(BufReader::with_capacity(COMPRESSED_BYTES, file));
        GzipMembers { member: Some(member), between: None, is_fresh: true, begins: false }
    }

    /// Passes over the first `bytes` decompressed bytes.
    fn pass(&mut self, bytes: u64, interrupt: &Interrupt) -> io::Result<()> {
        let mut scratch = vec![0; COMPRESSED_BYTES];
        let mut left = bytes;
        while left > 0 {
            if interrupt.is_set() {
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

/// What is behind a member.
enum NextMember {
    Member(BufReader<File>),
    /// A buffer full of padding was passed over.
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
        Some(_) => {
            Err(io::Error::other("what follows the gzip data is neither more of it nor padding with zero bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn stepping_over_compressed_bytes_is_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.gz");
        let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
        encoder.finish().unwrap();
        let interrupt = Interrupt::default();
        assert!(FileInput::open(&path, 1 << 20, &interrupt).is_ok());
        let error = FileInput::open(&path, (1 << 20) + 1, &interrupt).err().unwrap();
        assert!(error.to_string().contains("shorter"), "{error}");
        interrupt.set();
        let error = FileInput::open(&path, 1 << 20, &interrupt).err().unwrap();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
}
