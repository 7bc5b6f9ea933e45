//! Columns in the layout of the contract: bytes, and one offset more than there are values.

use crate::bindings::cofferdam::function::types::{Column, Failure, RecordValues};
use crate::times::malformed;

/// Makes a column without values.
pub(crate) fn empty() -> Column {
    Column { bytes: Vec::new(), offsets: vec![0] }
}

/// Returns the column of packed values, the layout that the SDK declares.
pub(crate) fn packed(values: RecordValues) -> Result<Column, Failure> {
    match values {
        RecordValues::Packed(values) => Ok(values),
        RecordValues::Fields(_) => {
            Err(malformed("values came in the layout `fields`, which is not declared".to_owned()))
        }
    }
}

/// Removes all values and keeps the allocations.
pub(crate) fn clear(column: &mut Column) {
    column.bytes.clear();
    column.offsets.clear();
    column.offsets.push(0);
}

/// Returns the number of values.
pub(crate) fn len(column: &Column) -> usize {
    column.offsets.len().saturating_sub(1)
}

/// Appends a few bytes, such as a key. Copies of fixed length cost less than a loop, and less than a `memory.copy`, which is a call
/// out of the guest.
#[inline(always)] // A call in Wasm costs more than this function.
pub(crate) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        33.. => to.extend_from_slice(bytes),
        16.. => append_ends::<16>(to, bytes),
        8.. => append_ends::<8>(to, bytes),
        4.. => append_ends::<4>(to, bytes),
        // The bytes may have been written one by one just before. A wider read would have to wait for these writes.
        _ => bytes.iter().for_each(|&byte| to.push(byte)),
    }
}

/// Appends between `N` and 2 `N` bytes: the first `N`, then the last `N` at their position. The two may overlap.
#[inline]
fn append_ends<const N: usize>(to: &mut Vec<u8>, bytes: &[u8]) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        let end = to.len() + bytes.len();
        to.reserve(2 * N);
        to.extend_from_slice(first);
        to.truncate(end - N);
        to.extend_from_slice(last);
    }
}

/// Ends a value. Its bytes have been appended to `bytes`.
#[inline(always)]
pub(crate) fn end_value(column: &mut Column) {
    column.offsets.push(column.bytes.len() as u32);
}

/// Returns value `index`.
#[inline]
pub(crate) fn value(column: &Column, index: usize) -> &[u8] {
    &column.bytes[column.offsets[index] as usize..column.offsets[index + 1] as usize]
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn all_bytes_are_appended_at_any_length() {
        for length in 0..80u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let mut to = vec![7];
            append(&mut to, &bytes);
            assert_eq!(to, [&[7], &bytes[..]].concat());
        }
    }
}
