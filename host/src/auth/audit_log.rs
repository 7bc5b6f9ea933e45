//! The audit log: one line of JSON for each change, and for each request that was refused for its caller.
//!
//! Invariant: a line is written before the request is answered. It never contains a token, a body or a query. Files have a bounded
//! size and number; the oldest is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::namespace::NamespaceScope;
use crate::clock::SharedClock;
use crate::error::{Result, data_dir_failed};

/// Size at which a new file begins.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Number of files that are kept.
const FILES_MAX: usize = 16;

/// One change or refusal.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Identifies the request. It is in the header `x-request-id` of the answer. A client may have chosen it.
    pub request_id: String,
    /// Id of the token, if the request had a valid one.
    pub token: Option<String>,
    /// Name of the token.
    pub token_name: Option<String>,
    /// The namespace of the request.
    pub namespace: String,
    /// Address of the client.
    pub address: String,
    /// The method.
    pub method: String,
    /// The route, such as `/v1/jobs/{id}/cancel`.
    pub route: String,
    /// The path of the request, without its query.
    pub target: String,
    /// The HTTP status of the answer. 0 if the client disconnected before it: the change may have happened.
    pub status: u16,
    /// The code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// An entry with its number and time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct StoredAuditEntry {
    /// Number of the entry, ascending.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// A part of the audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// The entries, newest first. Pass the number of the last one as `before` for older ones.
    pub entries: Vec<StoredAuditEntry>,
}

/// The audit log of a server.
pub struct AuditLog {
    folder: PathBuf,
    clock: SharedClock,
    newest: Mutex<NewestFile>,
}

/// The file that is appended to.
struct NewestFile {
    file: File,
    bytes: u64,
    next: u64,
}

impl AuditLog {
    /// Opens the log of the server with this data folder. Error: `data-dir-failed`.
    pub fn open(data_dir: &Path, clock: SharedClock) -> Result<AuditLog> {
        let folder = data_dir.join("audit");
        let open = || -> io::Result<NewestFile> {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let Some((first, path)) = files(&folder)?.pop() else { return NewestFile::begin(&folder, 1) };
            let text = fs::read(&path)?;
            let last = text.rsplit(|byte| *byte == b'\n').find_map(parse);
            let mut file = OpenOptions::new().append(true).open(&path)?;
            let mut bytes = text.len() as u64;
            if text.last().is_some_and(|last| *last != b'\n') {
                // The process was killed within a line.
                file.write_all(b"\n")?;
                bytes += 1;
            }
            Ok(NewestFile { file, bytes, next: last.map_or(first, |last| last.number.saturating_add(1)) })
        };
        let newest = open().map_err(|error| data_dir_failed(format!("{}: {error}", folder.display())))?;
        Ok(AuditLog { folder, clock, newest: Mutex::new(newest) })
    }

    /// Appends an entry. Blocks on the file. A failure is logged, and refuses nothing.
    pub fn append(&self, entry: AuditEntry) {
        let mut newest = self.newest.lock();
        let stored = StoredAuditEntry { number: newest.next, at_ms: self.clock.wall_ms(), entry };
        if let Err(error) = self.write(&mut newest, &stored) {
            tracing::error!(request_id = %stored.entry.request_id, "cannot write to the audit log: {error}");
        }
    }

    fn write(&self, newest: &mut NewestFile, stored: &StoredAuditEntry) -> io::Result<()> {
        if newest.bytes >= FILE_BYTES_MAX {
            *newest = NewestFile::begin(&self.folder, newest.next)?;
            let mut all = files(&self.folder)?;
            for (_, old) in all.drain(..all.len().saturating_sub(FILES_MAX)) {
                fs::remove_file(old)?;
            }
        }
        let mut line = serde_json::to_vec(stored)?;
        line.push(b'\n');
        newest.next = newest.next.saturating_add(1);
        newest.bytes = newest.bytes.saturating_add(line.len() as u64);
        newest.file.write_all(&line)
    }

    /// Returns up to `limit` entries about namespaces in `scope`, newest first, with numbers below `before`.
    pub fn page(&self, scope: &NamespaceScope, before: Option<u64>, limit: usize) -> Result<AuditPage> {
        let before = before.unwrap_or(u64::MAX);
        let read = || -> io::Result<Vec<StoredAuditEntry>> {
            let mut entries = Vec::new();
            for (first, path) in files(&self.folder)?.into_iter().rev() {
                if first >= before {
                    continue;
                }
                let text = fs::read(path)?;
                let shown = text.rsplit(|byte| *byte == b'\n').filter_map(parse);
                let shown = shown.filter(|entry| entry.number < before && scope.contains(&entry.entry.namespace));
                entries.extend(shown.take(limit - entries.len()));
                if entries.len() >= limit {
                    break;
                }
            }
            Ok(entries)
        };
        let entries = read().map_err(|error| data_dir_failed(format!("the audit log cannot be read: {error}")))?;
        Ok(AuditPage { entries })
    }
}

impl NewestFile {
    fn begin(folder: &Path, next: u64) -> io::Result<NewestFile> {
        let path = folder.join(format!("audit-{next:020}.jsonl"));
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(NewestFile { file, bytes: 0, next })
    }
}

fn parse(line: &[u8]) -> Option<StoredAuditEntry> {
    serde_json::from_slice(line).ok()
}

/// Returns the files with the numbers of their first entries, oldest first.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("audit-").and_then(|rest| rest.strip_suffix(".jsonl")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}
