//! Recognizes the start of a text: a byte order mark, or an encoding or compression that sources do not support.

/// The meaning of the first bytes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStart {
    /// More bytes are needed.
    Undecided,
    /// UTF-8 or a compatible encoding, after a byte order mark of this length.
    Text { mark: usize },
    /// An unsupported encoding or compression, by name.
    Foreign(&'static str),
}

/// Matches one byte.
#[derive(Clone, Copy)]
enum BytePattern {
    Is(u8),
    /// Matches a printable ASCII character, a tab or a line end.
    Text,
    Any,
}

use BytePattern::{Any, Is, Text};

const UTF_16: TextStart = TextStart::Foreign("UTF-16");

/// The first matching pattern decides. An ordinary text matches none.
const PATTERNS: &[(&[BytePattern], TextStart)] = &[
    (&[Is(0xef), Is(0xbb), Is(0xbf)], TextStart::Text { mark: 3 }),
    // Before UTF-16, whose mark is its beginning.
    (&[Is(0xff), Is(0xfe), Is(0), Is(0)], TextStart::Foreign("UTF-32")),
    (&[Is(0xff), Is(0xfe)], UTF_16),
    (&[Is(0xfe), Is(0xff)], UTF_16),
    (&[Text, Is(0), Text, Is(0)], UTF_16),
    (&[Is(0), Text, Is(0), Text], UTF_16),
    (&[Is(0), Is(0), Is(0xfe), Is(0xff)], TextStart::Foreign("UTF-32")),
    (&[Is(0x1f), Is(0x8b), Is(8)], TextStart::Foreign("gzip")),
    (&[Is(0x28), Is(0xb5), Is(0x2f), Is(0xfd)], TextStart::Foreign("zstd")),
    (&[Is(0xfd), Is(b'7'), Is(b'z'), Is(b'X'), Is(b'Z'), Is(0)], TextStart::Foreign("xz")),
    (
        &[Is(b'B'), Is(b'Z'), Is(b'h'), Any, Is(0x31), Is(0x41), Is(0x59), Is(0x26), Is(0x53), Is(0x59)],
        TextStart::Foreign("bzip2"),
    ),
    (&[Is(b'P'), Is(b'K'), Is(3), Is(4)], TextStart::Foreign("zip")),
];

/// Classifies a text by its first `bytes`. `is_all` means that no more bytes follow.
pub fn classify(bytes: &[u8], is_all: bool) -> TextStart {
    let mut undecided = false;
    for (pattern, meaning) in PATTERNS {
        if pattern.iter().zip(bytes).all(|(expected, byte)| matches(*expected, *byte)) {
            if bytes.len() >= pattern.len() {
                return *meaning;
            }
            undecided = true;
        }
    }
    if undecided && !is_all { TextStart::Undecided } else { TextStart::Text { mark: 0 } }
}

fn matches(expected: BytePattern, byte: u8) -> bool {
    match expected {
        Is(expected) => byte == expected,
        Text => matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'),
        Any => true,
    }
}

/// Returns the hint for an unsupported encoding or compression.
pub fn hint(foreign: &str) -> String {
    match foreign {
        "UTF-16" | "UTF-32" => format!("convert it to UTF-8 first: `iconv -f {foreign} -t UTF-8`"),
        "gzip" => "decompress it first: a source reads gzip from files only, and only one layer of it".to_owned(),
        _ => "decompress it first: gzip is the only compression that a source reads".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_classified_once_enough_bytes_are_known() {
        let cases: [(&[u8], &str); 11] = [
            (b"\xff\xfek\0", "UTF-16"),
            (b"\xff\xfe\0\0", "UTF-32"),
            (b"\xfe\xff\0k", "UTF-16"),
            (b"k\0,\0t\0", "UTF-16"),
            (b"\0k\0,\0t", "UTF-16"),
            (b"\0\0\xfe\xff", "UTF-32"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\xfd7zXZ\0", "xz"),
            (b"BZh91AY&SY", "bzip2"),
            (b"PK\x03\x04", "zip"),
        ];
        for (bytes, name) in cases {
            assert_eq!(classify(bytes, false), TextStart::Foreign(name), "{bytes:?}");
            assert_eq!(classify(&bytes[..1], false), TextStart::Undecided, "{name}");
            assert_eq!(classify(&bytes[..1], true), TextStart::Text { mark: 0 }, "{name}");
        }
        assert_eq!(classify(b"\xef\xbb\xbfa", false), TextStart::Text { mark: 3 });
        assert_eq!(classify(b"\xef\xbb", false), TextStart::Undecided);
        for text in [&b"a,b\n"[..], b"BZh,x\n", b"PK,1\n", "\u{e4}\n".as_bytes(), b"\n\n", b"(1)\n", b"\0\0"] {
            let start = classify(text, text.len() == 2);
            assert_eq!(start, TextStart::Text { mark: 0 }, "{text:?}");
        }
        assert_eq!(classify(b"", true), TextStart::Text { mark: 0 });
    }
}
