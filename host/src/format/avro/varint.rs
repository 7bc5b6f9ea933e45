//! Writes the integers of Avro, of variable length.

/// Appends an `int` or a `long`.
#[inline]
pub(super) fn write_long(to: &mut Vec<u8>, value: i64) {
    write_unsigned(to, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
fn write_unsigned(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
