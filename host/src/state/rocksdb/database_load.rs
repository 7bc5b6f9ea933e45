//! What a database shows of its files, its memory and its background work.

use rocksdb::properties::PropName;
use rocksdb::{DB, properties};

use crate::state::entry::DatabaseLoad;

/// Number of levels of a database: RocksDB's default.
const LEVELS: usize = 7;
/// Text with the counts of write stalls by their cause.
const WRITE_STALLS: &str = "rocksdb.cf-write-stall-stats";
/// The counts that sum up all causes.
const STALL_TOTALS: [&str; 2] = ["total-delays", "total-stops"];

/// Reads what the database shows now. RocksDB keeps these numbers anyway, so that no read or write pays for them.
pub(super) fn database_load(db: &DB) -> DatabaseLoad {
    let number = |property: &PropName| db.property_int_value(property).ok().flatten().unwrap_or(0);
    let files = (0..LEVELS).map(|level| number(&properties::num_files_at_level(level)));
    let stalls = db.property_value(WRITE_STALLS).ok().flatten().unwrap_or_default();
    DatabaseLoad {
        files: files.sum(),
        file_bytes: number(properties::LIVE_SST_FILES_SIZE),
        pending_compaction_bytes: number(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        running_compactions: number(properties::NUM_RUNNING_COMPACTIONS),
        write_stalls: stall_count(&stalls),
        cache_bytes: 0,
    }
}

/// Sums up the counts in a text such as `Write Stall (count): a: 1, total-delays: 2, total-stops: 3`.
fn stall_count(text: &str) -> u64 {
    let counts = text.split([',', '\n']).filter_map(|part| part.rsplit_once(':'));
    let totals = counts.filter(|(name, _)| STALL_TOTALS.iter().any(|total| name.trim_end().ends_with(total)));
    totals.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_of_write_stalls_are_found_in_the_text_of_rocksdb() {
        let text = "Write Stall (count): cf-l0-file-count-limit-delays-with-ongoing-compaction: 5, memtable-limit-delays: 4, \
                    total-delays: 9, total-stops: 2\ninterval: 11 total count\n";
        assert_eq!(stall_count(text), 11);
        assert_eq!(stall_count(""), 0);
        let folder = tempfile::tempdir().unwrap();
        let db = DB::open_default(folder.path()).unwrap();
        let text = db.property_value(WRITE_STALLS).unwrap().unwrap();
        assert!(STALL_TOTALS.iter().all(|total| text.contains(&format!("{total}: 0"))), "{text}");
    }

    #[test]
    fn files_and_their_bytes_are_those_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let db = DB::open_default(folder.path()).unwrap();
        assert_eq!(database_load(&db), DatabaseLoad::default());
        for file in 1..=2_u64 {
            db.put(file.to_be_bytes(), [7; 1000]).unwrap();
            db.flush().unwrap();
            let load = database_load(&db);
            assert!(load.files == file && load.file_bytes > file * 100, "{load:?}");
        }
    }
}
