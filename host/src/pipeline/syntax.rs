//! Errors for text that is not valid TOML. Improves on the parser's messages for text without quotes and for duplicate keys
//! and tables.

use std::ops::Range;

use toml::de::DeTable;

use super::toml_reader::PipelineText;
use crate::error::{Error, manifest_syntax};

/// Converts an error of the TOML parser.
pub(super) fn syntax_error(text: &PipelineText<'_>, error: &toml::de::Error) -> Error {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().replace('\n', ", ");
    let located = |error: Error| error.at(text.location(&span));
    if message == "duplicate key" {
        return located(duplicate(text, &span).unwrap_or_else(|| manifest_syntax(message)));
    }
    if let Some(value) = bare_text(text.text, span.start) {
        return located(
            manifest_syntax(format!("`{value}` is not a TOML value ({message})"))
                .hint(format!("put text in quotes: \"{value}\"")),
        );
    }
    located(manifest_syntax(message))
}

/// Returns the error for a duplicate key or table. It contains the line of the first occurrence.
fn duplicate(text: &PipelineText<'_>, span: &Range<usize>) -> Option<Error> {
    let line_start = text.text.get(..span.start)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.text.get(line_start..)?.lines().next()?;
    let before: Vec<&str> = text.text.get(..line_start)?.lines().collect();
    let header = |line: &str| {
        let inner = line.trim().strip_prefix('[')?.split_once(']')?.0;
        Some(inner.split('.').map(str::trim).collect::<Vec<_>>().join("."))
    };
    if let Some(table) = header(line) {
        let first = before.iter().position(|line| header(line).as_ref() == Some(&table));
        let hint = match first {
            Some(first) => {
                format!("the first one is on line {}; merge the two tables, or rename one of them", first + 1)
            }
            None => format!("`{table}` already has a value; remove one of the two"),
        };
        return Some(manifest_syntax(format!("the table [{table}] occurs twice")).hint(hint));
    }
    let key = text.text.get(span.clone())?.trim();
    let section = before.iter().rposition(|line| header(line).is_some());
    let of = section.and_then(|at| header(before[at])).map(|table| format!(" in [{table}]")).unwrap_or_default();
    let begin = section.map_or(0, |at| at + 1);
    let is_key = |line: &&str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let first = before[begin..].iter().position(is_key);
    let error = manifest_syntax(format!("the key `{key}` occurs twice{of}"));
    Some(match first {
        Some(first) => error.hint(format!("the first one is on line {}; remove one of them", begin + first + 1)),
        None => error.hint("remove one of them"),
    })
}

/// Returns the word around a position, if it is not a TOML value: most often text without quotes.
fn bare_text(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    // The parser may report the error at the character before the value, or inside it.
    let begin = before.rfind(['=', ',', '[', '{', '\n']).map_or(0, |found| found + 1);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let is_value = text.get(line_start..begin)?.contains('=');
    let rest = text.get(begin..)?;
    let end = rest.find([',', ']', '}', '#', '\n', '\r']).unwrap_or(rest.len());
    let word = rest.get(..end)?.trim();
    let is_bare = !word.is_empty() && !word.contains(['"', '\'', '[', '{', '=']);
    let is_text = || DeTable::parse(&format!("value = {word}")).is_err();
    (is_value && is_bare && is_text()).then_some(word)
}

#[cfg(test)]
mod tests {
    use crate::error::Error;
    use crate::pipeline::PipelineSpec;

    const SMALL: &str = "name = \"small\"\n\n[source.numbers]\nconnector = \"generator\"\n\n[sink.out]\ninput = \"numbers\"\n\
                         connector = \"blackhole\"\n";

    fn refused(text: &str) -> Error {
        let error = PipelineSpec::parse(text, "p.toml").unwrap_err();
        assert_eq!(error.code, "manifest-syntax", "{error}");
        error
    }

    #[test]
    fn the_hint_for_text_without_quotes_shows_it_with_quotes() {
        for (right, wrong, value) in [
            ("name = \"small\"", "name = small", "small"),
            ("name = \"small\"", "name = small-one # it is", "small-one"),
            ("\"generator\"", "generator\nrate = 10", "generator"),
            ("\"generator\"", "\"file\"\npath = in/a.csv", "in/a.csv"),
            ("\"generator\"", "\"file\"\npath = /in/a.csv", "/in/a.csv"),
            ("\"generator\"", "\"socket\"\naddress = localhost:9000", "localhost:9000"),
            ("\"generator\"", "\"generator\"\nwatermark = { out_of_orderness = 5s }", "5s"),
            ("input = \"numbers\"", "inputs = [\"numbers\", other]", "other"),
            ("name = \"small\"", "name = \"small\"\ncheckpoint = { interval = 200ms, retained = 2 }", "200ms"),
        ] {
            let text = SMALL.replace(right, wrong);
            let error = refused(&text);
            assert!(error.message.contains(&format!("`{value}`")), "{wrong}: {error}");
            assert_eq!(error.hint, Some(format!("put text in quotes: \"{value}\"")), "{wrong}");
            let line = text.lines().position(|line| line.contains(&format!(" {value}"))).unwrap() + 1;
            assert_eq!(error.location.unwrap().line, line, "{wrong}");
        }
    }

    #[test]
    fn other_mistakes_keep_the_message_of_the_parser() {
        for wrong in ["name = ", "name = \"small", "name \"small\"", "[source", "name = [1, 2"] {
            let error = refused(&SMALL.replace("name = \"small\"", wrong));
            assert_ne!(
                error.hint.as_deref().unwrap_or_default().split(':').next(),
                Some("put text in quotes"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_duplicate_table_or_key_is_reported_with_the_first_line() {
        let error = refused(&format!("{SMALL}\n[ source . numbers ]\nrate = 10\n"));
        assert!(error.message.contains("[source.numbers]"), "{error}");
        assert!(error.hint.unwrap().contains("line 3"));
        assert_eq!(error.location.unwrap().line, 10);

        let error = refused(&SMALL.replace("\"generator\"", "\"generator\"\nconnector = \"file\""));
        assert!(error.message.contains("`connector`") && error.message.contains("[source.numbers]"), "{error}");
        assert!(error.hint.unwrap().contains("line 4"));
        assert_eq!(error.location.unwrap().line, 5);

        let error = refused(&SMALL.replace("\n\n[source", "\nname = \"other\"\n[source"));
        assert!(error.message.contains("`name`") && error.hint.unwrap().contains("line 1"));
    }
}
