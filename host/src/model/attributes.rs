//! Writes attributes of records in the encoding of the contract (`wit/types.wit`): their number, and each name and value with its
//! length. Numbers are LEB128.

/// Writes the number of attributes that follow.
pub fn push_attribute_count(to: &mut Vec<u8>, count: usize) {
    push_length(to, count);
}

/// Writes one attribute.
pub fn push_attribute(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    for text in [name.as_bytes(), value] {
        push_length(to, text.len());
        to.extend_from_slice(text);
    }
}

fn push_length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push((length as u8 & 0x7f) | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

/// Returns the names and values of a record's attributes. Ends early where the bytes are damaged.
pub fn read_attributes(bytes: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut rest = bytes;
    let mut left = take_length(&mut rest).unwrap_or(0);
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let name = take_text(&mut rest)?;
        let value = take_text(&mut rest)?;
        Some((std::str::from_utf8(name).ok()?, value))
    })
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let mut length: usize = 0;
    for shift in (0..35).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written_and_damage_ends_them() {
        let long = vec![b'x'; 300];
        let all: [(&str, &[u8]); 3] = [(":topic", b"t"), ("", b""), ("long", &long)];
        let mut bytes = Vec::new();
        push_attribute_count(&mut bytes, all.len());
        all.iter().for_each(|(name, value)| push_attribute(&mut bytes, name, value));
        assert_eq!(read_attributes(&bytes).collect::<Vec<_>>(), all);
        for end in 0..bytes.len() {
            let read: Vec<_> = read_attributes(&bytes[..end]).collect();
            assert!(read.len() < all.len() && read[..] == all[..read.len()], "{end}");
        }
        assert_eq!(read_attributes(&[0xff; 9]).count(), 0);
    }
}
