//! The forms in which a client or a peer may write a secret into a message: as it is, in quotes, in base64, in hexadecimal digits, and
//! percent-encoded.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts occur by chance, and are not looked for.
pub(super) const WRITTEN_BYTES_MIN: usize = 4;

/// Returns the value in all forms. Forms that are so short that they occur by chance are left out.
pub(super) fn written_forms(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([value.to_owned(), value.escape_debug().to_string()]);
    let quoted = serde_json::to_string(value).unwrap_or_default();
    forms.extend(quoted.get(1..quoted.len().saturating_sub(1)).map(str::to_owned));
    let lower = hex::encode(value);
    forms.extend([lower.to_ascii_uppercase(), lower]);
    forms.extend([true, false].map(|upper| percent_encoded(value.as_bytes(), upper)));
    for before in 0..3 {
        forms.extend(base64_within(value.as_bytes(), before));
    }
    forms.retain(|form| form.len() >= WRITTEN_BYTES_MIN);
    forms
}

/// Returns the characters that the value has in base64 behind `before` other bytes, and in front of any: `user:password` of an
/// authorization contains the password so.
fn base64_within(value: &[u8], before: usize) -> [String; 2] {
    let bytes = [&[0; 3][..before], value].concat();
    // Characters that other bytes decide, too.
    let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
        .map(|text| text.get(start..end).unwrap_or_default().to_owned())
}

fn percent_encoded(value: &[u8], upper: bool) -> String {
    let mut text = String::new();
    for byte in value {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => write!(text, "{}", *byte as char),
            byte if upper => write!(text, "%{byte:02X}"),
            byte => write!(text, "%{byte:02x}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_every_form_whatever_surrounds_it() {
        let value = "p\"ss wörd+/?\\1";
        let forms = written_forms(value);
        let is_found = |text: &str| forms.iter().any(|form| text.contains(form.as_str()));
        for (before, after) in [("", ""), ("u:", "\n"), ("user:", "xy"), ("a", "z")] {
            let whole = format!("{before}{value}{after}");
            for text in [
                whole.clone(),
                format!("{whole:?}"),
                serde_json::json!({ "message": whole }).to_string(),
                STANDARD_NO_PAD.encode(&whole),
                base64::engine::general_purpose::STANDARD.encode(&whole),
                URL_SAFE_NO_PAD.encode(&whole),
                hex::encode(&whole),
                hex::encode_upper(&whole),
                percent_encoded(whole.as_bytes(), true),
                percent_encoded(whole.as_bytes(), false),
            ] {
                assert!(is_found(&text), "{text}");
            }
        }
        assert_eq!(written_forms("abc"), BTreeSet::from(["616263".to_owned(), "YWJj".to_owned()]));
    }
}
