//! Looks for secrets in what a server leaves and answers: as they are, in quotes, in base64, in hexadecimal digits and percent-encoded.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Returns the forms in which a value may be written.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_owned(), format!("{value:?}").trim_matches('"').to_owned()];
    let hex: String = value.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    forms.extend([hex.to_ascii_uppercase(), hex]);
    let percent: String = value.bytes().fold(String::new(), |mut text, byte| {
        let _ = match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => write!(text, "{}", byte as char),
            byte => write!(text, "%{byte:02X}"),
        };
        text
    });
    forms.push(percent);
    for alphabet in [b"+/", b"-_"] {
        forms.extend((0..3).map(|before| base64_within(value.as_bytes(), before, *alphabet)));
    }
    // The value of each byte, as `Debug` shows bytes.
    forms.push(value.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    forms.into_iter().map(String::into_bytes).collect()
}

/// Returns the characters of base64 that only the value decides, if `before` other bytes precede it.
fn base64_within(value: &[u8], before: usize, last: [u8; 2]) -> String {
    let digits: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(last).collect();
    let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    // Bits of the value that share a character with the byte before it.
    let skipped = (6 - before * 8 % 6) % 6;
    let groups = bits[skipped..].chunks_exact(6);
    groups.map(|group| digits[group.iter().fold(0, |number, bit| number << 1 | bit) as usize] as char).collect()
}

/// Returns the secrets that occur in `bytes` in any form.
pub fn secrets_in<'s>(bytes: &[u8], secrets: &[&'s str]) -> Vec<&'s str> {
    let forms: Vec<(usize, Vec<u8>)> = (secrets.iter().enumerate())
        .flat_map(|(index, secret)| forms(secret).into_iter().map(move |form| (index, form)))
        .collect();
    // By their first byte, so that the bytes are read once.
    let mut by_first = vec![Vec::new(); 256];
    for (index, form) in &forms {
        by_first[usize::from(form[0])].push((*index, form.as_slice()));
    }
    // The rest of a preallocated file is zero.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut is_found = vec![false; secrets.len()];
    for start in 0..end {
        for (index, form) in &by_first[usize::from(bytes[start])] {
            is_found[*index] |= bytes[start..].starts_with(form);
        }
    }
    secrets.iter().zip(is_found).filter(|(_, is_found)| *is_found).map(|(secret, _)| *secret).collect()
}

/// Returns the files below a folder that contain one of the secrets, with it. Leaves out everything below `except`.
pub fn files_with_secrets(folder: &Path, except: &Path, secrets: &[&str]) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path == except {
            continue;
        }
        if path.is_dir() {
            found.extend(files_with_secrets(&path, except, secrets)?);
        } else {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
            let secrets = secrets_in(&[name, bytes].concat(), secrets);
            found.extend(secrets.into_iter().map(|secret| (path.clone(), secret.to_owned())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_form() {
        const SECRET: &str = "pass+word/9?";
        for (text, is_found) in [
            ("a pass+word/9? b", true),
            ("pass+word/9", false),
            ("706173732b776f72642f393f", true),
            ("706173732B776F72642F393F", true),
            ("x=pass%2Bword%2F9%3F&", true),
            // pass+word/9?, u:pass+word/9?, us:pass+word/9?!, user:pass+word/9?
            ("cGFzcyt3b3JkLzk/", true),
            ("cGFzcyt3b3JkLzk_", true),
            ("dTpwYXNzK3dvcmQvOT8=", true),
            ("dXM6cGFzcyt3b3JkLzk/IQ==", true),
            ("dXNlcjpwYXNzK3dvcmQvOT8=", true),
            ("[112, 97, 115, 115, 43, 119, 111, 114, 100, 47, 57, 63]", true),
            ("dXNlcjpwYXNzd29yZA==", false),
        ] {
            assert_eq!(!secrets_in(text.as_bytes(), &[SECRET]).is_empty(), is_found, "{text}");
        }
    }
}
