//! How a list lies in its entry: each element as its length (u32, little endian) and its bytes, one behind the other.
//!
//! Part of the durable format. Bytes from a checkpoint are checked before they become a column.

use crate::error::{Result, checkpoint_corrupt, state_failed};
use crate::model::Column;

const LENGTH_BYTES: usize = 4;

/// Appends an element to the bytes of a list. An element is smaller than 4 GiB: guests have less memory than that.
pub fn push_element(list: &mut Vec<u8>, element: &[u8]) {
    debug_assert!(u32::try_from(element.len()).is_ok(), "an element of 4 GiB");
    list.extend_from_slice(&(element.len() as u32).to_le_bytes());
    list.extend_from_slice(element);
}

/// Appends the elements of a list to `elements`, in order; `checkpoint-corrupt` where the bytes are not what
/// [`push_element`] writes, after the elements before the defect.
pub fn decode(list: &[u8], elements: &mut Column) -> Result<()> {
    if u32::try_from(elements.bytes().len() + list.len()).is_err() {
        return Err(state_failed("the lists of the keys of one batch are larger than 4 GiB"));
    }
    let mut rest = list;
    while !rest.is_empty() {
        let at = list.len() - rest.len();
        let Some((length, behind)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(checkpoint_corrupt(format!("a list ends inside the length of an element, at byte {at}")));
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((element, behind)) = behind.split_at_checked(length) else {
            return Err(checkpoint_corrupt(format!(
                "an element of a list at byte {at} has {length} bytes, but {} are left",
                behind.len()
            )));
        };
        elements.push(element);
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
            push_element(&mut list, element);
        }
        let mut elements: Column = ["before"].into_iter().collect();
        decode(&[], &mut elements).unwrap();
        decode(&list, &mut elements).unwrap();
        assert_eq!(elements.iter().collect::<Vec<_>>(), [&b"before"[..], b"one", b"", b"three"]);
    }

    #[test]
    fn bytes_that_are_no_list_are_refused() {
        let mut list = Vec::new();
        push_element(&mut list, b"one");
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
