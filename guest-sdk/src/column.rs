//! Columns as the contract lays them out: bytes, and one offset more than there are values.

use crate::bindings::cofferdam::function::types::Column;

/// A column without values, ready to be pushed to.
pub(crate) fn empty() -> Column {
    Column { bytes: Vec::new(), offsets: vec![0] }
}

/// Takes all values out and keeps the memory.
pub(crate) fn clear(column: &mut Column) {
    column.bytes.clear();
    column.offsets.clear();
    column.offsets.push(0);
}

/// How many values a column holds.
pub(crate) fn len(column: &Column) -> usize {
    column.offsets.len().saturating_sub(1)
}

/// Up to here bytes are copied in words. In wasm `memory.copy` is a call out of the guest, which costs more.
const SHORT_BYTES_MAX: usize = 32;

/// Appends bytes that are likely few, as keys are.
#[inline]
pub(crate) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT_BYTES_MAX {
        to.extend_from_slice(bytes);
        return;
    }
    to.reserve(bytes.len());
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().for_each(|word| to.extend_from_slice(word));
    rest.iter().for_each(|&byte| to.push(byte));
}

/// Ends the value whose bytes were appended to `bytes`.
#[inline(always)]
pub(crate) fn end_value(column: &mut Column) {
    column.offsets.push(column.bytes.len() as u32);
}

/// Value `index`.
#[inline]
pub(crate) fn value(column: &Column, index: usize) -> &[u8] {
    &column.bytes[column.offsets[index] as usize..column.offsets[index + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn bytes_of_any_length_are_appended_whole() {
        for length in 0..80u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let mut to = vec![7];
            append(&mut to, &bytes);
            assert_eq!(to, [&[7], &bytes[..]].concat());
        }
    }
}
