//! Untrusted text on a terminal or in a log: one line, without anything that steers what shows it.
//!
//! A guest's messages, column names, keys, paths and what a server answers may hold line breaks, escape sequences and
//! characters that change the direction of text. [`one_line`] makes all of them visible. It is the only such function.

use std::borrow::Cow;

/// The text with every character escaped that breaks a line, steers a terminal, or hides or reorders other characters:
/// `\n`, `\t`, `\r`, otherwise `\u{202e}`. Escaping twice changes nothing.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Like [`one_line`], but keeps line breaks. For text that the caller composed of lines which were escaped one by one.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_unsafe(c))
}

/// JSON with the same characters escaped as JSON does it, so that it stays the same document.
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

/// Whether a character must not reach a terminal or a log as it is.
pub fn is_unsafe(c: char) -> bool {
    match c {
        ' '..='~' => false,
        // Bidirectional marks, embeddings, overrides and isolates.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        // Line and paragraph separators.
        '\u{2028}' | '\u{2029}' => true,
        // Invisible: zero width space, word joiner and its like, byte order mark, annotations, tags.
        '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_or_breaks_a_line_is_made_visible() {
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

    proptest! {
        #[test]
        fn the_result_is_one_line_and_stays_what_it_is(text in any::<String>()) {
            let once = one_line(&text).into_owned();
            prop_assert!(!once.chars().any(is_unsafe));
            prop_assert_eq!(one_line(&once), &once[..]);
        }
    }
}
