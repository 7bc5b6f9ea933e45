//! The types and functions that a file defines, by their lines. The code has been formatted by rustfmt.

use super::production_code;

/// The types that a file defines, tests included, with their lines.
pub fn defined_types(text: &str) -> Vec<(usize, String)> {
    let code = super::blank_comments_and_texts(text);
    let defined = |(index, line): (usize, &str)| {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let is_item = match words.next()? {
            "struct" | "enum" | "union" | "trait" => true,
            // Elsewhere it is the type of an impl or of a trait.
            "type" => !line.starts_with(' '),
            _ => false,
        };
        let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        is_item.then_some((index + 1, name))
    };
    code.lines().enumerate().filter_map(defined).collect()
}

/// The functions of a file outside of tests: line, name, and number of lines.
pub fn function_lengths(text: &str) -> Vec<(usize, String, usize)> {
    let code = production_code(text);
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closes = |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(indent));
        let signature =
            1 + lines[start..].iter().position(|line| line.trim_end().ends_with(['{', '}', ';'])).unwrap_or(0);
        let has_body = lines[start + signature - 1].trim_end().ends_with('{');
        let length = if has_body { 1 + lines[start..].iter().position(closes).unwrap_or(0) } else { signature };
        found.push((start + 1, name, length));
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let is_modifier = |word: &str| {
        word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "default", "in"].contains(&word)
            || word.ends_with(')')
    };
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (before.split_whitespace().all(is_modifier) && !name.is_empty()).then_some(name)
}

#[test]
fn types_are_found_and_those_of_impls_are_not() {
    let text = "pub struct A;\n    enum B<T> {}\npub(super) trait C: D {}\ntype E = F;\nimpl G {\n    type H = I;\n}\n// struct J";
    let found: Vec<String> = defined_types(text).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(found, ["1 A", "2 B", "3 C", "4 E"]);
}

#[test]
fn a_function_ends_at_the_brace_of_its_indentation() {
    let text = "fn a() {\n    b(|| {\n    });\n}\nimpl C {\n    pub(super) const fn d(\n        e: F,\n    ) -> G {\n    }\n    \
                fn h() {}\n    fn i();\n    fn k(\n        l: M,\n    );\n}\n#[cfg(test)]\nmod tests {\n    fn j() {\n    }\n}\n";
    let found = function_lengths(text);
    assert_eq!(
        found,
        [(1, "a".into(), 4), (6, "d".into(), 4), (10, "h".into(), 1), (11, "i".into(), 1), (12, "k".into(), 3)]
    );
}
