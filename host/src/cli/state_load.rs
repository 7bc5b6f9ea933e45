//! `cofferdam state load`: writes a savepoint from lines of JSON.
//!
//! Invariant: all lines are checked before anything is written, and a load that fails leaves no files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use super::arguments::StateLoadArgs;
use super::client::{ApiClient, segment};
use super::offline_state::{OfflineState, new_runtime, storage_location};
use super::pipeline_file::{PipelineFile, is_path, read_pipeline_file};
use super::print;
use crate::checkpoint::SavepointWriter;
use crate::clock::{SystemClock, random_u64};
use crate::error::{self, Result};
use crate::job::view::ComponentView;
use crate::model::row::RowSchema;
use crate::operator::window_states;
use crate::pipeline::NodeKind;
use crate::sandbox::{FunctionKind, Sandbox, SandboxOptions};
use crate::state::StateLayout;
use crate::state_reader::{LoadTarget, ParsedEntries, loaded_metadata};

const AGGREGATE: &str = FunctionKind::Aggregate.as_str();

/// Parses all lines, writes the savepoint, and prints its location.
pub fn load(client: &ApiClient, args: &StateLoadArgs, json: bool) -> Result<()> {
    let now_ms = SystemClock::shared().wall_ms();
    let base = args.base.as_deref().map(OfflineState::open).transpose()?;
    let pipeline = args.pipeline.as_deref().map(|path| pipeline_target(client, path)).transpose()?;
    let base_metadata = base.as_ref().map(|base| &*base.metadata);
    let target = match (pipeline, base_metadata) {
        (Some(pipeline), Some(base)) => pipeline.with_base(base)?,
        (Some(pipeline), None) => pipeline,
        (None, Some(base)) => LoadTarget::of_checkpoint(base),
        (None, None) => return Err(error::request_invalid("use --pipeline, --base or both")),
    };
    let (mut lines, name) = open_lines(&args.file)?;
    let entries = ParsedEntries::parse(&mut lines, &name, &target, now_ms)?;
    let runtime = new_runtime()?;
    let savepoint = SavepointWriter::create(&storage_location(&args.to)?, runtime.handle().clone())?;
    let written = entries.write(&target, base.as_ref().map(|base| &base.reader), savepoint.files());
    let location = match written {
        Ok(operators) => {
            let job_id = format!("{:016x}", random_u64());
            savepoint.complete(&loaded_metadata(&target, base_metadata, operators, job_id, now_ms))?
        }
        Err(error) => {
            savepoint.abandon();
            return Err(error);
        }
    };
    if json {
        return print::json(&serde_json::json!({ "location": location.to_string(), "entries": entries.count() }));
    }
    print::line(location);
    Ok(())
}

/// Opens the file with the lines, or stdin for `-`. Also returns its name for error messages.
fn open_lines(path: &Path) -> Result<(Box<dyn BufRead>, String)> {
    if path.to_str() == Some("-") {
        return Ok((Box::new(BufReader::new(std::io::stdin())), "stdin".into()));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| error::request_invalid(format!("cannot read {name}: {error}")))?;
    Ok((Box::new(BufReader::new(file)), name))
}

/// Returns the operators of a pipeline with the states that their functions declare. Components named by path are read; the
/// server describes the others.
fn pipeline_target(client: &ApiClient, path: &Path) -> Result<LoadTarget> {
    let file = read_pipeline_file(path)?;
    let sandbox = Sandbox::open(SandboxOptions::in_this_process(1))?;
    let mut layouts: BTreeMap<String, StateLayout> = BTreeMap::new();
    for node in &file.pipeline.nodes {
        let (id, NodeKind::Operator(operator)) = (&node.id, &node.kind) else { continue };
        let states_of_windows = |is_aggregate, inputs: &[_]| match &operator.windows {
            Some(windows) => window_states(windows, is_aggregate, inputs),
            None => StateLayout::new(),
        };
        let layout = match &operator.function {
            None => states_of_windows(true, &[]),
            Some(function) => {
                let (mut states, inputs, is_aggregate) =
                    declared_states(client, &sandbox, &file, &function.component, &function.name)
                        .map_err(|error| error.context(format!("operator `{id}`")))?;
                states.extend(states_of_windows(is_aggregate, &inputs));
                states
            }
        };
        layouts.insert(id.clone(), layout);
    }
    Ok(LoadTarget::of_pipeline(&file.pipeline, &layouts))
}

/// The states that a function declares, the rows that its inputs read, and whether it is an aggregate function.
type DeclaredStates = (StateLayout, Vec<Option<Arc<RowSchema>>>, bool);

/// Returns what a function declares.
fn declared_states(
    client: &ApiClient,
    sandbox: &Sandbox,
    file: &PipelineFile,
    component: &str,
    function: &str,
) -> Result<DeclaredStates> {
    let found = if is_path(component) {
        let path = file.base_dir.join(component);
        let bytes =
            std::fs::read(&path).map_err(|error| error::component_not_found(format!("{}: {error}", path.display())))?;
        let component = sandbox.load(&bytes)?;
        let found = component.description().function(function);
        found.map(|(_, found)| (found.all_states(), found.input_rows(), found.kind.as_str() == AGGREGATE))
    } else {
        let view: ComponentView = client.get(&format!("/v1/components/{}", segment(component)))?;
        let found = view.functions.iter().find(|view| view.name == function);
        found.and_then(|view| Some((view.layout()?, view.input_rows()?, view.kind == AGGREGATE)))
    };
    found.ok_or_else(|| error::function_not_found(format!("there is no function `{function}` in `{component}`")))
}
