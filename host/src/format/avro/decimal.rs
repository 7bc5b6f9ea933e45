//! Decimal numbers of Avro: an integer in two's complement, of which a scale says how many digits are decimals.

use super::bytes::{AvroDefect, AvroResult};

/// Returns the unscaled number of up to 16 bytes, most significant first.
pub(super) fn unscaled(bytes: &[u8]) -> AvroResult<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let skipped = bytes.len().saturating_sub(16);
    let (excess, bytes) = bytes.split_at(skipped);
    let has_sign = bytes.first().is_none_or(|first| (first & 0x80 != 0) == negative);
    if !has_sign || excess.iter().any(|byte| *byte != fill) {
        return Err(AvroDefect::DecimalTooLong);
    }
    let mut number = [fill; 16];
    number[16 - bytes.len()..].copy_from_slice(bytes);
    Ok(i128::from_be_bytes(number))
}

/// Appends the text of a number, such as `-12.30` for -1230 with a scale of 2.
pub(super) fn write_text(to: &mut Vec<u8>, number: i128, scale: u32) {
    let digits = number.unsigned_abs().to_string();
    let scale = scale as usize;
    if number < 0 {
        to.push(b'-');
    }
    let whole = digits.len().saturating_sub(scale);
    if whole == 0 {
        to.push(b'0');
    }
    to.extend_from_slice(&digits.as_bytes()[..whole]);
    if scale > 0 {
        to.push(b'.');
        to.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        to.extend_from_slice(&digits.as_bytes()[whole..]);
    }
}

/// Returns the number of a text, multiplied by ten to the power of `scale`. `None` if it is not a whole number then.
pub(super) fn parse(text: &str, scale: u32) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let (used, unused) = decimals.split_at_checked(scale as usize).unwrap_or((decimals, ""));
    if unused.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let mut number = 0_i128;
    let padding = std::iter::repeat_n(b'0', scale as usize - used.len());
    for digit in whole.bytes().chain(used.bytes()).chain(padding) {
        let digit = char::from(digit).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    Some(if negative { -number } else { number })
}

/// Returns the shortest bytes of a number in two's complement.
pub(super) fn shortest(number: i128) -> ([u8; 16], usize) {
    let bytes = number.to_be_bytes();
    let fill = if number < 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < 15 && bytes[start] == fill && (bytes[start + 1] & 0x80 != 0) == (number < 0) {
        start += 1;
    }
    (bytes, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_numbers_keep_their_digits() {
        for (number, scale, text) in [
            (1230, 2, "12.30"),
            (-1230, 2, "-12.30"),
            (5, 3, "0.005"),
            (-5, 0, "-5"),
            (0, 2, "0.00"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
        ] {
            let mut written = Vec::new();
            write_text(&mut written, number, scale);
            assert_eq!(String::from_utf8(written).unwrap(), text);
            let (bytes, start) = shortest(number);
            assert_eq!(unscaled(&bytes[start..]), Ok(number));
            if number != i128::MIN {
                assert_eq!(parse(text, scale), Some(number));
            }
        }
        assert_eq!(parse("1.5", 0), None);
        assert_eq!(parse("1.50", 1), Some(15));
        assert_eq!((parse("", 2), parse(".", 2), parse("1e3", 2), parse("-", 2)), (None, None, None, None));
        assert_eq!(unscaled(&[]), Ok(0));
        assert_eq!(unscaled(&[0xff; 20]), Ok(-1));
        assert_eq!(unscaled(&[1; 17]), Err(AvroDefect::DecimalTooLong));
        assert_eq!(unscaled(&[0; 16].map(|_: u8| 0x80)).map(|number| number < 0), Ok(true));
    }
}
