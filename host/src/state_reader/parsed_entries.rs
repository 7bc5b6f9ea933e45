//! Parses lines of JSON to entries in the order in which a savepoint stores them.
//!
//! All entries are held in memory: about 100 bytes each in addition to key and value.
//! Invariant: each entry fits its state, and no two entries have the same place. Must not write anything.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::entry::{EncodedEntry, StateEntry};
use super::entry_codec::EntryCodec;
use super::listing::{unknown_operator, unknown_state};
use super::load_target::LoadTarget;
use crate::error::{self, Error, Result, TextLocation};
use crate::model::KeyGroup;

/// Entries parsed from lines, in the order in which they are stored.
pub struct ParsedEntries {
    pub(super) entries: Vec<ParsedEntry>,
}

/// One parsed line.
pub(super) struct ParsedEntry {
    /// Index into the target's operators.
    pub operator: usize,
    /// Index into the operator's states.
    pub state: usize,
    pub encoded: EncodedEntry,
    line: usize,
}

/// The codec of one state of the target, with the indexes of its operator and state.
struct TargetState<'a> {
    operator: usize,
    state: usize,
    codec: EntryCodec<'a>,
}

impl ParsedEntries {
    /// Parses all lines and skips blank ones. `file` is the name in error messages; `now_ms` is the update time of entries
    /// that name none. Errors, with the line: `state-line-invalid`, `state-unknown`.
    pub fn parse(lines: &mut dyn BufRead, file: &str, target: &LoadTarget, now_ms: i64) -> Result<ParsedEntries> {
        let states = target_states(target);
        let mut entries = Vec::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let read = lines.read_until(b'\n', &mut text);
            if read.map_err(|cause| error::request_invalid(format!("cannot read {file}: {cause}")))? == 0 {
                break;
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let located = |column: usize, error: Error| error.at(TextLocation { file: file.to_owned(), line, column });
            let entry: StateEntry = serde_json::from_slice(&text).map_err(|cause| {
                let why = cause.to_string();
                let why = why.rsplit_once(" at line ").map_or(&why[..], |(why, _)| why);
                located(cause.column().max(1), error::state_line_invalid(format!("not a state entry: {why}")))
            })?;
            let Some(found) = states.get(&(&entry.operator[..], &entry.state[..])) else {
                return Err(located(1, unknown_name(target, &entry)));
            };
            let encoded = found.codec.encode(&entry, target.max_parallelism, now_ms).map_err(|why| {
                let state = format!("state `{}` of `{}`", entry.state, entry.operator);
                located(1, error::state_line_invalid(format!("{state}: {why}")))
            })?;
            entries.push(ParsedEntry { operator: found.operator, state: found.state, encoded, line });
        }
        entries.sort_by(|a, b| a.place().cmp(&b.place()).then(a.line.cmp(&b.line)));
        check_unique(&entries, file)?;
        Ok(ParsedEntries { entries })
    }

    /// Returns the number of entries.
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

impl ParsedEntry {
    fn place(&self) -> (usize, KeyGroup, usize, &[u8], &[u8]) {
        (self.operator, self.encoded.group, self.state, &self.encoded.key, &self.encoded.sub_key)
    }
}

fn target_states(target: &LoadTarget) -> BTreeMap<(&str, &str), TargetState<'_>> {
    let mut states = BTreeMap::new();
    for (index, operator) in target.operators.iter().enumerate() {
        for (state, description) in operator.states.iter().enumerate() {
            let codec = EntryCodec::new(&operator.id, &operator.states, description);
            let target_state = TargetState { operator: index, state, codec };
            states.insert((&operator.id[..], &description.name[..]), target_state);
        }
    }
    states
}

fn check_unique(entries: &[ParsedEntry], file: &str) -> Result<()> {
    match entries.windows(2).find(|pair| pair[0].place() == pair[1].place()) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("a second entry with the same state and key; the first is in line {}", pair[0].line);
            let location = TextLocation { file: file.to_owned(), line: pair[1].line, column: 1 };
            Err(error::state_line_invalid(message).at(location))
        }
    }
}

fn unknown_name(target: &LoadTarget, entry: &StateEntry) -> Error {
    let with_state = || target.operators.iter().filter(|operator| !operator.states.is_empty());
    match with_state().find(|operator| operator.id == entry.operator) {
        None => unknown_operator(&entry.operator, with_state().map(|operator| &operator.id[..])),
        Some(operator) => {
            unknown_state(&operator.id, &entry.state, operator.states.iter().map(|state| &state.name[..]))
        }
    }
}
