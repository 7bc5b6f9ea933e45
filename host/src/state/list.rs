//! How a list lies in its entry: each element as its length (u32, little endian) and its bytes, one behind the other.
//!
//! Part of the durable format. Bytes from a checkpoint are checked before they become a column.

use crate::error::{Result, checkpoint_corrupt, state_failed};
use crate::model::Column;

const LENGTH_BYTES: usize = 4;

/// Appends an element to the bytes of a list: `stamp` (empty where the state has no time to live), then `value`. An element is
/// smaller than 4 GiB: guests have less memory than that.
pub fn push_element(list: &mut Vec<u8>, stamp: &[u8], value: &[u8]) {
    let length = stamp.len() + value.len();
    debug_assert!(u32::try_from(length).is_ok(), "an element of 4 GiB");
    list.extend_from_slice(&(length as u32).to_le_bytes());
    list.extend_from_slice(stamp);
    list.extend_from_slice(value);
}

/// The first element of a list, and what follows it. None where the bytes are not what [`push_element`] writes, and where
/// there are none.
pub fn split_element(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, behind) = list.split_first_chunk::<LENGTH_BYTES>()?;
    behind.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Appends the elements of a list to `elements`, in order. Errors: `checkpoint-corrupt` where the bytes are not what
/// [`push_element`] writes, after the elements before the defect; `state-failed` where a column cannot hold so much.
pub fn decode(list: &[u8], elements: &mut Column) -> Result<()> {
    decode_with(list, elements, |element, elements| {
        elements.push(element);
        Ok(())
    })
}

/// As [`decode`], but `push` says what of each element goes to `elements`: some of its bytes or nothing.
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
        let (element, behind) = split_element(rest).ok_or_else(|| {
            let (at, length) = (list.len() - rest.len(), list.len());
            checkpoint_corrupt(format!("an element at byte {at} of a list of {length} bytes does not end within them"))
        })?;
        push(element, elements)?;
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_element_by_element() {
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
    fn bytes_that_are_no_list_are_refused() {
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
