//! Escapes untrusted text for a terminal or a log.
//!
//! Messages of guests, column names, keys, paths and responses of servers may contain line breaks, escape sequences and
//! characters that change the direction of text. [`one_line`] makes all of them visible. All other code uses it.

use std::borrow::Cow;

/// Escapes every character that breaks a line, controls a terminal, or hides or reorders other characters. The escapes are
/// `\n`, `\t`, `\r`, and otherwise like `\u{202e}`. Escaping twice has no further effect.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Works like [`one_line`], but keeps line breaks. For text whose lines the caller has escaped individually.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// Escapes the same characters in JSON with JSON escapes, so that the document stays the same.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_unsafe = |c| c != '\n' && is_unsafe(c);
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if is_unsafe(c) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
            }
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&is_unsafe) else { return Cow::Borrowed(text) };
    let (safe, rest) = text.split_at(first);
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(safe);
    for c in rest.chars() {
        match c {
            c if !is_unsafe(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character must be escaped for a terminal or a log.
pub fn is_unsafe(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Bidirectional marks, embeddings, overrides and isolates.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => true,
        // Invisible characters: zero width space, word joiner and similar, byte order mark, annotations, tags.
        '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        c => c.is_control(),
    }
}

/// Maximum number of characters of a text that [`shown`] returns.
const SHOWN_CHARS_MAX: usize = 200;

/// Maximum number of bytes that [`shown`] returns in hex.
const SHOWN_HEX_BYTES_MAX: usize = 64;

/// Formats a key or a value on one line: as text if the bytes are UTF-8, otherwise as `hex:` and digits.
pub fn shown(bytes: &[u8]) -> String {
    // A character has at most four bytes, so later bytes are cut off in any case.
    let start = &bytes[..bytes.len().min(4 * (SHOWN_CHARS_MAX + 1))];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The cut has split a character of valid text.
        Err(error) if start.len() < bytes.len() && error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return hex_of(bytes),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", one_line(&text[..end])),
        None => one_line(text).into_owned(),
    }
}

fn hex_of(bytes: &[u8]) -> String {
    let cut = if bytes.len() > SHOWN_HEX_BYTES_MAX { "…" } else { "" };
    format!("hex:{}{cut}", hex::encode(&bytes[..bytes.len().min(SHOWN_HEX_BYTES_MAX)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_and_line_breaks_are_made_visible() {
        let cases = [
            ("plain text, naïve, 日本語, 👩‍👩‍👧", "plain text, naïve, 日本語, 👩‍👩‍👧"),
            ("one\ntwo\r\n", "one\\ntwo\\r\\n"),
            ("a\tb", "a\\tb"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}fed", "abc\\u{202e}fed"),
            ("a\u{2028}b\u{0}c\u{7f}", "a\\u{2028}b\\u{0}c\\u{7f}"),
            ("\u{e0041}\u{feff}", "\\u{e0041}\\u{feff}"),
        ];
        for (text, shown) in cases {
            assert_eq!(one_line(text), shown);
        }
        assert_eq!(lines("one\n\ttwo"), "one\n\\ttwo");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "a\u{202e}b": ["x\u{7f}\u{85}\n\t", "\u{e0041}"] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text).into_owned();
        assert!(!shown.chars().any(|c| c != '\n' && is_unsafe(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_shown_key_stays_on_one_line() {
        assert_eq!(shown(b"a,\"b\nc\"\t\x1b[2J"), "a,\"b\\nc\"\\t\\u{1b}[2J");
        assert_eq!(shown("Zürich".as_bytes()), "Zürich");
        assert_eq!(shown(b""), "");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ü".repeat(10_000);
        assert_eq!(shown(text.as_bytes()), format!("{}…", "ü".repeat(SHOWN_CHARS_MAX)));
        let text = format!("x{}", "😀".repeat(10_000));
        assert_eq!(shown(text.as_bytes()), format!("x{}…", "😀".repeat(SHOWN_CHARS_MAX - 1)));
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_in_hex() {
        assert_eq!(shown(&[0xff, 0xfe]), "hex:fffe");
        assert_eq!(shown(&[0xff; 1000]), format!("hex:{}…", "ff".repeat(SHOWN_HEX_BYTES_MAX)));
    }

    proptest! {
        #[test]
        fn escaping_returns_one_line_and_is_idempotent(text in any::<String>()) {
            let once = one_line(&text).into_owned();
            prop_assert!(!once.chars().any(is_unsafe));
            prop_assert_eq!(one_line(&once), &once[..]);
        }
    }
}
