//! `cofferdam state list`, `get` and `dump`: read the state of a job on a server, or of a savepoint's folder without one.
//!
//! Must not interpret stored bytes; `state_reader` does.

use std::io::{BufWriter, Write};

use super::client::{ApiClient, segment};
use super::offline_state::OfflineState;
use super::print;
use crate::error::{self, Result};
use crate::escape;
use crate::state_reader::{KeyState, StateEntry, StateListing};

/// Where a command reads state.
enum StateOrigin<'a> {
    /// The path of the job's state in the HTTP API.
    Job(String),
    /// The folder of a savepoint or checkpoint.
    Folder(&'a str),
}

/// The names of jobs contain no slash, and every folder can be written with one.
fn state_origin(job_or_folder: &str) -> StateOrigin<'_> {
    match job_or_folder.contains(['/', '\\']) {
        true => StateOrigin::Folder(job_or_folder),
        false => StateOrigin::Job(format!("/v1/jobs/{}/state", segment(job_or_folder))),
    }
}

/// Lists operators and their states.
pub fn list(client: &ApiClient, job_or_folder: &str, count: bool, json: bool) -> Result<()> {
    let listing: StateListing = match state_origin(job_or_folder) {
        StateOrigin::Job(path) => client.query(&path, &[("count", if count { "true" } else { "false" })])?,
        StateOrigin::Folder(folder) => OfflineState::open(folder)?.reader.list(count)?,
    };
    if json {
        return print::json(&listing);
    }
    print::states(&listing);
    Ok(())
}

/// Prints the entries of one key. Errors: `state-unknown` if there are none.
pub fn get(
    client: &ApiClient,
    job_or_folder: &str,
    (operator, state): (&str, &str),
    key: &str,
    map_key: Option<&str>,
    json: bool,
) -> Result<()> {
    let found: KeyState = match state_origin(job_or_folder) {
        StateOrigin::Job(path) => {
            let mut query = vec![("key", key)];
            query.extend(map_key.map(|map_key| ("map_key", map_key)));
            client.query(&format!("{path}/{}/{}", segment(operator), segment(state)), &query)?
        }
        StateOrigin::Folder(folder) => OfflineState::open(folder)?.reader.get(operator, state, key, map_key)?,
    };
    if json {
        return print::json(&found);
    }
    if found.entries.is_empty() {
        return Err(error::state_unknown(format!("state `{state}` of `{operator}` has no entry for `{key}`")));
    }
    let mut output = EntryOutput::stdout();
    found.entries.iter().try_for_each(|entry| output.write_entry(entry)).or_else(|error| output.unless_closed(error))
}

/// Prints all entries, or those of one operator or state.
pub fn dump(client: &ApiClient, job_or_folder: &str, operator: Option<&str>, state: Option<&str>) -> Result<()> {
    let mut output = EntryOutput::stdout();
    let written = match state_origin(job_or_folder) {
        StateOrigin::Job(path) => {
            let filters = [("operator", operator), ("state", state)];
            let query: Vec<(&str, &str)> =
                filters.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
            client.copy(&format!("{path}/dump"), &query, &mut output)
        }
        StateOrigin::Folder(folder) => {
            OfflineState::open(folder)?.reader.dump(operator, state, &mut |entry| output.write_entry(&entry))
        }
    };
    let flushed = written.and_then(|()| output.flush().map_err(|error| stdout_failed(&error)));
    flushed.or_else(|error| output.unless_closed(error))
}

/// Entries on stdout, one per line. A closed stdout (`| head`) ends the output and is not an error.
struct EntryOutput {
    buffer: BufWriter<std::io::StdoutLock<'static>>,
    is_closed: bool,
}

impl EntryOutput {
    fn stdout() -> EntryOutput {
        EntryOutput { buffer: BufWriter::new(std::io::stdout().lock()), is_closed: false }
    }

    fn write_entry(&mut self, entry: &StateEntry) -> Result<()> {
        let line =
            serde_json::to_string(entry).map_err(|error| error::internal(format!("cannot write JSON: {error}")))?;
        let written = self.write_all(escape::json(&line).as_bytes()).and_then(|()| self.write_all(b"\n"));
        written.map_err(|error| stdout_failed(&error))
    }

    /// Returns the error unless stdout was closed.
    fn unless_closed(&self, error: error::Error) -> Result<()> {
        if self.is_closed { Ok(()) } else { Err(error) }
    }

    fn note_closed<T>(&mut self, written: std::io::Result<T>) -> std::io::Result<T> {
        self.is_closed |= written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        written
    }
}

impl Write for EntryOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.buffer.write(bytes);
        self.note_closed(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.buffer.flush();
        self.note_closed(flushed)
    }
}

fn stdout_failed(error: &std::io::Error) -> error::Error {
    error::request_invalid(format!("cannot write to stdout: {error}"))
}
