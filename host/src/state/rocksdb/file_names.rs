//! The names under which the files of a database are stored in a snapshot.
//!
//! Table files (`.sst`) that an earlier snapshot already stored are not uploaded again. This is safe because of their stored
//! names, `<session>-<local name>`. The session is a random number that identifies one opening of a database. RocksDB never
//! changes a table file, and an open database never reuses a file number. So the stored name identifies the content.
//!
//! A restored table file keeps its stored name. Files written after the restore have higher numbers and the new session.
//! So databases that were restored from the same snapshot never confuse their `000012.sst`, nor does a job that was reset to
//! an older snapshot.

use std::collections::HashMap;

pub(super) const TABLE_EXTENSION: &str = ".sst";

/// The stored names of a database's table files.
pub(super) struct TableFileNames {
    /// Identifies this opening of the database.
    pub session: u64,
    /// Stored names of the restored table files, by local name.
    pub restored: HashMap<String, String>,
}

impl TableFileNames {
    /// Returns the name under which the table file `local` is stored.
    pub fn stored_name(&self, local: &str) -> String {
        match self.restored.get(local) {
            Some(name) => name.clone(),
            None => format!("{:016x}-{local}", self.session),
        }
    }
}

/// Returns the local name of a stored file. Returns `None` unless it is a name that RocksDB gives, so that a malicious
/// snapshot cannot write outside the database folder.
pub(super) fn local_name(stored_name: &str) -> Option<&str> {
    let local = match stored_name.split_once('-') {
        Some((_session, table)) if table.ends_with(TABLE_EXTENSION) => table,
        _ => stored_name,
    };
    let is_numbered = |prefix: &str, suffix: &str| {
        let number = local.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_valid = matches!(local, "CURRENT" | "IDENTITY")
        || is_numbered("MANIFEST-", "")
        || is_numbered("OPTIONS-", "")
        || (local != stored_name && is_numbered("", TABLE_EXTENSION));
    is_valid.then_some(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_rocksdb_gives_are_accepted() {
        assert_eq!(local_name("00ff-000012.sst"), Some("000012.sst"));
        assert_eq!(local_name("MANIFEST-000005"), Some("MANIFEST-000005"));
        assert_eq!(local_name("OPTIONS-000007"), Some("OPTIONS-000007"));
        assert_eq!(local_name("CURRENT"), Some("CURRENT"));
        for name in ["", "000012.sst", "..", "x-../12.sst", "x-.sst", "/etc/passwd", "MANIFEST-../a", "1-2/3.sst"] {
            assert_eq!(local_name(name), None, "{name}");
        }
    }
}
