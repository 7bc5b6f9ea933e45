//! Finds the values of JSON text without parsing them.
//!
//! Skipped values are checked only for their structure: that strings end, that brackets match, and that everything else consists
//! of the characters of numbers and literals. Nothing recurses, and nesting is limited to [`JSON_DEPTH_MAX`].

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// How deeply arrays and objects may be nested.
pub const JSON_DEPTH_MAX: u32 = 128;

/// Why text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not JSON: {what} at byte {at}")]
pub struct JsonDefect {
    /// The byte at fault.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

#[cold]
fn defect<T>(at: usize, what: &'static str) -> Result<T, JsonDefect> {
    Err(JsonDefect { at, what })
}

/// Returns the position of the first byte from `at` that is not a space.
#[inline]
pub fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Returns a word in which the highest bit of the first byte that is zero is set. Higher bytes may be wrong.
#[inline]
fn zero_byte(word: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
}

/// Returns the position behind the string whose opening quote is at `at`. Examines eight bytes at once, because most strings are
/// too short for a search with vectors to pay.
#[inline]
pub fn skip_string(text: &[u8], at: usize) -> Result<usize, JsonDefect> {
    string_end(text, at).map(|(end, _)| end)
}

/// Returns the position behind a string, and whether it contains an escape.
#[inline]
fn string_end(text: &[u8], at: usize) -> Result<(usize, bool), JsonDefect> {
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    let mut next = at + 1;
    let (mut words, mut is_escaped) = (0, false);
    while let Some(bytes) = text.get(next..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*bytes);
        let found = zero_byte(word ^ QUOTES) | zero_byte(word ^ BACKSLASHES);
        if found == 0 {
            next += 8;
            words += 1;
            if words == 8 {
                break;
            }
            continue;
        }
        let offset = (found.trailing_zeros() / 8) as usize;
        if bytes[offset] == b'"' {
            return Ok((next + offset + 1, is_escaped));
        }
        is_escaped = true;
        next += offset + 2;
    }
    end_of_rest(text, at, next, is_escaped)
}

/// Continues within a long string, or at the end of the text.
fn end_of_rest(text: &[u8], at: usize, mut next: usize, mut is_escaped: bool) -> Result<(usize, bool), JsonDefect> {
    loop {
        match text.get(next..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            None => return defect(at, "a string without an end"),
            Some(offset) if text[next + offset] == b'"' => return Ok((next + offset + 1, is_escaped)),
            Some(offset) => {
                is_escaped = true;
                next += offset + 2;
            }
        }
    }
}

/// Classes of the bytes at which a value is examined.
const PLAIN: u8 = 0;
const SCALAR: u8 = 1;

/// The bytes of numbers and of `true`, `false` and `null`.
static SCALAR_BYTES: [u8; 256] = {
    let mut classes = [PLAIN; 256];
    let bytes = b"0123456789+-.eEtrufalsn";
    let mut index = 0;
    while index < bytes.len() {
        classes[bytes[index] as usize] = SCALAR;
        index += 1;
    }
    classes
};

/// Returns the position behind the number or literal that begins at `at`.
#[inline]
fn skip_scalar(text: &[u8], at: usize) -> Result<usize, JsonDefect> {
    let mut end = at;
    while end < text.len() && SCALAR_BYTES[text[end] as usize] == SCALAR {
        end += 1;
    }
    match text[at..end].first() {
        Some(b'0'..=b'9' | b'-') => Ok(end),
        Some(b't' | b'f' | b'n') if matches!(&text[at..end], b"true" | b"false" | b"null") => Ok(end),
        _ => defect(at, "no value"),
    }
}

/// Returns the position behind the value that begins at `at`.
#[inline]
pub fn skip_value(text: &[u8], at: usize) -> Result<usize, JsonDefect> {
    match text.get(at) {
        Some(b'"') => skip_string(text, at),
        Some(b'{' | b'[') => skip_nested(text, at),
        _ => skip_scalar(text, at),
    }
}

fn skip_nested(text: &[u8], start: usize) -> Result<usize, JsonDefect> {
    // One bit per open bracket: 1 for an object.
    let mut open = 0_u128;
    let mut depth = 0;
    let mut at = start;
    loop {
        match text.get(at) {
            None => return defect(start, "a bracket that is not closed"),
            Some(b'"') => at = skip_string(text, at)?,
            Some(&bracket @ (b'{' | b'[')) => {
                if depth == JSON_DEPTH_MAX {
                    return defect(at, "nesting of more than 128 levels");
                }
                open = open << 1 | u128::from(bracket == b'{');
                depth += 1;
                at += 1;
            }
            Some(&bracket @ (b'}' | b']')) => {
                if open & 1 != u128::from(bracket == b'}') {
                    return defect(at, "another closing bracket");
                }
                open >>= 1;
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            Some(_) => at += 1,
        }
    }
}

/// The name of a member: its position between the quotes, and whether it contains escapes.
#[derive(Clone, Debug)]
pub struct MemberName {
    /// The bytes between the quotes.
    pub range: Range<usize>,
    /// Whether they contain escapes.
    pub is_escaped: bool,
}

impl MemberName {
    /// Returns the name with its quotes.
    pub fn quoted<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.range.start - 1..self.range.end + 1]
    }
}

/// Calls `member` with the name and the position of each value of the object at `at`.
/// `member` returns the position behind the value. Returns the position behind the object.
#[inline]
pub fn members<E: From<JsonDefect>>(
    text: &[u8],
    at: usize,
    mut member: impl FnMut(MemberName, usize) -> Result<usize, E>,
) -> Result<usize, E> {
    if text.get(at) != Some(&b'{') {
        return Err(JsonDefect { at, what: "no object" }.into());
    }
    let mut at = skip_space(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return Ok(at + 1);
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return Err(JsonDefect { at, what: "no name" }.into());
        }
        let (end, is_escaped) = string_end(text, at)?;
        let colon = skip_space(text, end);
        if text.get(colon) != Some(&b':') {
            return Err(JsonDefect { at: colon, what: "no `:`" }.into());
        }
        let behind = member(MemberName { range: at + 1..end - 1, is_escaped }, skip_space(text, colon + 1))?;
        at = skip_space(text, behind);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b'}') => return Ok(at + 1),
            _ => return Err(JsonDefect { at, what: "no `,` or `}`" }.into()),
        }
    }
}

/// Calls `element` with the position of each element of the array at `at`. It returns the position behind the element. Returns
/// the position behind the array.
pub fn elements<E: From<JsonDefect>>(
    text: &[u8],
    at: usize,
    mut element: impl FnMut(usize) -> Result<usize, E>,
) -> Result<usize, E> {
    if text.get(at) != Some(&b'[') {
        return Err(JsonDefect { at, what: "no array" }.into());
    }
    let mut at = skip_space(text, at + 1);
    if text.get(at) == Some(&b']') {
        return Ok(at + 1);
    }
    loop {
        at = skip_space(text, element(at)?);
        match text.get(at) {
            Some(b',') => at = skip_space(text, at + 1),
            Some(b']') => return Ok(at + 1),
            _ => return Err(JsonDefect { at, what: "no `,` or `]`" }.into()),
        }
    }
}

/// Returns the text of a string, given with its quotes. `None` if it is not UTF-8, or has control characters, invalid escapes or
/// lone surrogates.
#[inline]
pub fn string_of(quoted: &[u8]) -> Option<Cow<'_, str>> {
    let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if inner.iter().all(|&byte| byte >= 0x20 && byte != b'\\') {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}
