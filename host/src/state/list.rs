//! The encoding of a list: for each element its length (u32, little endian), then its bytes.
//!
//! Part of the durable format. Decoding checks the bytes, since they may come from a damaged checkpoint.

use crate::error::{Result, checkpoint_corrupt, state_failed};
use crate::model::Column;

const LENGTH_BYTES: usize = 4;

/// Appends an element to an encoded list: `stamp`, then `value`. `stamp` is empty if the state has no time to live.
///
/// An element must be smaller than 4 GiB. Guests have less memory than that.
pub fn push_element(list: &mut Vec<u8>, stamp: &[u8], value: &[u8]) {
    let length = stamp.len() + value.len();
    debug_assert!(u32::try_from(length).is_ok(), "the element has 4 GiB or more");
    list.extend_from_slice(&(length as u32).to_le_bytes());
    list.extend_from_slice(stamp);
    list.extend_from_slice(value);
}

/// Splits an encoded list into its first element and the rest. Returns `None` if the list is empty or malformed.
pub fn split_element(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = list.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Returns the elements of an encoded list, up to its end or a defect.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let (element, after_element) = split_element(rest)?;
        rest = after_element;
        Some(element)
    })
}

/// Appends the elements of an encoded list to `elements`, in order.
///
/// Errors: `checkpoint-corrupt` if the bytes are malformed, after appending the elements before the defect; `state-failed`
/// if the column would exceed 4 GiB.
pub fn decode(list: &[u8], elements: &mut Column) -> Result<()> {
    decode_with(list, elements, |element, elements| {
        elements.push(element);
        Ok(())
    })
}

/// Like [`decode`], but calls `push` for each element. `push` decides what it appends to `elements`.
pub fn decode_with(
    list: &[u8],
    elements: &mut Column,
    mut push: impl FnMut(&[u8], &mut Column) -> Result<()>,
) -> Result<()> {
    if u32::try_from(elements.bytes().len() + list.len()).is_err() {
        return Err(state_failed("the lists of the keys of one batch are larger than 4 GiB"));
    }
    let mut rest = list;
    while !rest.is_empty() {
        let (element, after_element) = split_element(rest).ok_or_else(|| {
            let (offset, length) = (list.len() - rest.len(), list.len());
            checkpoint_corrupt(format!("a list of {length} bytes ends within the element at byte {offset}"))
        })?;
        push(element, elements)?;
        rest = after_element;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_list_decodes_to_its_elements() {
        let mut list = Vec::new();
        for element in [&b"one"[..], b"", b"three"] {
            push_element(&mut list, &[], element);
        }
        let mut elements: Column = ["before"].into_iter().collect();
        decode(&[], &mut elements).unwrap();
        decode(&list, &mut elements).unwrap();
        assert_eq!(elements.iter().collect::<Vec<_>>(), [&b"before"[..], b"one", b"", b"three"]);
    }

    #[test]
    fn malformed_lists_are_refused() {
        let mut list = Vec::new();
        push_element(&mut list, &[], b"one");
        for end in 1..list.len() {
            assert_eq!(
                decode(&list[..end], &mut Column::new()).unwrap_err().code,
                "checkpoint-corrupt",
                "cut at {end}"
            );
        }
        assert_eq!(decode(&[255; 8], &mut Column::new()).unwrap_err().code, "checkpoint-corrupt");
    }
}
