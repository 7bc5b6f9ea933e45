//! `cofferdam state`: asks a server about a job, or reads a savepoint's folder without one; and writes savepoints.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::client::{ApiClient, segment};
use super::pipeline_file::{is_path, read_pipeline_file};
use super::{StateCommand, StateLoadArgs, print};
use crate::checkpoint::{CheckpointMetadata, SavepointWriter, StorageLocation, StoredCheckpoint, Verification};
use crate::clock::{SystemClock, random_u64};
use crate::error::{self, Result};
use crate::escape;
use crate::job::view::ComponentView;
use crate::operator::window_states;
use crate::pipeline::NodeKind;
use crate::sandbox::{FunctionKind, Sandbox, SandboxOptions};
use crate::state::StateLayout;
use crate::state_reader::{
    KeyState, LoadTarget, ParsedEntries, StateEntry, StateListing, StateReader, loaded_metadata,
};

pub fn state(client: &ApiClient, command: &StateCommand, json: bool) -> Result<()> {
    match command {
        StateCommand::List { of, count } => {
            let listing: StateListing = match place(&of.of) {
                StateOrigin::Job(path) => client.query(&path, &[("count", if *count { "true" } else { "false" })])?,
                StateOrigin::Folder(folder) => OfflineState::open(folder)?.images.list(*count)?,
            };
            if json {
                return print::json(&listing);
            }
            print::states(&listing);
            Ok(())
        }
        StateCommand::Get { of, operator, state, key, map_key } => {
            let found: KeyState = match place(&of.of) {
                StateOrigin::Job(path) => {
                    let mut query = vec![("key", &key[..])];
                    query.extend(map_key.as_ref().map(|map_key| ("map_key", &map_key[..])));
                    client.query(&format!("{path}/{}/{}", segment(operator), segment(state)), &query)?
                }
                StateOrigin::Folder(folder) => {
                    OfflineState::open(folder)?.images.get(operator, state, key, map_key.as_deref())?
                }
            };
            show_entries(&found, json, || format!("`{key}` has nothing in state `{state}` of `{operator}`"))
        }
        StateCommand::Dump { of, operator, state } => dump(client, &of.of, operator.as_deref(), state.as_deref()),
        StateCommand::Load(args) => load(client, args, json),
    }
}

enum StateOrigin<'a> {
    /// The path of the job's state on the server.
    Job(String),
    Folder(&'a str),
}

/// A name has no slash, and a folder can always be written with one.
fn place(of: &str) -> StateOrigin<'_> {
    match of.contains(['/', '\\']) {
        true => StateOrigin::Folder(of),
        false => StateOrigin::Job(format!("/v1/jobs/{}/state", segment(of))),
    }
}

/// A savepoint or checkpoint, read without a server.
struct OfflineState {
    images: StateReader,
    manifest: Arc<CheckpointMetadata>,
    _runtime: Runtime,
}

impl OfflineState {
    fn open(folder: &str) -> Result<OfflineState> {
        let runtime = runtime()?;
        let snapshot = StoredCheckpoint::open(&location(folder)?, runtime.handle().clone(), Verification::Lengths)?;
        let manifest = Arc::new(snapshot.metadata);
        let files = snapshot.storage.files(&manifest.job_id, manifest.checkpoint_id, manifest.kind)?;
        let images = StateReader::new(manifest.clone(), Arc::new(files), &std::env::temp_dir())?;
        Ok(OfflineState { images, manifest, _runtime: runtime })
    }
}

fn show_entries(found: &KeyState, json: bool, nothing: impl Fn() -> String) -> Result<()> {
    if json {
        return print::json(found);
    }
    if found.entries.is_empty() {
        return Err(error::state_unknown(nothing()));
    }
    let mut out = EntryOutput::stdout();
    found.entries.iter().try_for_each(|entry| out.entry(entry)).or_else(|error| out.failed(error))
}

fn dump(client: &ApiClient, of: &str, operator: Option<&str>, state: Option<&str>) -> Result<()> {
    let mut out = EntryOutput::stdout();
    let written = match place(of) {
        StateOrigin::Job(path) => {
            let named = [("operator", operator), ("state", state)];
            let query: Vec<(&str, &str)> = named.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
            client.copy(&format!("{path}/dump"), &query, &mut out)
        }
        StateOrigin::Folder(folder) => {
            OfflineState::open(folder)?.images.dump(operator, state, &mut |entry| out.entry(&entry))
        }
    };
    let flushed = written.and_then(|()| out.flush().map_err(|error| stdout_failed(&error)));
    flushed.or_else(|error| out.failed(error))
}

/// Lines on stdout. A reader that goes away (`| head`) ends the writing, and is no error.
struct EntryOutput {
    buffer: BufWriter<std::io::StdoutLock<'static>>,
    reader_is_gone: bool,
}

impl EntryOutput {
    fn stdout() -> EntryOutput {
        EntryOutput { buffer: BufWriter::new(std::io::stdout().lock()), reader_is_gone: false }
    }

    fn entry(&mut self, entry: &StateEntry) -> Result<()> {
        let line =
            serde_json::to_string(entry).map_err(|error| error::internal(format!("cannot write JSON: {error}")))?;
        let written = self.write_all(escape::json(&line).as_bytes()).and_then(|()| self.write_all(b"\n"));
        written.map_err(|error| stdout_failed(&error))
    }

    /// What remains of an error once nobody reads any more.
    fn failed(&self, error: error::Error) -> Result<()> {
        if self.reader_is_gone { Ok(()) } else { Err(error) }
    }

    fn heard<T>(&mut self, written: std::io::Result<T>) -> std::io::Result<T> {
        self.reader_is_gone |= written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        written
    }
}

impl Write for EntryOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.buffer.write(bytes);
        self.heard(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.buffer.flush();
        self.heard(flushed)
    }
}

fn stdout_failed(error: &std::io::Error) -> error::Error {
    error::request_invalid(format!("stdout cannot be written: {error}"))
}

/// Reads and checks everything, then writes the savepoint; what fails in between leaves nothing behind.
fn load(client: &ApiClient, args: &StateLoadArgs, json: bool) -> Result<()> {
    let now_ms = SystemClock::shared().wall_ms();
    let base = args.base.as_deref().map(OfflineState::open).transpose()?;
    let pipeline = args.pipeline.as_deref().map(|path| pipeline_target(client, path)).transpose()?;
    let held = base.as_ref().map(|base| &*base.manifest);
    let target = match (pipeline, held) {
        (Some(pipeline), Some(held)) => pipeline.with_base(held)?,
        (Some(pipeline), None) => pipeline,
        (None, Some(held)) => LoadTarget::of_checkpoint(held),
        (None, None) => return Err(error::request_invalid("name the --pipeline, or a --base, or both")),
    };
    let (mut lines, name): (Box<dyn BufRead>, String) = match args.file.to_str() {
        Some("-") => (Box::new(BufReader::new(std::io::stdin())), "stdin".into()),
        _ => {
            let name = args.file.display().to_string();
            let file = File::open(&args.file).map_err(|error| error::request_invalid(format!("{name}: {error}")))?;
            (Box::new(BufReader::new(file)), name)
        }
    };
    let loaded = ParsedEntries::parse(&mut lines, &name, &target, now_ms)?;
    let runtime = runtime()?;
    let savepoint = SavepointWriter::create(&location(&args.to)?, runtime.handle().clone())?;
    let written = loaded.write(&target, base.as_ref().map(|base| &base.images), savepoint.files());
    let location = match written {
        Ok(operators) => {
            let job_id = format!("{:016x}", random_u64());
            savepoint.complete(&loaded_metadata(&target, held, operators, job_id, now_ms))?
        }
        Err(error) => {
            savepoint.abandon();
            return Err(error);
        }
    };
    if json {
        return print::json(&serde_json::json!({ "location": location.to_string(), "entries": loaded.count() }));
    }
    print::line(location);
    Ok(())
}

/// A pipeline, with what the components of its operators say of their states: those named by path are read, the others
/// asked for.
fn pipeline_target(client: &ApiClient, path: &Path) -> Result<LoadTarget> {
    let manifest = read_pipeline_file(path)?;
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(1))?;
    const AGGREGATE: &str = FunctionKind::Aggregate.as_str();
    let mut layouts: BTreeMap<String, StateLayout> = BTreeMap::new();
    for node in &manifest.pipeline.nodes {
        let (id, NodeKind::Operator(operator)) = (&node.id, &node.kind) else { continue };
        let located = |error: error::Error| error.context(format!("operator `{id}`"));
        let of_windows = |is_aggregate| match &operator.windows {
            Some(windows) => window_states(windows, is_aggregate),
            None => StateLayout::new(),
        };
        let Some(function) = &operator.function else {
            layouts.insert(id.clone(), of_windows(true));
            continue;
        };
        let found = match is_path(&function.component) {
            true => {
                let path = manifest.base_dir.join(&function.component);
                let bytes = std::fs::read(&path)
                    .map_err(|error| error::component_not_found(format!("{}: {error}", path.display())))
                    .map_err(located)?;
                let component = sandbox.load(&bytes).map_err(located)?;
                component
                    .description()
                    .function(&function.name)
                    .map(|(_, found)| (found.all_states(), found.kind.as_str() == AGGREGATE))
            }
            false => {
                let view: ComponentView = client.get(&format!("/v1/components/{}", segment(&function.component)))?;
                view.functions
                    .iter()
                    .find(|view| view.name == function.name)
                    .and_then(|view| Some((view.layout()?, view.kind == AGGREGATE)))
            }
        };
        let missing = || error::function_not_found(format!("operator `{id}`: no function `{}`", function.name));
        let (mut states, is_aggregate) = found.ok_or_else(missing)?;
        states.extend(of_windows(is_aggregate));
        layouts.insert(id.clone(), states);
    }
    Ok(LoadTarget::of_pipeline(&manifest.pipeline, &layouts))
}

fn runtime() -> Result<Runtime> {
    Runtime::new().map_err(|error| error::internal(format!("no runtime: {error}")))
}

fn location(folder: &str) -> Result<StorageLocation> {
    let here =
        std::env::current_dir().map_err(|error| error::request_invalid(format!("the working folder: {error}")))?;
    StorageLocation::parse(folder, &here).map(StorageLocation::canonical).map_err(error::request_invalid)
}
