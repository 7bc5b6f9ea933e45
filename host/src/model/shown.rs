//! Bytes of a record as a person is shown them: one line, of bounded length, without characters that would steer a terminal.

/// Characters of a text that are shown; the rest is cut off.
const CHARS_MAX: usize = 200;

/// Bytes that are shown in hex where they are no text.
const HEX_BYTES_MAX: usize = 64;

/// A key or a value within one line. Text where the bytes are UTF-8, else `hex:` and digits.
pub fn shown(bytes: &[u8]) -> String {
    // A character has four bytes at most: what is behind is cut off in any case.
    let start = &bytes[..bytes.len().min(4 * (CHARS_MAX + 1))];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character that the cut has split is no reason to show hex.
        Err(error) if start.len() < bytes.len() && error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return hex_of(bytes),
    };
    let mut line = String::with_capacity(text.len());
    for (number, c) in text.chars().enumerate() {
        if number == CHARS_MAX {
            line.push('…');
            break;
        }
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

fn hex_of(bytes: &[u8]) -> String {
    let cut = if bytes.len() > HEX_BYTES_MAX { "…" } else { "" };
    format!("hex:{}{cut}", hex::encode(&bytes[..bytes.len().min(HEX_BYTES_MAX)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_so_that_it_stays_one_line() {
        assert_eq!(shown(b"a,\"b\nc\"\t\x1b[2J"), "a,\"b\\nc\"\\t\\u{1b}[2J");
        assert_eq!(shown("Zürich".as_bytes()), "Zürich");
        assert_eq!(shown(b""), "");
    }

    #[test]
    fn what_is_long_is_cut_even_within_a_character() {
        let text = "ü".repeat(10_000);
        assert_eq!(shown(text.as_bytes()), format!("{}…", "ü".repeat(CHARS_MAX)));
        let text = format!("x{}", "😀".repeat(10_000));
        assert_eq!(shown(text.as_bytes()), format!("x{}…", "😀".repeat(CHARS_MAX - 1)));
    }

    #[test]
    fn what_is_no_text_is_shown_in_hex() {
        assert_eq!(shown(&[0xff, 0xfe]), "hex:fffe");
        assert_eq!(shown(&[0xff; 1000]), format!("hex:{}…", "ff".repeat(HEX_BYTES_MAX)));
    }
}
