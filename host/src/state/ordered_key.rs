//! An order-preserving encoding of a key that is followed by other bytes. Part of the durable format.
//!
//! A 0 byte becomes `0 255` and the key ends with `0 0`. So the encoded bytes sort as the pair (key, following bytes).

/// Appends the encoding of `key`. More bytes may follow it.
pub fn write_ordered(buffer: &mut Vec<u8>, key: &[u8]) {
    for &byte in key {
        buffer.push(byte);
        if byte == 0 {
            buffer.push(255);
        }
    }
    buffer.extend_from_slice(&[0, 0]);
}

/// Returns the key that [`write_ordered`] encoded, and the bytes that follow it. Returns `None` if the bytes do not begin
/// with an encoded key.
pub fn read_ordered(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut key = Vec::new();
    let mut rest = bytes;
    loop {
        let (&byte, after_byte) = rest.split_first()?;
        rest = after_byte;
        if byte == 0 {
            let (&mark, after_mark) = rest.split_first()?;
            rest = after_mark;
            match mark {
                0 => return Some((key, rest)),
                255 => {}
                _ => return None,
            }
        }
        key.push(byte);
    }
}
