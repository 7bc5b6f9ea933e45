//! Columns: values of variable size in two vectors, with the layout of Arrow's variable-size binary arrays.
//!
//! Invariant: `offsets` has one more entry than the column has values. It begins with 0, never decreases, and ends with
//! `bytes.len()`. [`Column::from_parts`] checks this, so that bytes from a guest or a file cannot break it.

use std::fmt;
use std::ops::Range;

/// A sequence of byte strings.
#[derive(Clone, PartialEq, Eq)]
pub struct Column {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

/// Why two vectors do not form a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnDefect {
    /// The first offset is not 0.
    FirstOffset(u32),
    /// An offset is smaller than the previous one.
    Decreasing {
        /// Index of the smaller offset.
        index: usize,
    },
    /// The last offset is not the number of bytes.
    LastOffset {
        /// The last offset.
        last: u32,
        /// The number of bytes.
        bytes: usize,
    },
}

impl fmt::Display for ColumnDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnDefect::FirstOffset(first) => write!(f, "the first offset is {first}, not 0"),
            ColumnDefect::Decreasing { index } => write!(f, "offset {index} is smaller than the previous offset"),
            ColumnDefect::LastOffset { last, bytes } => {
                write!(f, "the last offset is {last}, but there are {bytes} bytes")
            }
        }
    }
}

impl Default for Column {
    fn default() -> Self {
        Column::new()
    }
}

impl Column {
    /// Returns a column without values.
    pub fn new() -> Column {
        Column { bytes: Vec::new(), offsets: vec![0] }
    }

    /// Returns an empty column with room for this many values and bytes.
    pub fn with_capacity(values: usize, bytes: usize) -> Column {
        let mut offsets = Vec::with_capacity(values + 1);
        offsets.push(0);
        Column { bytes: Vec::with_capacity(bytes), offsets }
    }

    /// Builds a column from untrusted vectors. Two empty vectors give a column without values.
    pub fn from_parts(bytes: Vec<u8>, mut offsets: Vec<u32>) -> Result<Column, ColumnDefect> {
        if offsets.is_empty() {
            offsets.push(0);
        }
        if offsets[0] != 0 {
            return Err(ColumnDefect::FirstOffset(offsets[0]));
        }
        if !offsets.is_sorted() {
            let index = offsets.windows(2).position(|pair| pair[1] < pair[0]).map_or(0, |at| at + 1);
            return Err(ColumnDefect::Decreasing { index });
        }
        let last = offsets[offsets.len() - 1];
        if last as usize != bytes.len() {
            return Err(ColumnDefect::LastOffset { last, bytes: bytes.len() });
        }
        Ok(Column { bytes, offsets })
    }

    /// Appends a value. The bytes of a column must stay below 4 GiB: batches close far earlier (see the `batch` setting).
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        append(&mut self.bytes, value);
        self.offsets.push(self.bytes.len() as u32);
    }

    /// Appends a value that `write` appends to the buffer. `write` must not change the previous content of the buffer.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len() as u32);
    }

    /// Appends a value that `write` appends to the buffer, or nothing if it fails.
    #[inline]
    pub fn try_push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let before = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(()) => {
                self.offsets.push(self.bytes.len() as u32);
                Ok(())
            }
            Err(error) => {
                self.bytes.truncate(before);
                Err(error)
            }
        }
    }

    /// Removes the values behind the first `values`.
    pub fn truncate(&mut self, values: usize) {
        if values < self.len() {
            self.offsets.truncate(values + 1);
            self.bytes.truncate(self.offsets[values] as usize);
        }
    }

    /// Appends the values in `range` of another column.
    pub fn extend_from(&mut self, other: &Column, range: Range<usize>) {
        let (start, end) = (other.offsets[range.start], other.offsets[range.end]);
        let base = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&other.bytes[start as usize..end as usize]);
        self.offsets.extend(other.offsets[range.start + 1..=range.end].iter().map(|offset| offset - start + base));
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Returns whether the column has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the value at `index`. Panics if `index` is out of bounds, like a slice.
    #[inline]
    pub fn value(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// Returns the values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.offsets.windows(2).map(|pair| &self.bytes[pair[0] as usize..pair[1] as usize])
    }

    /// Returns the bytes of all values, concatenated.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the start of each value in the bytes, and the end of the last one.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Returns the values in `range` as a new column.
    pub fn slice(&self, range: Range<usize>) -> Column {
        let mut column = Column::with_capacity(range.len(), 0);
        column.extend_from(self, range);
        column
    }

    /// Returns the bytes and the offsets. The inverse of [`Column::from_parts`].
    pub fn into_parts(self) -> (Vec<u8>, Vec<u32>) {
        (self.bytes, self.offsets)
    }

    /// Removes all values, and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.truncate(1);
    }
}

/// Up to this length, values are copied word by word. That is cheaper than a call to `memcpy`, which first examines the
/// length.
const SHORT_BYTES_MAX: usize = 24;

#[inline]
pub(super) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT_BYTES_MAX {
        to.extend_from_slice(bytes);
        return;
    }
    to.reserve(bytes.len());
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| to.extend_from_slice(word));
    rest.iter().for_each(|&byte| to.push(byte));
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

impl<V: AsRef<[u8]>> FromIterator<V> for Column {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Column {
        let mut column = Column::new();
        for value in values {
            column.push(value.as_ref());
        }
        column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_parts_are_checked() {
        assert_eq!(Column::from_parts(vec![], vec![]).unwrap().len(), 0);
        assert_eq!(Column::from_parts(b"abc".to_vec(), vec![0, 1, 1, 3]).unwrap().value(2), b"bc");
        assert_eq!(Column::from_parts(vec![], vec![1, 1]), Err(ColumnDefect::FirstOffset(1)));
        assert_eq!(Column::from_parts(b"abc".to_vec(), vec![0, 3, 2]), Err(ColumnDefect::Decreasing { index: 2 }));
        assert_eq!(
            Column::from_parts(b"abc".to_vec(), vec![0, 9]),
            Err(ColumnDefect::LastOffset { last: 9, bytes: 3 })
        );
        assert_eq!(Column::from_parts(b"abc".to_vec(), vec![]), Err(ColumnDefect::LastOffset { last: 0, bytes: 3 }));
    }

    #[test]
    fn values_of_any_length_are_stored_unchanged() {
        let values: Vec<Vec<u8>> = (0..64u8).map(|length| (0..length).collect()).collect();
        let column: Column = values.iter().collect();
        assert!(column.iter().eq(values.iter().map(Vec::as_slice)));
    }

    #[test]
    fn slice_and_extend_from_copy_the_values() {
        let column: Column = ["a", "", "ccc", "dd"].into_iter().collect();
        let mut middle = column.slice(1..3);
        assert_eq!(middle.iter().collect::<Vec<_>>(), [&b""[..], b"ccc"]);
        middle.extend_from(&column, 3..4);
        assert_eq!(middle.value(2), b"dd");
    }
}
