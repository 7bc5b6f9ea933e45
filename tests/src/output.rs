//! Reads the committed output of a file sink and compares it with the expected lines.

use std::cmp::Ordering;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

/// Returns the lines of all committed files below a sink's folder, sorted by bytes. Files whose names start with `.` or
/// `_` are not committed. A missing folder has no lines, also if it disappears now: a sink's check of its folder creates and
/// removes it.
pub fn committed_lines(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    collect(folder, &mut lines)?;
    lines.sort_unstable();
    Ok(lines)
}

fn collect(folder: &Path, lines: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().first().is_none_or(|first| b"._".contains(first)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), lines)?;
        } else {
            lines.extend(fs::read_to_string(entry.path())?.lines().map(str::to_string));
        }
    }
    Ok(())
}

/// The difference between two sorted lists of lines.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Expected lines that are missing, or occur less often than expected.
    pub lost: Vec<String>,
    /// Lines that are not expected, or occur more often than expected.
    pub added: Vec<String>,
}

/// Compares two sorted lists. Returns `None` if they are equal.
pub fn difference(expected: &[String], actual: &[String]) -> Option<Difference> {
    let mut found = Difference::default();
    let (mut left, mut right) = (expected.iter().peekable(), actual.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.cmp(b),
        };
        match order {
            Ordering::Less => found.lost.extend(left.next().cloned()),
            Ordering::Greater => found.added.extend(right.next().cloned()),
            Ordering::Equal => _ = (left.next(), right.next()),
        }
    }
    (found != Difference::default()).then_some(found)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} lines are lost, {} are added", self.lost.len(), self.added.len())?;
        for (mark, lines) in [('-', &self.lost), ('+', &self.added)] {
            lines.iter().take(5).try_for_each(|line| writeln!(f, "  {mark} {line}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    #[test]
    fn lost_and_duplicated_lines_are_found() {
        assert_eq!(difference(&lines("a b b c"), &lines("a b b c")), None);
        let found = difference(&lines("a b b c"), &lines("a a b d")).unwrap();
        assert_eq!(found, Difference { lost: lines("b c"), added: lines("a d") });
    }

    #[test]
    fn only_committed_files_count() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("b", "2\n3\n"), ("a", "1\n3\n"), (".pending", "4\n"), ("_x", "5\n")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(committed_lines(dir.path()).unwrap(), lines("1 2 3 3"));
        assert!(committed_lines(&dir.path().join("none")).unwrap().is_empty());
    }
}
