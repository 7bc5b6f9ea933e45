//! Fields with parts: `Option`, lists and maps.

use super::scalars::{write_bytes, write_natural};
use super::{RecordField, RowDefect, RowReader, RowType};
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

impl<'row, T: RecordField<'row>> RecordField<'row> for Option<T> {
    type Owned = Option<T::Owned>;
    const IS_PLAIN: bool = T::IS_PLAIN;
    const IS_NULLABLE: bool = true;

    fn row_type(depth: usize) -> RowType {
        const { assert!(!T::IS_NULLABLE, "a field of a record cannot be an `Option` of an `Option`") };
        RowType::nullable(T::row_type(depth))
    }

    #[inline(always)]
    fn read(reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
        if reader.flag()? { T::read(reader).map(Some) } else { Ok(None) }
    }

    #[inline(always)]
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Some(value) => {
                to.push(1);
                value.write(to);
            }
            None => to.push(0),
        }
    }

    fn into_owned(self) -> Self::Owned {
        self.map(T::into_owned)
    }
}

impl<'row, T: RecordField<'row>> RecordField<'row> for Vec<T> {
    type Owned = Vec<T::Owned>;
    const IS_PLAIN: bool = T::IS_PLAIN;

    fn row_type(depth: usize) -> RowType {
        T::list_type(depth)
    }

    #[inline]
    fn read(reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
        T::read_list(reader)
    }

    #[inline]
    fn write(&self, to: &mut Vec<u8>) {
        T::write_list(self, to);
    }

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(T::into_owned).collect()
    }
}

impl<'row, T: RecordField<'row>> RecordField<'row> for BTreeMap<String, T> {
    type Owned = BTreeMap<String, T::Owned>;
    const IS_PLAIN: bool = T::IS_PLAIN;

    fn row_type(depth: usize) -> RowType {
        RowType::map(T::row_type(depth + 1))
    }

    fn read(reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
        entries(reader).collect()
    }

    fn write(&self, to: &mut Vec<u8>) {
        write_entries(self.len(), self.iter(), to);
    }

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(|(key, value)| (key, value.into_owned())).collect()
    }
}

/// Written in the order of its keys, so that equal maps have equal bytes.
impl<'row, T: RecordField<'row>, S: BuildHasher + Default + 'static> RecordField<'row> for HashMap<String, T, S> {
    type Owned = HashMap<String, T::Owned, S>;
    const IS_PLAIN: bool = T::IS_PLAIN;

    fn row_type(depth: usize) -> RowType {
        RowType::map(T::row_type(depth + 1))
    }

    fn read(reader: &mut RowReader<'row>) -> Result<Self, RowDefect> {
        entries(reader).collect()
    }

    fn write(&self, to: &mut Vec<u8>) {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_unstable_by_key(|&(key, _)| key);
        write_entries(entries.len(), entries.into_iter(), to);
    }

    fn into_owned(self) -> Self::Owned {
        self.into_iter().map(|(key, value)| (key, value.into_owned())).collect()
    }
}

/// Reads the entries of a map. Of equal keys the last one counts. After an error the iterator ends.
fn entries<'row, T: RecordField<'row>>(
    reader: &mut RowReader<'row>,
) -> impl Iterator<Item = Result<(String, T), RowDefect>> {
    let (mut left, mut defect) = match reader.count() {
        Ok(count) => (count, None),
        Err(defect) => (0, Some(defect)),
    };
    std::iter::from_fn(move || {
        if let Some(defect) = defect.take() {
            return Some(Err(defect));
        }
        left = left.checked_sub(1)?;
        let entry = String::read(reader).and_then(|key| Ok((key, T::read(reader)?)));
        if entry.is_err() {
            left = 0;
        }
        Some(entry)
    })
}

fn write_entries<'row, 'map, T: RecordField<'row> + 'map>(
    len: usize,
    entries: impl Iterator<Item = (&'map String, &'map T)>,
    to: &mut Vec<u8>,
) {
    write_natural(len as u64, to);
    for (key, value) in entries {
        write_bytes(key.as_bytes(), to);
        value.write(to);
    }
}
