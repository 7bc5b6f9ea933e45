//! Finds the published parts of a job's letters and reads their lines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use crate::connector::file::part_name;
use crate::error::{Result, data_dir_failed};

/// Largest line that is read, in bytes. A letter holds one record, its original bytes and a backtrace.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// The folder of a job's letters.
#[derive(Clone, Debug)]
pub struct LetterStore {
    folder: PathBuf,
}

/// A published part: the letters of one subtask and checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterFile {
    /// The file name without its ending. With a line number behind it, it identifies a letter.
    pub name: String,
    /// The job that wrote it.
    pub job: String,
    /// Id of the operator or source.
    pub node: String,
    /// The checkpoint that it belongs to.
    pub checkpoint: u64,
    /// Size in bytes.
    pub bytes: u64,
}

/// A line of a part.
#[derive(Debug, PartialEq, Eq)]
pub struct LetterLine {
    /// Number of the line, from 1.
    pub number: u64,
    /// The letter as JSON, without the line end.
    pub json: Vec<u8>,
}

impl LetterStore {
    /// Returns the store in a folder, which need not exist.
    pub fn new(folder: PathBuf) -> LetterStore {
        LetterStore { folder }
    }

    /// Returns the published parts, oldest first. Error: `data-dir-failed`.
    pub fn parts(&self) -> Result<Vec<LetterFile>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(failed(&self.folder, &cause)),
        };
        let mut parts = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|cause| failed(&self.folder, &cause))?;
            let file_name = entry.file_name();
            let Some(part) = file_name.to_str().and_then(part_name) else { continue };
            // The part may be removed in the meantime.
            let Ok(metadata) = entry.metadata() else { continue };
            parts.push(LetterFile {
                name: part.stem.to_owned(),
                job: part.job.to_owned(),
                node: part.node.to_owned(),
                checkpoint: part.checkpoint,
                bytes: metadata.len(),
            });
        }
        parts.sort_by(|a, b| (a.checkpoint, &a.name).cmp(&(b.checkpoint, &b.name)));
        Ok(parts)
    }

    /// Returns the path of a part.
    pub fn path(&self, part: &str) -> PathBuf {
        self.folder.join(format!("{part}.txt"))
    }

    /// Opens a part.
    pub fn lines(&self, part: &str) -> Result<LetterLines> {
        LetterLines::open(&self.path(part))
    }

    /// Removes a part. Does nothing if it does not exist.
    pub fn remove(&self, part: &str) -> Result<()> {
        fail_point!("letters.remove", data_dir_failed);
        let path = self.path(part);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(failed(&path, &cause)),
            _ => Ok(()),
        }
    }

    /// Takes over a part of another store under its name. Does nothing if it is here already or no longer there.
    pub fn copy_from(&self, other: &LetterStore, part: &str) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|cause| failed(&self.folder, &cause))?;
        let (from, to) = (other.path(part), self.path(part));
        fail_point!("letters.copy", data_dir_failed);
        let copied = fs::hard_link(&from, &to).or_else(|cause| match cause.kind() {
            ErrorKind::AlreadyExists | ErrorKind::NotFound => Ok(()),
            _ => fs::copy(&from, &to).map(drop),
        });
        copied.map_err(|cause| failed(&to, &cause))
    }
}

/// Reads the lines of a part in order.
pub struct LetterLines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl LetterLines {
    /// Opens a part. Error: `data-dir-failed`.
    pub fn open(path: &Path) -> Result<LetterLines> {
        let file = File::open(path).map_err(|cause| failed(path, &cause))?;
        Ok(LetterLines { path: path.to_owned(), reader: BufReader::with_capacity(256 << 10, file), number: 0 })
    }

    /// Returns the next line, or `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<LetterLine>> {
        let mut json = Vec::new();
        let mut limited = std::io::Read::take(&mut self.reader, LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut json).map_err(|cause| failed(&self.path, &cause))?;
        if read == 0 {
            return Ok(None);
        }
        json.pop_if(|last| *last == b'\n');
        self.number += 1;
        Ok(Some(LetterLine { number: self.number, json }))
    }

    /// Skips lines. Returns how many there were, at most `lines`.
    pub fn skip(&mut self, lines: u64) -> Result<u64> {
        let before = self.number;
        while self.number - before < lines {
            let buffer = self.reader.fill_buf().map_err(|cause| failed(&self.path, &cause))?;
            if buffer.is_empty() {
                break;
            }
            let (length, ends) = match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), false),
            };
            self.reader.consume(length);
            self.number += u64::from(ends);
        }
        Ok(self.number - before)
    }
}

fn failed(path: &Path, cause: &std::io::Error) -> crate::error::Error {
    data_dir_failed(format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_order_and_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let store = LetterStore::new(folder.path().join("letters"));
        assert_eq!(store.parts().unwrap(), []);
        fs::create_dir_all(folder.path().join("letters/.pending")).unwrap();
        for name in ["part-ab-a-b-000-00000010.txt", "part-ab-c-001-00000002.txt", "notes.txt", "part-x.txt"] {
            fs::write(folder.path().join("letters").join(name), "{\"a\":1}\n{\"a\":2}\nlast").unwrap();
        }
        let parts = store.parts().unwrap();
        let found: Vec<_> = parts.iter().map(|part| (&part.job[..], &part.node[..], part.checkpoint)).collect();
        assert_eq!(found, [("ab", "c", 2), ("ab", "a-b", 10)]);
        let mut lines = store.lines(&parts[0].name).unwrap();
        assert_eq!(lines.skip(1).unwrap(), 1);
        let line = lines.next_line().unwrap().unwrap();
        assert_eq!((line.number, &line.json[..]), (2, &b"{\"a\":2}"[..]));
        assert_eq!(lines.next_line().unwrap().unwrap().json, b"last");
        assert_eq!((lines.next_line().unwrap(), lines.skip(9).unwrap()), (None, 0));
        let copy = LetterStore::new(folder.path().join("copy"));
        (0..2).for_each(|_| copy.copy_from(&store, &parts[1].name).unwrap());
        copy.copy_from(&store, "part-gone").unwrap();
        assert_eq!(copy.parts().unwrap(), parts[1..]);
        (0..2).for_each(|_| copy.remove(&parts[1].name).unwrap());
        assert_eq!(copy.parts().unwrap(), []);
    }
}
