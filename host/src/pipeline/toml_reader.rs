//! Reads typed values from TOML with their spans, so that every error has a line and a hint.
//!
//! Every table has its keys checked, so that no setting is ignored. Knows durations and sizes, but nothing of pipelines.

use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::{DeTable, DeValue};

use super::duration;
use crate::error::{Error, Result, TextLocation, manifest_invalid, manifest_unknown_key};

/// Largest number of [`TomlItem::thousandths`]: larger ones are not exact.
pub(super) const THOUSANDTHS_MAX: u64 = 1_000_000_000_000_000_000;

/// The text of a pipeline file, to compute locations in it.
pub struct PipelineText<'a> {
    /// The file name for errors.
    pub file: &'a str,
    pub text: &'a str,
}

#[cfg(test)]
std::thread_local! {
    /// Number of locations that this thread has computed.
    pub(super) static LOCATIONS_COMPUTED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl PipelineText<'_> {
    /// Returns the location of the start of a span. Columns count characters.
    ///
    /// Reads the text up to the span, so call it only for errors.
    pub fn location(&self, span: &Range<usize>) -> TextLocation {
        #[cfg(test)]
        LOCATIONS_COMPUTED.set(LOCATIONS_COMPUTED.get() + 1);
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TextLocation {
            file: self.file.to_string(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

/// A table of settings.
pub struct TomlSection<'a> {
    text: &'a PipelineText<'a>,
    /// Its name in messages, such as `[source.flights]`.
    pub what: String,
    /// The span of its name. Errors about missing settings point to it.
    pub span: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a> TomlSection<'a> {
    /// Creates a section for a table.
    pub(super) fn open(
        text: &'a PipelineText<'a>,
        what: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
    ) -> TomlSection<'a> {
        TomlSection { text, what, span, table }
    }

    /// Returns the same table with another name, which is at `span`.
    pub fn called(self, what: String, span: Range<usize>) -> TomlSection<'a> {
        TomlSection { what, span, ..self }
    }

    /// Rejects the first key that is not in `known`.
    pub fn check_keys(&self, known: &[&str]) -> Result<()> {
        let Some((name, span)) = self.unknown_key(known) else { return Ok(()) };
        let error = manifest_unknown_key(format!("{} has no key `{name}`", self.what));
        Err(self.error_at(&span, error.hint(suggestion(name, known.iter().copied(), "the keys are"))))
    }

    /// Returns the first key that is not in `known`, with its span.
    pub(super) fn unknown_key(&self, known: &[&str]) -> Option<(&'a str, Range<usize>)> {
        let keys = self.table.iter().map(|(key, _)| (key.get_ref().as_ref(), key.span()));
        keys.filter(|(key, _)| !known.contains(key)).min_by_key(|(_, span)| span.start)
    }

    /// Returns the value of a key, if it exists.
    pub fn get(&self, key: &str) -> Option<TomlItem<'a>> {
        let value = self.table.get(key)?;
        Some(TomlItem {
            text: self.text,
            what: format!("`{key}` of {}", self.what),
            span: value.span(),
            value: value.get_ref(),
        })
    }

    /// Returns the value of a required key.
    pub fn need(&self, key: &str) -> Result<TomlItem<'a>> {
        self.get(key).ok_or_else(|| self.error(manifest_invalid(format!("{} needs the key `{key}`", self.what))))
    }

    /// Returns a nested table after a check of its keys.
    pub fn section(&self, key: &str, known: &[&str]) -> Result<Option<TomlSection<'a>>> {
        let Some(item) = self.get(key) else { return Ok(None) };
        let span = item.span.clone();
        let section = item.section()?.called(format!("[{key}]"), span);
        section.check_keys(known)?;
        Ok(Some(section))
    }

    /// Returns all keys with their spans and values, in the order of the file.
    pub fn entries(&self) -> Vec<(&'a str, Range<usize>, TomlItem<'a>)> {
        let mut entries: Vec<_> =
            self.table.iter().map(|(key, value)| self.entry(key.get_ref(), key.span(), value)).collect();
        entries.sort_by_key(|(_, span, _)| span.start);
        entries
    }

    fn entry(
        &self,
        key: &'a str,
        span: Range<usize>,
        value: &'a toml::Spanned<DeValue<'a>>,
    ) -> (&'a str, Range<usize>, TomlItem<'a>) {
        let what = format!("`{key}` of {}", self.what);
        (key, span, TomlItem { text: self.text, what, span: value.span(), value: value.get_ref() })
    }

    /// Adds the location of the section's name to an error.
    pub fn error(&self, error: Error) -> Error {
        self.error_at(&self.span, error)
    }

    /// Adds the location of a span to an error.
    pub(super) fn error_at(&self, span: &Range<usize>, error: Error) -> Error {
        error.at(self.text.location(span))
    }
}

/// A value whose type has not been checked.
pub struct TomlItem<'a> {
    pub text: &'a PipelineText<'a>,
    /// Its name in messages, such as `` `path` of [source.flights] ``.
    pub what: String,
    pub span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> TomlItem<'a> {
    /// Returns an error at this value. Its message is `what` followed by `message`.
    pub fn invalid(&self, message: impl std::fmt::Display) -> Error {
        self.error(manifest_invalid(format!("{} {message}", self.what)))
    }

    /// Adds the location of this value to an error.
    pub fn error(&self, error: Error) -> Error {
        error.at(self.text.location(&self.span))
    }

    /// Returns the span of byte `at` of the string `text`, which is this value. Returns the span of the whole value if the string is
    /// written with escapes.
    pub fn span_within(&self, text: &str, at: usize) -> Range<usize> {
        let written = self.text.text.get(self.span.clone()).unwrap_or_default();
        match written.find(text) {
            Some(start) => self.span.start + start + at..self.span.end,
            None => self.span.clone(),
        }
    }

    fn wrong_type(&self, wanted: &str) -> Error {
        let found = self.value.type_str();
        let article = if matches!(found, "array" | "integer") { "an" } else { "a" };
        self.invalid(format_args!("must be {wanted}, not {article} {found}"))
    }

    /// Returns the text of a string, or `None` for other types.
    pub fn as_str(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Returns a table whose keys have not been checked.
    pub fn section(&self) -> Result<TomlSection<'a>> {
        let table = self.value.as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(TomlSection::open(self.text, self.what.clone(), self.span.clone(), table))
    }

    /// Returns the elements of an array.
    pub fn elements(&self) -> Option<Vec<TomlItem<'a>>> {
        let item = |value: &'a toml::Spanned<DeValue<'a>>| TomlItem {
            text: self.text,
            what: format!("an element of {}", self.what),
            span: value.span(),
            value: value.get_ref(),
        };
        Some(self.value.as_array()?.iter().map(item).collect())
    }

    /// Returns a string with at least one character.
    pub fn string(&self) -> Result<&'a str> {
        let text = self.value.as_str().ok_or_else(|| self.wrong_type("a string"))?;
        if text.is_empty() { Err(self.invalid("must not be empty")) } else { Ok(text) }
    }

    /// Returns a host and a port, such as `"localhost:9000"`.
    pub fn address(&self) -> Result<&'a str> {
        let address = self.string()?;
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0) => Ok(address),
            _ => Err(self.invalid("must be a host and a port, such as \"localhost:9000\"")),
        }
    }

    pub fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// Returns an integer, or `None` for other types and integers beyond 128 bits.
    pub fn integer(&self) -> Option<i128> {
        let integer = self.value.as_integer()?;
        i128::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// Returns an integer within `min..=max`.
    pub fn count(&self, min: u64, max: u64) -> Result<u64> {
        if !self.value.is_integer() {
            return Err(self.wrong_type("an integer"));
        }
        let value = self.integer().and_then(|value| u64::try_from(value).ok());
        value.filter(|value| (min..=max).contains(value)).ok_or_else(|| {
            let range = if max == u64::MAX { format!("{min} or more") } else { format!("between {min} and {max}") };
            self.invalid(format_args!("must be {range}"))
        })
    }

    /// Returns a positive number such as `1000` or `0.1` in thousandths, rounded.
    pub fn thousandths(&self) -> Result<u64> {
        self.thousandths_within(1, THOUSANDTHS_MAX)
    }

    /// Returns a number in thousandths, rounded, that is within `min..=max` thousandths.
    pub fn thousandths_within(&self, min: u64, max: u64) -> Result<u64> {
        let number: Option<f64> = match self.value {
            DeValue::Float(value) => value.as_str().parse().ok(),
            DeValue::Integer(_) => self.integer().map(|value| value as f64),
            _ => return Err(self.wrong_type("a number")),
        };
        let thousandths = number.map(|number| (number * 1000.0).round());
        let valid = thousandths.filter(|thousandths| (min as f64..=max as f64).contains(thousandths));
        let (min, max) = (min as f64 / 1000.0, max as f64 / 1000.0);
        let range = || self.invalid(format_args!("must be between {min} and {max}"));
        valid.map(|thousandths| thousandths as u64).ok_or_else(range)
    }

    /// Returns a duration such as `"200ms"` that is at least `min`.
    pub fn duration(&self, min: Duration) -> Result<Duration> {
        let example = "a duration like \"200ms\", \"5s\" or \"2min\"";
        let text = self.value.as_str().ok_or_else(|| self.wrong_type(example))?;
        let duration = duration::parse(text).map_err(|why| self.invalid(format_args!("must be {example}: {why}")))?;
        if duration < min {
            let min = humantime::format_duration(min);
            return Err(self.invalid(format_args!("must be {min} or more")));
        }
        Ok(duration)
    }

    /// Returns a duration such as `"200ms"` within `min_ms..=max_ms` milliseconds.
    pub fn duration_within(&self, min_ms: u64, max_ms: u64) -> Result<Duration> {
        let duration = self.duration(Duration::from_millis(min_ms))?;
        if duration > Duration::from_millis(max_ms) {
            let max = humantime::format_duration(Duration::from_millis(max_ms));
            return Err(self.invalid(format_args!("must be {max} or less")));
        }
        Ok(duration)
    }

    /// Returns a duration such as `"5s"` or `"-5s"` in milliseconds.
    pub fn signed_ms(&self) -> Result<i64> {
        let example = "a duration like \"5s\" or \"-200ms\", in whole milliseconds";
        let text = self.value.as_str().ok_or_else(|| self.wrong_type(example))?;
        let (sign, length) = text.strip_prefix('-').map_or((1, text), |length| (-1, length));
        let duration = duration::parse(length).map_err(|why| self.invalid(format_args!("must be {example}: {why}")))?;
        let ms = i64::try_from(duration.as_millis()).ok().filter(|_| duration.subsec_nanos() % 1_000_000 == 0);
        ms.map(|ms| sign * ms).ok_or_else(|| self.invalid(format_args!("must be {example}; `{text}` is not one")))
    }

    /// Returns a number of bytes within `min..=max`, given as an integer or as text such as `"64MiB"`.
    pub fn bytes(&self, min: u64, max: u64) -> Result<usize> {
        let example = "a size like \"64MiB\"";
        let bytes = match self.value.as_str() {
            Some(text) => text
                .parse::<ByteSize>()
                .map_err(|_| self.invalid(format_args!("must be {example}; `{text}` is not one")))?
                .as_u64(),
            None if self.value.is_integer() => self.count(0, u64::MAX)?,
            None => return Err(self.wrong_type(example)),
        };
        if !(min..=max).contains(&bytes) {
            let (min, max) = (ByteSize::b(min), ByteSize::b(max));
            return Err(self.invalid(format_args!("must be between {min} and {max}")));
        }
        usize::try_from(bytes).map_err(|_| self.invalid("is too large for this machine"))
    }

    /// Returns the choice that a string names.
    pub fn choose<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let names = || choices.iter().map(|(name, _)| *name);
        let Some(text) = self.value.as_str() else {
            return Err(self.wrong_type("a string").hint(list("the choices are", names())));
        };
        let found = choices.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            self.invalid(format_args!("cannot be `{text}`")).hint(suggestion(text, names(), "the choices are"))
        })
    }

    /// Returns a string, number or boolean as text.
    pub fn scalar_text(&self) -> Result<String> {
        match self.value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Boolean(value) => Ok(value.to_string()),
            DeValue::Float(value) => Ok(value.as_str().to_string()),
            DeValue::Integer(value) => Ok(self.integer().map_or_else(|| value.to_string(), |value| value.to_string())),
            _ => Err(self.wrong_type("a string, a number or a boolean")),
        }
    }
}

/// Returns a hint that lists `known`. If one of them is similar to `name`, the hint begins with `did you mean`.
pub(super) fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone, words: &str) -> String {
    let all = list(words, known.clone());
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

fn list<'n>(words: &str, names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 40;
    let names: Vec<_> = names.collect();
    let shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    if shown.is_empty() { "there are none".to_string() } else { format!("{words} {}{more}", shown.join(", ")) }
}

/// Returns the known name that `name` is most likely a misspelling of.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let name: String = name.chars().take(100).collect();
    let distance = |candidate: &&'n str| (strsim::damerau_levenshtein(&name, candidate), *candidate);
    let (distance, nearest) = known.map(|candidate| distance(&candidate)).min()?;
    (distance <= (nearest.chars().count() / 3).max(1)).then_some(nearest)
}
