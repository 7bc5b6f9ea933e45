//! The names of the unread files of a subtask, in order, and their compact form in a position.
//!
//! A folder may contain a hundred thousand files, and a position is written with every checkpoint. So the names are packed
//! once: each name drops the prefix that it shares with the previous one, and the list is compressed. A position stores
//! the packed list and the number of names to skip.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::error::{Result, internal};

/// Maximum size of an unpacked list, in bytes: a million of the longest names.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

/// Maximum number of names in a list. Two bytes can stand for a name.
const NAMES_MAX: usize = 4 << 20;

/// Maximum size of all names in a list, in bytes. Two bytes can stand for the longest name.
const NAME_BYTES_MAX: usize = 256 << 20;

/// Terminates a name. File names cannot contain it.
const END: u8 = b'/';

/// An ordered list of file names, of which the first ones have been taken.
#[derive(Debug, Default)]
pub(super) struct FileNames {
    names: Vec<String>,
    /// Index of the first name that has not been taken.
    next: usize,
    packed: Vec<u8>,
    /// Index of the first name in `packed`.
    packed_from: usize,
}

/// A packed list of names without its first `skip` names.
pub(super) struct PackedNames<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) skip: u64,
}

impl FileNames {
    /// Creates a list of names in the order in which they will be taken.
    pub(super) fn new(names: Vec<String>) -> Result<FileNames> {
        let packed = pack(&names)?;
        Ok(FileNames { names, next: 0, packed, packed_from: 0 })
    }

    /// Returns the names that have not been taken.
    pub(super) fn left(&self) -> &[String] {
        self.names.get(self.next..).unwrap_or_default()
    }

    /// Takes the next name.
    pub(super) fn take(&mut self) -> Option<&str> {
        let name = self.names.get(self.next)?;
        self.next += 1;
        Some(name)
    }

    /// Returns the number of taken names.
    pub(super) fn taken(&self) -> usize {
        self.next
    }

    /// Returns to the state in which `taken` names were taken, but not to before the last [`FileNames::trim`].
    pub(super) fn take_back_to(&mut self, taken: usize) {
        self.next = taken.clamp(self.packed_from, self.next);
    }

    /// Packs the remaining names again if less than half of the packed names remain. In total this costs at most twice the
    /// packing of all names.
    pub(super) fn trim(&mut self) -> Result<()> {
        let left = self.names.len() - self.next;
        if (self.names.len() - self.packed_from) / 2 > left {
            self.packed = pack(self.left())?;
            self.packed_from = self.next;
        }
        Ok(())
    }

    /// Returns the names that have not been taken, in compact form.
    pub(super) fn packed(&self) -> PackedNames<'_> {
        PackedNames { bytes: &self.packed, skip: self.next.saturating_sub(self.packed_from) as u64 }
    }
}

fn pack(names: &[String]) -> Result<Vec<u8>> {
    let failed = |error| internal(format!("file names cannot be packed: {error}"));
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let mut before: &[u8] = b"";
    for name in names {
        let name = name.as_bytes();
        let shared = before.iter().zip(name).take_while(|(one, other)| one == other).count().min(usize::from(u8::MAX));
        encoder.write_all(&[shared as u8]).map_err(failed)?;
        encoder.write_all(&name[shared..]).map_err(failed)?;
        encoder.write_all(&[END]).map_err(failed)?;
        before = name;
    }
    encoder.finish().map_err(failed)
}

/// Unpacks a list of names. The error explains why the bytes are invalid.
pub(super) fn unpack(packed: &PackedNames<'_>) -> Result<Vec<String>, String> {
    let mut bytes = Vec::new();
    let mut decoder = DeflateDecoder::new(packed.bytes).take(UNPACKED_BYTES_MAX + 1);
    decoder.read_to_end(&mut bytes).map_err(|error| format!("its file names cannot be unpacked: {error}"))?;
    if bytes.len() as u64 > UNPACKED_BYTES_MAX {
        return Err("it contains too many names".to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    let mut before: Vec<u8> = Vec::new();
    let (mut skip, mut name_bytes) = (packed.skip, 0);
    let mut rest = &bytes[..];
    while let Some((&shared, ahead)) = rest.split_first() {
        let end = memchr::memchr(END, ahead).ok_or("its last name is incomplete")?;
        before.truncate(usize::from(shared));
        before.extend_from_slice(&ahead[..end]);
        rest = &ahead[end + 1..];
        match skip.checked_sub(1) {
            Some(fewer) => skip = fewer,
            None => {
                name_bytes += before.len();
                if names.len() >= NAMES_MAX || name_bytes > NAME_BYTES_MAX {
                    return Err("it contains too many names".to_owned());
                }
                names.push(String::from_utf8(before.clone()).map_err(|_| "a name is not UTF-8")?);
            }
        }
    }
    match skip {
        0 => Ok(names),
        _ => Err("it skips more names than it contains".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(names: &FileNames) -> Vec<String> {
        unpack(&names.packed()).unwrap()
    }

    #[test]
    fn a_hundred_thousand_names_are_packed_to_a_tenth_and_shrink_as_they_are_taken() {
        let all: Vec<String> = (0..100_000).map(|number| format!("part-{number:08}.csv.gz")).collect();
        let bytes: usize = all.iter().map(String::len).sum();
        let mut names = FileNames::new(all.clone()).unwrap();
        assert!(names.packed().bytes.len() < bytes / 10, "{} of {bytes}", names.packed().bytes.len());
        assert_eq!(left(&names), all);
        for name in &all[..90_000] {
            assert_eq!(names.take(), Some(&name[..]));
            names.trim().unwrap();
        }
        assert!(names.packed().bytes.len() < bytes / 40, "{} of {bytes}", names.packed().bytes.len());
        assert_eq!(left(&names), all[90_000..]);
    }

    #[test]
    fn a_small_list_cannot_stand_for_more_names_than_a_folder_has() {
        // Each pair of bytes repeats the longest name.
        let mut list = [&[0][..], &[b'x'; 255], &[END]].concat();
        list.extend([255, END].repeat(2 << 20));
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&list).unwrap();
        let bytes = encoder.finish().unwrap();
        assert!(bytes.len() < 16 << 10);
        assert!(unpack(&PackedNames { bytes: &bytes, skip: 0 }).unwrap_err().contains("too many names"));
    }

    #[test]
    fn invalid_bytes_are_rejected() {
        let names = FileNames::new(vec!["a.csv".into(), "b.csv".into()]).unwrap();
        let bytes = names.packed().bytes;
        assert_eq!(unpack(&PackedNames { bytes, skip: 2 }).unwrap(), [""; 0]);
        assert!(unpack(&PackedNames { bytes, skip: 3 }).is_err());
        for end in 1..bytes.len() {
            assert!(unpack(&PackedNames { bytes: &bytes[..end], skip: 0 }).is_err(), "{end}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_packed_names_are_those_not_taken(
            all in prop::collection::vec("[a-cä]{1,4}", 0..20),
            steps in prop::collection::vec((0_usize..5, 0_usize..3), 0..10),
        ) {
            let mut names = FileNames::new(all.clone()).unwrap();
            for (take, back) in steps {
                for _ in 0..take {
                    let expected = all.get(names.taken()).map(String::as_str);
                    prop_assert_eq!(names.take(), expected);
                }
                let taken = names.taken();
                names.take_back_to(taken.saturating_sub(back));
                prop_assert!(names.taken() >= names.packed_from);
                names.trim().unwrap();
                prop_assert_eq!(left(&names), &all[names.taken()..]);
            }
        }
    }
}
