//! A light reader of Rust source: separates production code from comments, string literals and tests, and finds the modules
//! that a file uses.
//!
//! It is not a parser. It relies on files being formatted by rustfmt.

pub mod imports;
pub mod items;

use std::path::{Path, PathBuf};

/// The text with comments, literals and items under `#[cfg(test)]` replaced by spaces. Line numbers do not change.
pub fn production_code(text: &str) -> String {
    let mut code = blank_comments_and_texts(text);
    while let Some(start) = find_test_item(&code) {
        let end = item_end(&code, start);
        let blank: String = code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(start..end, &blank);
    }
    code
}

/// The modules that a file declares under `#[cfg(test)]`, as paths without extension.
pub fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(path);
    let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    let own = if is_root { folder.to_path_buf() } else { path.with_extension("") };
    let declared = |declaration: &str| {
        let (attributes, name) = declaration.split_once("mod ")?;
        let name = name
            .split_once(';')
            .map(|(name, _)| name)
            .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))?;
        let elsewhere = attributes.split_once("#[path = \"").and_then(|(_, path)| path.split_once(".rs\""));
        // Only attributes and visibility may stand between the attribute and `mod`.
        let bare = attributes
            .lines()
            .all(|line| ["", "pub", "pub(crate)"].contains(&line.trim()) || line.trim().starts_with("#["));
        bare.then(|| elsewhere.map_or_else(|| own.join(name), |(file, _)| folder.join(file)))
    };
    text.split("#[cfg(test)]").skip(1).filter_map(declared).collect()
}

fn find_test_item(code: &str) -> Option<usize> {
    ["#[cfg(test)]", "#[cfg(all(test", "#[test]"].iter().filter_map(|attribute| code.find(attribute)).min()
}

/// The end of the item whose first attribute is at `start`: after its `;` or after its closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => braces += 1,
            '}' if braces <= 1 => return start + at + 1,
            '}' => braces -= 1,
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

fn blank_comments_and_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => at + find(&bytes[at..], b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => at + find(&bytes[at..], b"*/") + 2,
            b'"' => quoted_end(bytes, at),
            b'r' if at == 0 || !is_word(bytes[at - 1]) => raw_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        let end = end.min(bytes.len());
        out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).unwrap_or(bytes.len())
}

fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `r"..."` or `r#"..."#`, if `start` begins one.
fn raw_end(bytes: &[u8], start: usize) -> Option<usize> {
    let hashes = bytes[start + 1..].iter().take_while(|byte| **byte == b'#').count();
    let quote = start + 1 + hashes;
    (bytes.get(quote) == Some(&b'"')).then(|| {
        let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
        quote + 1 + find(&bytes[quote + 1..], &close) + close.len()
    })
}

/// The end of a char literal. A quote that begins a lifetime has no extent.
fn char_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start + 1) {
        Some(b'\\') => start + 3 + find(&bytes[(start + 3).min(bytes.len())..], b"'") + 1,
        Some(_) => (start + 2..start + 6)
            .find(|at| bytes.get(*at) == Some(&b'\''))
            .filter(|at| !is_word(bytes[start + 1]) || *at == start + 2)
            .map_or(start, |at| at + 1),
        None => start,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The top-level modules that a file of the crate names, with their lines: `crate::x`, `crate::{x, y}`, and `super::x` if it
/// leads to the root. `path` is relative to the crate's `src`.
pub fn crate_modules(path: &Path, code: &str) -> Vec<(usize, String)> {
    let mut depth = path.with_extension("").components().count();
    if path.ends_with("mod.rs") {
        depth -= 1;
    }
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for root in ["crate::", to_root.as_str()].into_iter().filter(|root| !root.is_empty()) {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            let line = code[..at].lines().count().max(1);
            found.extend(first_names(&code[at + root.len()..]).into_iter().map(|name| (line, name)));
        }
    }
    found
}

/// The first names of the paths that begin here: one name, or the names of a group in braces.
fn first_names(code: &str) -> Vec<String> {
    let Some(group) = code.strip_prefix('{') else { return vec![word(code)] };
    let (mut depth, mut names, mut expects_name) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            c if depth == 0 && expects_name && !c.is_whitespace() => {
                names.push(word(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn word(code: &str) -> String {
    code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn comments_texts_and_chars_are_blanked() {
    let text = "a(/* b */ 'x', '\\'', \"c\\\"d\", r#\"e\"f\"#, 'g); // h\nlet i: &'static str;";
    let code = production_code(text);
    assert_eq!(code.len(), text.len());
    for gone in ["b", "x", "c\\", "d\"", "e\"", " h"] {
        assert!(!code.contains(gone), "{gone} is left in {code}");
    }
    assert!(code.contains("'g)") && code.contains("&'static str"), "{code}");
}

#[test]
fn modules_are_found_however_they_are_named() {
    let code = "use crate::{a::B, c::{d, e}, f};\nlet x = crate::g::h();\nuse super::i;\nuse super::super::j;";
    let names = |path| crate_modules(Path::new(path), code).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names("m/n.rs"), ["a", "c", "f", "g", "j"]);
    assert_eq!(names("m/mod.rs"), ["a", "c", "f", "g", "i", "super"]);
    assert_eq!(crate_modules(Path::new("m.rs"), code)[3], (2, "g".to_string()));
}

#[test]
fn test_modules_are_found_by_their_declaration() {
    let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod c;\n#[cfg(test)]\npub(crate) mod d;\n\
                #[cfg(test)]\nmod e {\n}\n#[cfg(test)]\nuse x;\nmod f;\n";
    let found = |path: &str| test_modules(Path::new(path), text);
    assert_eq!(found("m/mod.rs"), ["m/b", "m/c_tests", "m/d"].map(PathBuf::from));
    assert_eq!(found("m/n.rs"), ["m/n/b", "m/c_tests", "m/n/d"].map(PathBuf::from));
}
