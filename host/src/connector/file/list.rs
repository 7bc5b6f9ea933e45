//! The files of a file source, and what is known of them before anything is read.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::super::csv_row;
use super::super::records::{Fill, RECORD_BYTES_MAX, Records};
use crate::error::{Error, Result, source_failed, source_missing};
use crate::manifest::{FileFormat, Format};
use crate::model::Interrupt;

/// The byte order mark that some programs put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes that are stepped over between two looks at the interrupt.
const SKIPPED_BYTES: u64 = 1 << 20;

/// A file by its name in its folder.
pub(super) struct InputFile {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// `path` itself, or the files of the folder `path` in order of their names. Names that begin with `.` or `_` are
/// passed over (hidden files, unfinished output), and so are folders within it.
pub(super) fn list(path: &Path) -> Result<Vec<InputFile>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => source_missing(format!("the input `{}` does not exist", path.display())),
        _ => source_failed(format!("the input `{}` cannot be read: {error}", path.display())),
    };
    let kind = fs::metadata(path).map_err(failed)?;
    if !kind.is_dir() && !kind.is_file() {
        // To open a pipe or a device may block for ever, and neither can be read again from a position.
        return Err(source_missing(format!("the input `{}` is neither a file nor a folder", path.display())));
    }
    if !kind.is_dir() {
        return Ok(vec![InputFile { name: file_name(path)?, path: path.to_owned() }]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = file_name(&path)?;
        if !name.starts_with(['.', '_']) && fs::metadata(&path).map_err(failed)?.is_file() {
            files.push(InputFile { name, path });
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn file_name(path: &Path) -> Result<String> {
    match path.file_name().map(|name| name.to_str()) {
        Some(Some(name)) => Ok(name.to_owned()),
        _ => Err(source_failed(format!("the input `{}` has a name that is not UTF-8", path.display()))),
    }
}

/// A file being read, decompressed.
pub(super) type Reader = Records<Box<dyn Read + Send>>;

/// Opens `path` to be read on from `offset`, an offset in its decompressed bytes. At its start, the byte order mark and,
/// with `header`, the first row are stepped over. Error: `interrupted`, among others.
pub(super) fn open(
    path: &Path,
    format: FileFormat,
    header: bool,
    offset: u64,
    interrupt: &Interrupt,
) -> Result<Reader> {
    let opened = open_at(path, format, offset, interrupt);
    interrupt.check()?;
    let mut reader = opened.map_err(|error| read_error(path, offset, &error))?;
    if offset > 0 {
        return Ok(reader);
    }
    if format != FileFormat::Lines {
        reader.skip_mark(BYTE_ORDER_MARK).map_err(|error| read_error(path, 0, &error))?;
    }
    if header {
        next_record(&mut reader, path)?;
    }
    Ok(reader)
}

fn open_at(path: &Path, format: FileFormat, offset: u64, interrupt: &Interrupt) -> io::Result<Reader> {
    let shorter = || io::Error::other("the file is shorter than it was: the source cannot go on where it was");
    let mut file = File::open(path)?;
    let gzip = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let input: Box<dyn Read + Send> = if gzip {
        let mut input = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file));
        if skip(&mut input, offset, interrupt)? < offset {
            return Err(shorter());
        }
        Box::new(input)
    } else {
        if offset > 0 {
            if file.metadata()?.len() < offset {
                return Err(shorter());
            }
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        }
        Box::new(file)
    };
    Ok(Records::new(input, format, offset))
}

/// Reads over so many bytes; how many there were. Compressed bytes cannot be stepped over.
fn skip(input: &mut impl Read, bytes: u64, interrupt: &Interrupt) -> io::Result<u64> {
    let mut skipped = 0;
    while skipped < bytes {
        if interrupt.is_set() {
            return Err(io::Error::other("interrupted"));
        }
        let piece = SKIPPED_BYTES.min(bytes - skipped);
        let read = io::copy(&mut input.by_ref().take(piece), &mut io::sink())?;
        skipped += read;
        if read < piece {
            break;
        }
    }
    Ok(skipped)
}

/// `source-failed` at a place of a file.
pub(super) fn read_error(path: &Path, offset: u64, error: &io::Error) -> Error {
    source_failed(format!("reading `{}` failed at byte {offset}: {error}", path.display()))
}

/// `source-failed` for a record without an end.
pub(super) fn too_long(path: &Path, format: FileFormat, offset: u64) -> Error {
    let message =
        format!("the record at byte {offset} of `{}` is longer than {} MiB", path.display(), RECORD_BYTES_MAX >> 20);
    match format {
        FileFormat::Csv => source_failed(message).hint("look for a quote in that row that is never closed"),
        _ => source_failed(message),
    }
}

/// The next record, however many reads it takes.
fn next_record(reader: &mut Reader, path: &Path) -> Result<Option<Vec<u8>>> {
    loop {
        if let Some(record) = reader.next() {
            return Ok(Some(record.to_vec()));
        }
        let offset = reader.offset();
        match reader.fill().map_err(|error| read_error(path, offset, &error))? {
            Fill::More | Fill::Nothing => {}
            Fill::End => return Ok(reader.next().map(<[u8]>::to_vec)),
            Fill::TooLong => return Err(too_long(path, FileFormat::Csv, offset)),
        }
    }
}

/// Checks that there is input and that it can be opened, and tells its format. With a header, every file must have the
/// same one, since a record does not tell which file it came from.
pub(in crate::connector) fn check(path: &Path, format: FileFormat, header: bool) -> Result<Format> {
    let files = list(path)?;
    if files.is_empty() {
        return Err(source_missing(format!("the input folder `{}` holds no files", path.display()))
            .hint("names that begin with `.` or `_` are passed over, and so are folders"));
    }
    let mut first: Option<(&Path, Vec<Vec<u8>>)> = None;
    for InputFile { path, .. } in &files {
        let mut reader = open(path, format, false, 0, &Interrupt::default())?;
        if format != FileFormat::Csv || !header {
            continue;
        }
        let Some(columns) = next_record(&mut reader, path)?.map(|row| csv_row::columns(&row)) else {
            continue;
        };
        match &first {
            None => first = Some((path, columns)),
            Some((_, names)) if *names == columns => {}
            Some((other, _)) => {
                let (path, other) = (path.display(), other.display());
                return Err(source_failed(format!("the header of `{path}` is not that of `{other}`"))
                    .hint("give each kind of file a folder and a source of its own"));
            }
        }
    }
    Ok(match format {
        FileFormat::Lines => Format::Raw,
        FileFormat::Ndjson => Format::Json,
        FileFormat::Csv => Format::Csv(first.map(|(_, names)| names.iter().map(|name| text(name)).collect())),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes without end, and is interrupted after some of them.
    struct Endless<'a>(u64, &'a Interrupt);

    impl Read for Endless<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += buffer.len() as u64;
            if self.0 > 10 * SKIPPED_BYTES {
                self.1.set();
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn stepping_over_compressed_bytes_is_interrupted() {
        let interrupt = Interrupt::default();
        let mut input = Endless(0, &interrupt);
        assert_eq!(skip(&mut input, 5 * SKIPPED_BYTES + 1, &interrupt).unwrap(), 5 * SKIPPED_BYTES + 1);
        assert!(skip(&mut input, u64::MAX, &interrupt).is_err());
        assert!(input.0 < 12 * SKIPPED_BYTES, "{} bytes were read", input.0);
        assert_eq!(skip(&mut &b"short"[..], 9, &Interrupt::default()).unwrap(), 5);
    }
}
