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

/// Appends bytes that are likely few, as keys are. A loop or a `memory.copy`, which is a call out of the guest, would cost
/// more than these copies of fixed length.
#[inline(always)] // A call costs more in wasm than what is done here.
pub(crate) fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        33.. => to.extend_from_slice(bytes),
        16.. => append_ends::<16>(to, bytes),
        8.. => append_ends::<8>(to, bytes),
        4.. => append_ends::<4>(to, bytes),
        // Numbers of few bytes come here that were written one by one just now: a wider read would wait for them.
        _ => bytes.iter().for_each(|&byte| to.push(byte)),
    }
}

/// Appends between `N` and twice `N` bytes: the first `N`, and the last `N` in their place, whether they overlap or not.
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
