//! Loads and reads real savepoints: every kind of state, both snapshot formats, a base, and failures during the load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::listing::StateListing;
use super::load_target::LoadTarget;
use super::parsed_entries::ParsedEntries;
use super::reader::StateReader;
use super::savepoint_loader::loaded_metadata;
use crate::checkpoint::{
    CheckpointMetadata, OperatorMetadata, SavepointWriter, StorageLocation, StoredCheckpoint, SubtaskMetadata,
    Verification,
};
use crate::clock::SystemClock;
use crate::error::{self, Result};
use crate::model::{group_of_key, groups_of_subtask, hash_key};
use crate::pipeline::{PipelineSpec, StateBackendKind};
use crate::state::{
    self, FileRef, FileStore, SnapshotFormat, StateChange, StateDescription, StateHandle, StateId, StateKind,
    StateLayout, StateOptions, StateWrite, TimeToLive, TtlUpdate,
};

const PIPELINE: &str = "name = \"p\"\nparallelism = 2\nmax_parallelism = 13\n\
    [source.s]\nconnector = \"generator\"\nparallelism = 1\n\
    [operator.o]\ninput = \"s\"\nkey = \"value\"\ncomponent = \"c@1\"\nfunction = \"f\"\n\
    [sink.out]\ninput = \"o\"\nconnector = \"stdout\"\n";

fn layout() -> StateLayout {
    let state = |name: &str, kind, schema: &str| StateDescription::new(name, kind, "postcard", schema);
    let by = |map_key: &str, state: StateDescription| StateDescription { map_key: map_key.into(), ..state };
    let ttl = TimeToLive { milliseconds: 1000, update: TtlUpdate::CreateAndWrite, return_expired: false };
    vec![
        state("sum", StateKind::Value, "postcard:i64"),
        state("last", StateKind::List, "postcard:string"),
        by("ordered:i16", state("by-hour", StateKind::Map, "postcard:{n:u32,}")),
        StateDescription { ttl: Some(ttl), ..state("fold", StateKind::Reducing, "postcard:u8") },
        by("ordered:string", state("rules", StateKind::Broadcast, "postcard:bool")),
    ]
}

fn target() -> LoadTarget {
    let pipeline = PipelineSpec::parse(PIPELINE, "p.toml").unwrap();
    LoadTarget::of_pipeline(&pipeline, &BTreeMap::from([("o".to_owned(), layout())]))
}

/// Returns entries of every kind, for this number of keys.
fn lines(keys: u32) -> Vec<Value> {
    let mut lines = Vec::new();
    let entry = |state: &str, kind: &str, extra: Value| {
        let mut line = json!({"operator": "o", "state": state, "kind": kind});
        line.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        line
    };
    for number in 0..keys {
        let key = format!("key-{number}");
        lines.push(entry("sum", "value", json!({"key": key, "value": -i64::from(number)})));
        lines.push(entry("last", "list", json!({"key": key, "value": ["", key]})));
        for hour in [-1, 0, 300] {
            lines.push(entry("by-hour", "map", json!({"key": key, "map_key": hour, "value": {"n": number}})));
        }
        lines.push(entry("fold", "reducing", json!({"key": key, "value": number % 256, "updated_at": 5})));
    }
    lines.push(entry("rules", "broadcast", json!({"map_key": "night", "value": true})));
    lines.push(entry("rules", "broadcast", json!({"map_key": "day", "value": false})));
    lines
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn set(lines: &[Value]) -> BTreeSet<String> {
    lines.iter().map(Value::to_string).collect()
}

struct LoadFixture {
    folder: TempDir,
    runtime: Runtime,
}

impl LoadFixture {
    fn new() -> LoadFixture {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        LoadFixture { folder: tempfile::tempdir().unwrap(), runtime }
    }

    fn open(&self, folder: &Path) -> StateReader {
        let snapshot =
            StoredCheckpoint::open(&storage_location(folder), self.runtime.handle().clone(), Verification::Checksums)
                .unwrap();
        let CheckpointMetadata { job_id, checkpoint_id, kind, .. } = &snapshot.metadata;
        let files = snapshot.storage.files(job_id, *checkpoint_id, *kind).unwrap();
        StateReader::new(Arc::new(snapshot.metadata), Arc::new(files), self.folder.path()).unwrap()
    }

    fn new_savepoint(&self, name: &str) -> (SavepointWriter, std::path::PathBuf) {
        let folder = self.folder.path().join("anywhere").join(name);
        (SavepointWriter::create(&storage_location(&folder), self.runtime.handle().clone()).unwrap(), folder)
    }

    fn load(&self, name: &str, lines: &str, target: &LoadTarget, base: Option<&StateReader>) -> StateReader {
        let loaded = ParsedEntries::parse(&mut lines.as_bytes(), "lines", target, 7).unwrap();
        let (savepoint, folder) = self.new_savepoint(name);
        let operators = loaded.write(target, base, savepoint.files()).unwrap();
        let held = base.map(|base| &*base.metadata);
        savepoint.complete(&loaded_metadata(target, held, operators, "loaded".into(), 7)).unwrap();
        self.open(&folder)
    }

    /// Writes a savepoint like that of a job: with a source position and state in files of RocksDB.
    fn taken(&self, name: &str) -> StateReader {
        let (savepoint, folder) = self.new_savepoint(name);
        let mut operators = Vec::new();
        for (id, parallelism) in [("s", 1), ("o", 2), ("out", 2)] {
            let mut subtasks = vec![SubtaskMetadata::default(); parallelism as usize];
            if id == "s" {
                subtasks[0].source_position = Some(vec![1, 2, 3]);
            }
            if id == "o" {
                for (subtask, metadata) in (0..).zip(&mut subtasks) {
                    metadata.state = Some(self.store_in_rocksdb(subtask, savepoint.files()));
                    metadata.counters.records_in = 5;
                }
            }
            operators.push(OperatorMetadata { parallelism, ..OperatorMetadata::new(id, subtasks) });
        }
        savepoint.complete(&loaded_metadata(&target(), None, operators, "taken".into(), 7)).unwrap();
        self.open(&folder)
    }

    /// Stores a sum of 1 and a list of one element for each key.
    fn store_in_rocksdb(&self, subtask: u32, store: &dyn FileStore) -> StateHandle {
        let groups = groups_of_subtask(subtask, 2, 13);
        let layout: StateLayout =
            layout().into_iter().rev().filter(|state| state.kind != StateKind::Broadcast).collect();
        let id = |name: &str| layout.iter().position(|state| state.name == name).unwrap() as StateId;
        let folder = self.folder.path().join(format!("db-{subtask}"));
        let mut options =
            StateOptions::empty(StateBackendKind::RocksDb, folder, layout.clone(), 13, SystemClock::shared());
        options.groups = groups.clone();
        let mut backend = state::open(options).unwrap();
        let keys: Vec<String> = (0..50).map(|number| format!("key-{number}")).collect();
        for key in &keys {
            let group = group_of_key(hash_key(key.as_bytes()), 13);
            if groups.contains(&group.into()) {
                let write = |state, value| StateWrite {
                    state,
                    group,
                    key: key.as_bytes(),
                    sub_key: &[],
                    change: StateChange::Put(value),
                };
                backend
                    .apply(&mut [write(id("sum"), &[2][..]), write(id("last"), &[2, 0, 0, 0, 1, b'x'])].into_iter())
                    .unwrap();
            }
        }
        backend.snapshot(SnapshotFormat::RocksDb).unwrap().upload(store, &[]).unwrap()
    }
}

fn dump(reader: &StateReader, state: Option<&str>) -> Vec<Value> {
    let mut lines = Vec::new();
    reader
        .dump(state.map(|_| "o"), state, &mut |entry| {
            lines.push(serde_json::to_value(entry).unwrap());
            Ok(())
        })
        .unwrap();
    lines
}

#[test]
fn a_dump_shows_the_loaded_lines() {
    let subject = LoadFixture::new();
    let mut lines = lines(100);
    lines.reverse();
    let reader = subject.load("a-1", &text(&lines), &target(), None);
    let dumped = dump(&reader, None);
    assert_eq!(dumped.len(), lines.len());
    assert_eq!(set(&dumped), set(&lines));
    assert_eq!(set(&dump(&reader, Some("fold"))).len(), 100);

    let again = subject.load("b-1", &text(&dumped), &LoadTarget::of_checkpoint(&reader.metadata), None);
    assert_eq!(dump(&again, None), dumped);
    let StateListing { operators, .. } = reader.list(true).unwrap();
    let counts: Vec<(&str, Option<u64>)> =
        operators[0].states.iter().map(|state| (&state.state[..], state.entries)).collect();
    let expected = [("sum", 100), ("last", 100), ("by-hour", 300), ("fold", 100), ("rules", 2)];
    assert_eq!(counts, expected.map(|(name, count)| (name, Some(count))));
    assert_eq!(operators[0].entries, 602);
}

#[test]
fn a_key_is_found_in_every_kind_of_state() {
    let subject = LoadFixture::new();
    let reader = subject.load("a-1", &text(&lines(40)), &target(), None);
    let get = |state: &str, key: &str, map_key: Option<&str>| {
        let found = reader.get("o", state, key, map_key).unwrap().entries;
        found.iter().map(|entry| serde_json::to_value(entry).unwrap()["value"].clone()).collect::<Vec<_>>()
    };
    for number in [0, 7, 39] {
        let key = format!("key-{number}");
        assert_eq!(get("sum", &key, None), [json!(-number)]);
        assert_eq!(get("last", &key, None), [json!(["", key])]);
        assert_eq!(get("by-hour", &key, None), vec![json!({"n": number}); 3]);
        assert_eq!(get("by-hour", &key, Some("-1")), [json!({"n": number})]);
        assert_eq!(get("by-hour", &key, Some("2")), Vec::<Value>::new());
    }
    assert_eq!(get("sum", "hex:6b65792d31", None), [json!(-1)]);
    assert_eq!(get("rules", "night", None), [json!(true)]);
    assert_eq!(get("sum", "key-40", None), Vec::<Value>::new());
    assert_eq!(reader.get("o", "sums", "k", None).unwrap_err().code, "state-unknown");
    assert_eq!(reader.get("o", "sum", "k", Some("1")).unwrap_err().code, "request-invalid");
}

#[test]
fn states_of_the_base_that_the_lines_do_not_name_are_kept() {
    let subject = LoadFixture::new();
    let taken = subject.taken("taken-1");
    let before = dump(&taken, None);
    assert_eq!((before.len(), dump(&taken, Some("sum")).len()), (100, 50));
    let line =
        |state: &str, key: &str, value: Value| json!({"operator": "o", "state": state, "key": key, "value": value});
    let lines = [line("sum", "key-1", json!(9)), line("fold", "key-2", json!(1)), line("sum", "new", json!(8))];
    let target = target().with_base(&taken.metadata).unwrap();
    let reader = subject.load("a-2", &text(&lines), &target, Some(&taken));

    let mut sums: Vec<Value> =
        dump(&reader, Some("sum")).iter().map(|line| json!([line["key"], line["value"]])).collect();
    sums.sort_by_key(Value::to_string);
    assert_eq!(sums, [json!(["key-1", 9]), json!(["new", 8])]);
    assert_eq!(set(&dump(&reader, Some("last"))), set(&dump(&taken, Some("last"))));
    assert_eq!(dump(&reader, Some("fold"))[0]["updated_at"], 7);
    assert_eq!(reader.metadata.subtask("s", 0).unwrap().source_position, Some(vec![1, 2, 3]));
    assert_eq!(reader.metadata.subtask("o", 1).unwrap().counters.records_in, 5);

    // Without lines, the savepoint is a copy of the base with files of its own.
    let copied = subject.load("a-3", "", &LoadTarget::of_checkpoint(&taken.metadata), Some(&taken));
    assert_eq!(dump(&copied, None), before);
    let paths = |reader: &StateReader| reader.metadata.files().map(|file| file.path.clone()).collect::<BTreeSet<_>>();
    assert!(paths(&copied).is_disjoint(&paths(&taken)));
}

#[test]
fn a_base_that_contradicts_the_pipeline_is_rejected() {
    let subject = LoadFixture::new();
    let taken = subject.taken("taken-1");
    let mut other = target();
    other.operators[1].states[0].schema = "postcard:u8".into();
    assert_eq!(other.with_base(&taken.metadata).unwrap_err().code, "checkpoint-mismatch");
    let mut other = target();
    other.max_parallelism = 12;
    assert_eq!(other.with_base(&taken.metadata).unwrap_err().code, "checkpoint-mismatch");
    // Without a setting in the pipeline file, the max_parallelism of the base is used. It may be too small for other operators.
    for (parallelism, max) in [(2, Ok(13)), (14, Err("checkpoint-mismatch"))] {
        let metadata = PIPELINE.replace("max_parallelism = 13\n", "").replace("[sink.out]", "[sink.new]");
        let metadata = metadata.replace("parallelism = 2", &format!("parallelism = {parallelism}"));
        let target = LoadTarget::of_pipeline(&PipelineSpec::parse(&metadata, "p.toml").unwrap(), &BTreeMap::new());
        let target = target.with_base(&taken.metadata);
        assert_eq!(target.map(|target| target.max_parallelism).map_err(|error| error.code), max);
    }
}

#[test]
fn the_error_names_the_invalid_line() {
    let assert_rejected = |bad: &str| {
        let lines = format!("{}\n \n{bad}", text(&lines(1)[..1]).trim_end());
        let error = ParsedEntries::parse(&mut lines.as_bytes(), "lines.ndjson", &target(), 0).err().unwrap();
        (error.code, error.location.map(|at| (at.file, at.line, at.column)), error.message)
    };
    let at = |line: usize, column| Some(("lines.ndjson".to_owned(), line, column));
    let sum = |extra: &str| format!(r#"{{"operator": "o", "state": "sum", "key": "key-0", {extra}}}"#);
    let (code, place, message) = assert_rejected(&sum("\"value\": 1, \"x\": 2"));
    assert_eq!((code, place), ("state-line-invalid", at(3, 65)), "{message}");
    assert_eq!(assert_rejected("{").1, at(3, 1));
    let (code, place, message) = assert_rejected(&sum("\"value\": true"));
    assert_eq!((code, place), ("state-line-invalid", at(3, 1)));
    assert_eq!(message, "state `sum` of `o`: `value`: expected an integer of 64 bits");
    assert_eq!(assert_rejected(r#"{"operator": "s", "state": "sum", "key": "k", "value": 1}"#).0, "state-unknown");
    assert_eq!(assert_rejected(r#"{"operator": "o", "state": "sums", "key": "k", "value": 1}"#).0, "state-unknown");
    let (code, place, message) = assert_rejected(&sum("\"value\": 7"));
    assert_eq!((code, place), ("state-line-invalid", at(3, 1)));
    assert!(message.contains("the first is in line 1"), "{message}");
}

/// A file store that fails at the write with this number.
struct FailingFileStore<'a>(&'a dyn FileStore, AtomicU32);

impl FileStore for FailingFileStore<'_> {
    fn put(&self, name: &str, bytes: Bytes) -> Result<FileRef> {
        match self.1.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(error::storage_failed("full")),
            _ => self.0.put(name, bytes),
        }
    }

    fn put_file(&self, name: &str, path: &Path) -> Result<FileRef> {
        self.0.put_file(name, path)
    }

    fn get(&self, file: &FileRef) -> Result<Bytes> {
        self.0.get(file)
    }

    fn get_file(&self, file: &FileRef, to: &Path) -> Result<()> {
        self.0.get_file(file, to)
    }
}

#[test]
fn a_load_that_fails_leaves_no_files() {
    let subject = LoadFixture::new();
    let loaded = ParsedEntries::parse(&mut text(&lines(100)).as_bytes(), "lines", &target(), 0).unwrap();
    for writes in 0..3 {
        let (savepoint, folder) = subject.new_savepoint("a-1");
        let store = FailingFileStore(savepoint.files(), AtomicU32::new(writes));
        assert_eq!(loaded.write(&target(), None, &store).err().unwrap().code, "storage-failed");
        savepoint.abandon();
        assert!(!folder.exists(), "after {writes} writes");
    }
}

fn storage_location(folder: &Path) -> StorageLocation {
    StorageLocation::Folder(folder.to_owned())
}
