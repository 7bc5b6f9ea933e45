//! Opens one operator outside of a running job, to try dead letters on it. Its effects are thrown away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::execution_options::ExecutionOptions;
use super::operator_startup::open_operator;
use super::subtask_context::SubtaskContext;
use crate::connector::StoredLetter;
use crate::error::{self, Result};
use crate::escape::shown;
use crate::model::row::write_json;
use crate::operator::{Operator, OperatorFailure, RejectedRecord};
use crate::permits::SubtaskActivity;
use crate::pipeline::NodeKind;
use crate::runtime::attempt_signals::AttemptSignals;
use crate::runtime::plan::execution_plan::ExecutionPlan;
use crate::runtime::records::record_converter::RecordConverter;
use crate::runtime::replay::replay_feed::{ReplayStep, step_of_letter};
use crate::runtime::subtask::chained_node::{ChainedNode, NodeTask};
use crate::turn::{OutputBatch, OutputId};
use crate::wakeup::Wakeup;

/// An operator on which letters are tried, one after another.
pub struct OperatorTrial {
    node: ChainedNode,
    /// Names of the outputs that the function declares.
    output_names: Vec<String>,
    is_keyed: bool,
    max_parallelism: u32,
}

/// What became of a letter.
#[derive(Debug, Default)]
pub struct TrialOutcome {
    /// The code and the message of the fault, if the record failed again.
    pub fault: Option<(String, String)>,
    /// The name of the output and the text of each record that the function emitted.
    pub outputs: Vec<(String, String)>,
}

impl OperatorTrial {
    /// Opens an operator with the state that `options` restore. In the plan it has parallelism 1 and the fault policy
    /// `dead-letter`.
    pub fn open(plan: ExecutionPlan, options: ExecutionOptions, id: &str) -> Result<OperatorTrial> {
        let plan = Arc::new(plan);
        let activity = Arc::new(SubtaskActivity::new(options.clock.clone(), 1));
        let index = plan.pipeline.index_of(id).ok_or_else(|| error::internal(format!("no operator `{id}`")))?;
        let context = SubtaskContext {
            plan: plan.clone(),
            signals: Arc::new(AttemptSignals::new(options.interrupt.clone())),
            options: Arc::new(options),
            subtask: 0,
            wakeup: Wakeup::default(),
            activity,
            logs: Arc::new(BTreeMap::new()),
        };
        let node = &plan.pipeline.nodes[index];
        let NodeKind::Operator(operator) = &node.kind else {
            return Err(error::internal(format!("`{id}` is not an operator")));
        };
        let records = &plan.records.nodes[index];
        let task = NodeTask::Operator(open_operator(&context, node, operator)?);
        let declared = plan.functions.get(id).map(|function| &function.description.outputs[..]).unwrap_or_default();
        Ok(OperatorTrial {
            node: ChainedNode {
                converters: records.inputs().iter().cloned().map(|format| format.map(RecordConverter::new)).collect(),
                output_schemas: records.output_schemas(),
                ..ChainedNode::new(id, task, BTreeMap::new())
            },
            output_names: declared.iter().map(|port| port.name.clone()).collect(),
            is_keyed: node.key.is_some(),
            max_parallelism: plan.pipeline.max_parallelism,
        })
    }

    /// Processes the record of a letter, in the state that the letters before it have left.
    pub fn run(&mut self, letter: &[u8]) -> Result<TrialOutcome> {
        let mut rejected: Vec<RejectedRecord> = Vec::new();
        let mut outputs = Vec::new();
        match step_of_letter(letter, self.is_keyed, self.max_parallelism) {
            ReplayStep::Records { input, batch, .. } => {
                let batch = self.node.convert(input, batch, &mut rejected)?;
                if !batch.is_empty() {
                    checked(self.operator()?.process(input, batch, &mut outputs))?;
                }
            }
            ReplayStep::Rejected { record, .. } => rejected.push(record),
            ReplayStep::Kept(_) | ReplayStep::Nothing => {
                let fault = Some(("dead-letter-not-found".to_owned(), "the letter holds no record".to_owned()));
                return Ok(TrialOutcome { fault, outputs: Vec::new() });
            }
        }
        for record in rejected {
            checked(self.operator()?.reject(record, &mut outputs))?;
        }
        Ok(self.outcome(outputs))
    }

    fn operator(&mut self) -> Result<&mut dyn Operator> {
        match &mut self.node.task {
            NodeTask::Operator(operator) => Ok(&mut **operator),
            NodeTask::Source(_) | NodeTask::Sink { .. } => Err(error::internal("a trial runs an operator")),
        }
    }

    fn outcome(&self, outputs: Vec<OutputBatch>) -> TrialOutcome {
        let mut outcome = TrialOutcome::default();
        for OutputBatch { output, batch } in outputs {
            let name = match output {
                OutputId::Declared(index) => self.output_names.get(index).cloned().unwrap_or_default(),
                OutputId::Late => "late".to_owned(),
                OutputId::DeadLetter => {
                    let letter = batch.values.iter().next().and_then(StoredLetter::parse);
                    outcome.fault = letter.map(|letter| (letter.code, letter.message));
                    continue;
                }
            };
            let schema = batch.schema.as_ref().or(self.node.output_schemas.get(&output));
            for value in batch.values.iter() {
                let mut json = Vec::new();
                let is_row = schema.is_some_and(|schema| write_json(schema, value, &mut json).is_ok());
                outcome.outputs.push((name.clone(), shown(if is_row { &json } else { value })));
            }
        }
        outcome
    }
}

/// The fault policy is not `fail`, so that a fault is no failure.
fn checked(result: Result<(), OperatorFailure>) -> Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(OperatorFailure::Fault { fault, .. }) => Err(error::internal(fault.to_string())),
        Err(OperatorFailure::Error(error)) => Err(error),
        Err(OperatorFailure::Cancelled) => Err(error::interrupted("the trial was aborted")),
    }
}
