//! Measures the cost of checkpoints and restores: `cargo xtask bench state`.
//!
//! The database has about 1 GB: `KEYS` keys with values that do not compress. The benchmark has three parts:
//!
//! 1. Takes 200 checkpoints, and writes 1 % of the keys between two of them. Measures how much of the state each one uploads,
//!    the duration of its synchronous part, and the size of the storage at the end, with three retained checkpoints. Starts
//!    after RocksDB has compacted what filling the database left behind.
//! 2. Restores an attempt from the last checkpoint. A native function counts records with random keys. Phases without
//!    checkpoints alternate with phases with one checkpoint per second, stored in a local folder. Measures the loss of
//!    throughput.
//! 3. Starts a process that restores, including checksums, and processes one batch. Alternates with a copy of the same files.
//!
//! Prints a table and writes `state.json` into `COFFERDAM_BENCH_DIR`. `--keys`, `--checkpoints` and `--phases` reduce the size.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time and runs outside the engine")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use cofferdam::access::PipelinePaths;
use cofferdam::checkpoint::{
    CheckpointFiles, CheckpointKind, CheckpointMetadata, CheckpointStorage, OperatorMetadata, StorageLocation,
    SubtaskMetadata, Verification,
};
use cofferdam::clock::SystemClock;
use cofferdam::model::{Batch, Interrupt, group_of_key, hash_key};
use cofferdam::permits::JobShare;
use cofferdam::pipeline::{PipelineSpec, StateBackendKind};
use cofferdam::runtime::{
    Barrier, BarrierKind, Execution, ExecutionOptions, ExecutionPlan, FunctionPlan, GuestOptions, RestoredCheckpoint,
    SubtaskEvent, SubtaskSnapshot,
};
use cofferdam::sandbox::{FunctionDescription, FunctionKind, PortDescription};
use cofferdam::state::{
    self, FileRef, SnapshotFormat, StateBackend, StateChange, StateDescription, StateHandle, StateKind, StateOptions,
    StateSnapshot, StateWrite,
};
use cofferdam::turn::{Guest, OutputBatch, Turn, TurnFailure};

const KEYS: u64 = 10_000_000;
const VALUE_BYTES: usize = 88;
const CHECKPOINTS: usize = 200;
const RETAINED: usize = 3;
const BATCH: usize = 1024;
const MAX_PARALLELISM: u32 = 128;
/// Number of pairs of phases, one with checkpoints and one without.
const PHASES: usize = 12;
/// Long compared with the seconds in which a memtable fills: each phase flushes and compacts what the previous one left.
const PHASE: Duration = Duration::from_secs(8);
const INTERVAL: Duration = Duration::from_secs(1);
const RESTORES: usize = 5;
const JOB: &str = "bench";
/// Environment variable that tells a process which storage to restore from.
const RESTORE_FROM: &str = "COFFERDAM_BENCH_RESTORE";

/// A pseudo-random sequence that is the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Writes a random value for each of the keys.
fn write_keys(backend: &mut dyn StateBackend, keys: &mut dyn Iterator<Item = u64>, random: &mut Random) {
    let mut entries = Vec::with_capacity(BATCH);
    loop {
        entries.clear();
        entries.extend(keys.take(BATCH).map(|number| {
            let key = format!("k{number}").into_bytes();
            let value: Vec<u8> = (0..VALUE_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
            (group_of_key(hash_key(&key), MAX_PARALLELISM), key, value)
        }));
        if entries.is_empty() {
            return;
        }
        let mut writes = entries.iter().map(|(group, key, value)| StateWrite {
            state: 0,
            group: *group,
            key,
            sub_key: &[],
            change: StateChange::Put(value),
        });
        backend.apply(&mut writes).expect("the state can be written");
    }
}

fn layout() -> Vec<StateDescription> {
    vec![StateDescription::new("counted", StateKind::Value, "raw", "bytes")]
}

/// Completes checkpoints and retires older ones, as a job does.
struct Checkpoints {
    storage: CheckpointStorage,
    id: u64,
    held: Vec<FileRef>,
}

/// Size of a completed checkpoint.
struct CheckpointSize {
    uploaded: u64,
    bytes: u64,
}

impl Checkpoints {
    fn files(&mut self) -> CheckpointFiles {
        self.id += 1;
        self.storage.files(JOB, self.id, CheckpointKind::Checkpoint).expect("a checkpoint can be started")
    }

    fn complete(&mut self, files: &CheckpointFiles, handle: StateHandle, position: Option<Vec<u8>>) -> CheckpointSize {
        self.held = handle.files.clone();
        let bytes = handle.files.iter().map(|file| file.bytes).sum();
        let subtask = |state, source_position| SubtaskMetadata { source_position, state, ..SubtaskMetadata::default() };
        let operator = |id: &str, subtask| OperatorMetadata::new(id, vec![subtask]);
        let metadata = CheckpointMetadata {
            format: CheckpointMetadata::FORMAT,
            job_id: JOB.into(),
            job_name: JOB.into(),
            checkpoint_id: self.id,
            kind: CheckpointKind::Checkpoint,
            taken_at_ms: 0,
            seed: None,
            max_parallelism: MAX_PARALLELISM,
            schemas: Vec::new(),
            operators: vec![
                operator("numbers", subtask(None, position)),
                operator("count", subtask(Some(handle), None)),
                operator("out", subtask(None, None)),
            ],
        };
        self.storage.write_metadata(&metadata).expect("the metadata can be written");
        self.storage.retire(JOB, RETAINED, &[]).expect("checkpoints can be retired");
        CheckpointSize { uploaded: files.bytes_uploaded(), bytes }
    }

    fn upload(&mut self, snapshot: Box<dyn StateSnapshot>) -> CheckpointSize {
        let files = self.files();
        let held = files.reusable(&self.held).expect("the storage answers");
        let handle = snapshot.upload(&files, &held).expect("a snapshot can be uploaded");
        self.complete(&files, handle, None)
    }
}

/// Measurements of the series of checkpoints.
#[derive(Default)]
struct Series {
    /// Uploaded part of each checkpoint.
    ratios: Vec<f64>,
    sync_ms: Vec<f64>,
    /// The same without the time in which other threads occupied the core.
    sync_alone_ms: Vec<f64>,
    /// Size of the last checkpoint.
    bytes: u64,
}

/// Fills a database, then takes checkpoints of it. Each upload runs while the changes of the next checkpoint are written.
fn series(folder: &Path, arguments: &Arguments, checkpoints: &mut Checkpoints) -> Series {
    let (kind, working_dir) = (StateBackendKind::RocksDb, folder.join("series"));
    let options = StateOptions::empty(kind, working_dir, layout(), MAX_PARALLELISM, SystemClock::shared());
    let mut backend = state::open(options).expect("a database can be opened");
    let mut random = Random(1);
    let begun = Instant::now();
    write_keys(&mut *backend, &mut (0..arguments.keys), &mut random);
    let mut upload = || checkpoints.upload(backend.snapshot(SnapshotFormat::RocksDb).expect("a snapshot can be taken"));
    let mut stored = upload();
    println!("{} keys, {} MB, written in {:.0?}", arguments.keys, stored.bytes >> 20, begun.elapsed());
    while stored.uploaded > stored.bytes / 1000 {
        std::thread::sleep(INTERVAL);
        stored = upload();
    }
    let mut series = Series::default();
    std::thread::scope(|scope| {
        let (to_upload, snapshots) = mpsc::sync_channel::<Box<dyn StateSnapshot>>(0);
        let uploads = scope.spawn(move || {
            let stored: Vec<CheckpointSize> = snapshots.iter().map(|snapshot| checkpoints.upload(snapshot)).collect();
            stored
        });
        for _ in 0..arguments.checkpoints {
            let changed: Vec<u64> = (0..arguments.keys / 100).map(|_| random.next() % arguments.keys).collect();
            write_keys(&mut *backend, &mut changed.into_iter(), &mut random);
            let (begun, waited) = (Instant::now(), waited_for_a_core_ms());
            let snapshot = backend.snapshot(SnapshotFormat::RocksDb).expect("a snapshot can be taken");
            let (sync_ms, waited) = (begun.elapsed().as_secs_f64() * 1e3, waited_for_a_core_ms() - waited);
            series.sync_ms.push(sync_ms);
            series.sync_alone_ms.push(sync_ms - waited);
            to_upload.send(snapshot).expect("the upload thread is running");
        }
        drop(to_upload);
        for stored in uploads.join().expect("the upload thread succeeds") {
            series.bytes = stored.bytes;
            series.ratios.push(stored.uploaded as f64 / stored.bytes as f64);
        }
    });
    series
}

/// Counts the records of each key in the first 8 bytes of its value.
struct Count {
    processed: Box<dyn Fn() + Send>,
}

impl Guest for Count {
    fn process(&mut self, turn: &mut Turn, _: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        let keys = batch.keys.clone().expect("the input is keyed");
        let loaded = turn.value_load(0).expect("the state is declared");
        let mut counts = vec![0_u64; keys.distinct.len()];
        keys.key_of.iter().for_each(|&key| counts[key as usize] += 1);
        let mut stored = cofferdam::model::Column::with_capacity(counts.len(), counts.len() * VALUE_BYTES);
        for (value, count) in loaded.values.iter().zip(counts) {
            let mut value = if value.is_empty() { vec![0; VALUE_BYTES] } else { value.to_vec() };
            let counted = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            value[..8].copy_from_slice(&counted.wrapping_add(count).to_le_bytes());
            stored.push(&value);
        }
        let all: Vec<u32> = (0..stored.len() as u32).collect();
        turn.value_store(0, &all, &stored).expect("the keys are those of the turn");
        (self.processed)();
        Ok(Vec::new())
    }
}

fn plan(keys: u64, processed: impl Fn() + Clone + Send + Sync + 'static) -> Arc<ExecutionPlan> {
    let text = format!(
        r#"
        name = "{JOB}"
        max_parallelism = {MAX_PARALLELISM}
        [state]
        backend = "rocksdb"
        [source.numbers]
        connector = "generator"
        template = "{{key}}"
        keys = {keys}
        [operator.count]
        input = "numbers"
        key = "value"
        component = "native"
        function = "count"
        [sink.out]
        input = "count"
        connector = "blackhole"
        "#
    );
    let pipeline = PipelineSpec::parse(&text, "bench").expect("the pipeline is well formed");
    let port = |name: &str| PortDescription::new(name, "raw");
    let description = FunctionDescription {
        name: "count".into(),
        kind: FunctionKind::KeyedProcess,
        input: port("in"),
        second_input: None,
        outputs: vec![port("out")],
        states: layout(),
        broadcast_states: Vec::new(),
        timers: Vec::new(),
        internal: Vec::new(),
    };
    let make =
        Arc::new(move |_: &GuestOptions| Box::new(Count { processed: Box::new(processed.clone()) }) as Box<dyn Guest>);
    let functions = BTreeMap::from([("count".to_string(), FunctionPlan { description, make })]);
    Arc::new(ExecutionPlan::new(pipeline, functions, Path::new(".")).expect("the plan can be made"))
}

/// Starts an attempt from the newest checkpoint, after checking all its checksums.
fn restore(
    storage: &CheckpointStorage,
    plan: &Arc<ExecutionPlan>,
    working_dir: PathBuf,
    events: mpsc::Sender<SubtaskEvent>,
) -> Execution {
    let newest = storage.newest_usable(JOB, Verification::Checksums).expect("the storage can be read");
    let (metadata, _) = newest.expect("a checkpoint exists");
    let files =
        storage.files(JOB, metadata.checkpoint_id, CheckpointKind::Checkpoint).expect("the checkpoint has files");
    std::fs::create_dir_all(&working_dir).expect("a folder can be made");
    let options = ExecutionOptions {
        namespace_state: Default::default(),
        taps: Default::default(),
        health: Default::default(),
        log: Default::default(),
        job_id: JOB.into(),
        paths: PipelinePaths::default(),
        working_dir,
        seed: 7,
        clock: SystemClock::shared(),
        allow_unclaimed_state: false,
        reset_watermarks: false,
        region: None,
        triggers: None,
        share: JobShare::default(),
        injected: Arc::default(),
        interrupt: Interrupt::default(),
        restore: Some(RestoredCheckpoint { metadata: Arc::new(metadata), files: Arc::new(files) }),
        runtime: None,
        letters: Default::default(),
        sinks: Default::default(),
        faults: None,
        span: Default::default(),
        ingest: None,
        listener: Arc::new(move |event| {
            let _ = events.send(event);
        }),
    };
    Execution::start(plan, options).expect("the attempt can be started")
}

/// A restored attempt and its checkpoints.
struct Running {
    execution: Execution,
    events: mpsc::Receiver<SubtaskEvent>,
    checkpoints: Checkpoints,
    durations_ms: Vec<f64>,
}

impl Running {
    fn records(&self) -> u64 {
        self.execution
            .stats_reader()
            .read()
            .iter()
            .find(|node| node.node == "count")
            .map_or(0, |node| node.counters.records_in)
    }

    /// Runs a phase and returns its records per second. With an interval, takes checkpoints at that interval, but never two at
    /// the same time.
    fn phase(&mut self, interval: Option<Duration>) -> f64 {
        let (begun, records) = (Instant::now(), self.records());
        let mut next = begun;
        while begun.elapsed() < PHASE {
            let due = interval.filter(|_| Instant::now() >= next && begun.elapsed() + INTERVAL / 2 < PHASE);
            match due {
                Some(interval) => {
                    next = Instant::now() + interval;
                    self.checkpoint();
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        (self.records() - records) as f64 / begun.elapsed().as_secs_f64()
    }

    fn checkpoint(&mut self) {
        let begun = Instant::now();
        let files = self.checkpoints.files();
        self.execution.inject(Barrier {
            checkpoint: self.checkpoints.id,
            kind: BarrierKind::Checkpoint,
            format: SnapshotFormat::RocksDb,
            triggered_ns: 0,
        });
        let mut parts: Vec<SubtaskSnapshot> = Vec::new();
        while parts.len() < 3 {
            match self.events.recv().expect("the attempt is running") {
                SubtaskEvent::Acknowledged { snapshots: more, .. } => parts.extend(more),
                SubtaskEvent::Failed(failure) | SubtaskEvent::SourceFailed(failure) => panic!("{failure:?}"),
                SubtaskEvent::Opened
                | SubtaskEvent::SourceEnded
                | SubtaskEvent::CheckpointDue
                | SubtaskEvent::RecordsLost
                | SubtaskEvent::Warning(_) => {}
            }
        }
        let position = parts.iter_mut().find_map(|part| part.source_position.take());
        let snapshot = parts.into_iter().find_map(|part| part.state).expect("the function has state");
        let held = files.reusable(&self.checkpoints.held).expect("the storage answers");
        let handle = snapshot.upload(&files, &held).expect("a snapshot can be uploaded");
        self.checkpoints.complete(&files, handle, position);
        self.durations_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
}

struct Throughput {
    /// Records per second without checkpoints.
    plain: Vec<f64>,
    /// Part of that which checkpoints cost.
    loss: Vec<f64>,
    durations_ms: Vec<f64>,
}

fn throughput(folder: &Path, arguments: &Arguments, checkpoints: Checkpoints) -> Throughput {
    let (events, receiver) = mpsc::channel();
    let plan = plan(arguments.keys, || {});
    let execution = restore(&checkpoints.storage, &plan, folder.join("throughput"), events);
    let mut running = Running { execution, events: receiver, checkpoints, durations_ms: Vec::new() };
    // Warms up the caches, and lets compactions reach a steady state.
    running.phase(None);
    running.phase(Some(INTERVAL));
    let (mut plain, mut loss) = (Vec::new(), Vec::new());
    for pair in 0..arguments.phases {
        let [without, with] = if pair % 2 == 0 {
            let without = running.phase(None);
            [without, running.phase(Some(INTERVAL))]
        } else {
            let with = running.phase(Some(INTERVAL));
            [running.phase(None), with]
        };
        plain.push(without);
        loss.push(1.0 - with / without);
    }
    running.execution.cancel();
    running.execution.join();
    Throughput { plain, loss, durations_ms: running.durations_ms }
}

/// Restores in this process, and prints a line once the first batch is processed. The third part starts such processes.
fn restore_in_this_process(root: &Path, keys: u64) -> ! {
    let runtime = runtime();
    let storage = CheckpointStorage::open(&StorageLocation::Folder(root.to_owned()), runtime.handle().clone())
        .expect("the storage can be opened");
    let (processed, first) = mpsc::channel();
    let plan = plan(keys, move || {
        let _ = processed.send(());
    });
    let (events, failures) = mpsc::channel();
    let working_dir = root.join("../restored");
    let execution = restore(&storage, &plan, working_dir, events);
    while first.recv_timeout(Duration::from_millis(1)).is_err() {
        if let Ok(SubtaskEvent::Failed(failure)) = failures.try_recv() {
            panic!("{failure:?}");
        }
    }
    println!("processed");
    drop(execution);
    std::process::exit(0);
}

/// Returns the median seconds from the start of a process to its first batch, and the median seconds of a copy of the files.
fn restores(folder: &Path, root: &Path, storage: &CheckpointStorage, keys: u64) -> (f64, f64) {
    let newest = storage.newest_usable(JOB, Verification::Lengths).expect("the storage can be read");
    let (metadata, _) = newest.expect("a checkpoint exists");
    let files: Vec<PathBuf> = metadata.files().map(|file| root.join(&file.path)).collect();
    let (mut restores, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..RESTORES {
        let copy = folder.join("copy");
        let begun = Instant::now();
        std::fs::create_dir(&copy).expect("a folder can be made");
        for (number, file) in files.iter().enumerate() {
            std::fs::copy(file, copy.join(number.to_string())).expect("a file can be copied");
        }
        copies.push(begun.elapsed().as_secs_f64());
        std::fs::remove_dir_all(&copy).expect("a folder can be removed");

        let begun = Instant::now();
        let mut process = Command::new(std::env::current_exe().expect("this program has a path"));
        let process = process.args(["--keys", &keys.to_string()]).env(RESTORE_FROM, root);
        let process = process.stdout(Stdio::piped());
        let mut process = process.spawn().expect("the program can be started");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("the output can be read");
        restores.push(begun.elapsed().as_secs_f64());
        assert_eq!(line.trim(), "processed");
        process.wait().expect("the process ends");
        std::fs::remove_dir_all(folder.join("restored")).expect("a folder can be removed");
    }
    (quantile(&restores, 0.5), quantile(&copies, 0.5))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime can be created")
}

struct Arguments {
    keys: u64,
    checkpoints: usize,
    phases: usize,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments { keys: KEYS, checkpoints: CHECKPOINTS, phases: PHASES };
    let mut given = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = given.next() {
        let value: u64 =
            given.next().and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} needs a number"));
        match &name[..] {
            "--keys" => arguments.keys = value,
            "--checkpoints" => arguments.checkpoints = value as usize,
            "--phases" => arguments.phases = value as usize,
            _ => panic!("unknown argument {name}"),
        }
    }
    arguments
}

/// Returns a quantile of the measurements.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).ceil() as usize]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns how long this thread has waited for a core.
fn waited_for_a_core_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().nth(1).and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn resident_peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn bytes_below(folder: &Path) -> u64 {
    let entries =
        std::fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("a folder can be read"));
    entries
        .map(|entry| match entry.metadata().expect("metadata can be read") {
            meta if meta.is_dir() => bytes_below(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}

fn main() {
    let arguments = arguments();
    if let Some(root) = std::env::var_os(RESTORE_FROM) {
        restore_in_this_process(Path::new(&root), arguments.keys);
    }
    let report =
        std::env::var_os("COFFERDAM_BENCH_DIR").expect("COFFERDAM_BENCH_DIR is set by `cargo xtask bench state`");
    let report = PathBuf::from(report);
    // Beside the report, because a temporary folder may be in memory and would hide the cost of files.
    let folder = tempfile::tempdir_in(&report).expect("a folder can be made");
    let runtime = runtime();
    let root = folder.path().join("storage");
    let storage = CheckpointStorage::open(&StorageLocation::Folder(root.clone()), runtime.handle().clone())
        .expect("a storage can be opened");
    let mut checkpoints = Checkpoints { storage: storage.clone(), id: 0, held: Vec::new() };
    let mut metrics = BTreeMap::new();
    let mut show = |name: &str, what: &str, value: f64| {
        println!("{what:<62} {value:>10.3}");
        metrics.insert(name.to_owned(), (value * 1e4).round() / 1e4);
    };

    let series = series(folder.path(), &arguments, &mut checkpoints);
    let state_bytes = arguments.keys * (VALUE_BYTES as u64 + 12);
    let over = series.ratios.iter().filter(|ratio| **ratio >= 0.1).count() as f64 / series.ratios.len() as f64;
    show("incremental_upload_median_ratio", "uploaded part of a checkpoint: median", quantile(&series.ratios, 0.5));
    show("incremental_upload_mean_ratio", "uploaded part of a checkpoint: mean", mean(&series.ratios));
    show("incremental_upload_max_ratio", "uploaded part of a checkpoint: maximum", quantile(&series.ratios, 1.0));
    show("incremental_upload_over_limit", "part of checkpoints that upload a tenth or more", over);
    show("checkpoint_sync_p50_ms", "synchronous part, ms: median", quantile(&series.sync_ms, 0.5));
    show("checkpoint_sync_p99_ms", "synchronous part, ms: 99th percentile", quantile(&series.sync_ms, 0.99));
    show("checkpoint_sync_alone_p99_ms", "  without waiting for a core", quantile(&series.sync_alone_ms, 0.99));
    show("image_ratio", "size of the last checkpoint / size of the state", series.bytes as f64 / state_bytes as f64);
    let stored = bytes_below(&root) as f64 / state_bytes as f64;
    show(
        &format!("storage_ratio_after_{}_checkpoints", arguments.checkpoints),
        "size of the storage with 3 retained / size of the state",
        stored,
    );

    let throughput = throughput(folder.path(), &arguments, checkpoints);
    show("resident_peak_mb", "peak memory of the process so far, MB", resident_peak_mb());
    show("records_per_s", "records per second without checkpoints: median", quantile(&throughput.plain, 0.5));
    show(
        "checkpoint_throughput_loss",
        "throughput lost with a checkpoint per second: median",
        quantile(&throughput.loss, 0.5),
    );
    show(
        "checkpoint_throughput_loss_mean",
        "throughput lost with a checkpoint per second: mean",
        mean(&throughput.loss),
    );
    show(
        "checkpoint_duration_p50_ms",
        "duration of such a checkpoint, ms: median",
        quantile(&throughput.durations_ms, 0.5),
    );

    let (restored, copied) = restores(folder.path(), &root, &storage, arguments.keys);
    show("restore_1gb_s", "from process start to the first batch, s", restored);
    show("plain_copy_1gb_s", "copy of the same files, s", copied);
    let json = serde_json::json!({ "name": "state", "metrics": metrics });
    std::fs::write(report.join("state.json"), format!("{json:#}\n")).expect("the report can be written");
}
