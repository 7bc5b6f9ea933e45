//! Opens an operator: creates its guest, restores its state, and migrates the state if its schema has changed.

use std::sync::Arc;

use super::guest_migration::GuestStateMigrator;
use super::subtask_context::SubtaskContext;
use crate::error::Result;
use crate::model::{groups_of_subtask, hash_key};
use crate::operator::{
    FunctionOperator, FunctionSettings, IntervalJoin, Operator, RetryPolicy, WindowOperator, WindowOptions,
};
use crate::pipeline::{OperatorNode, PipelineNode};
use crate::runtime::plan::functions::{FunctionPlan, GuestOptions, function_of};
use crate::runtime::plan::output_ports::is_late_output_read;
use crate::runtime::plan::window_functions::window_function;
use crate::sandbox::{FunctionDescription, FunctionKind};
use crate::state::{self, BroadcastState, StateOptions};
use crate::turn::{Guest, Turn, TurnContext, TurnLimits};
use crate::wakeup::Wakeup;

/// Opens an operator with its restored state.
pub(super) fn open_operator(
    context: &SubtaskContext,
    node: &PipelineNode,
    operator: &OperatorNode,
) -> Result<Box<dyn Operator>> {
    let FunctionPlan { description, make } = function_of(&context.plan.functions, node)?;
    let mut guest = make(&GuestOptions {
        limits: operator.limits.guest(),
        seed: context.options.seed,
        fresh: context.plan.pipeline.sandbox.fresh_instance,
        cancel: context.options.interrupt.flag(),
    });
    let mut turn = open_keyed_state(context, node, operator, description, &mut *guest)?;
    turn.positions = context.restored(node).positions();
    if !description.broadcast_states.is_empty() {
        turn = turn.with_broadcast(open_broadcast_state(context, node, description, &mut *guest)?);
    }
    turn.set_limits(TurnLimits::new(&operator.limits));
    if let Some(log) = context.logs.get(&node.id) {
        turn.share_limits(log.limits().clone());
    }
    let settings = function_settings(context, node, operator, description)?;
    let counters = context.restored(node).counters();
    let emits_late_records = is_late_output_read(&context.plan.pipeline.nodes, node);
    Ok(match (&operator.windows, window_function(description.kind), operator.interval) {
        (Some(windows), Some(function), _) => {
            let options = WindowOptions {
                windows: windows.clone(),
                function,
                emits_late_records,
                results: description.outputs.first().and_then(|port| port.schema.clone()),
            };
            Box::new(WindowOperator::new(guest, turn, settings, options, counters)?)
        }
        (_, _, Some(interval)) => {
            Box::new(IntervalJoin::new(guest, turn, settings, interval, emits_late_records, counters)?)
        }
        _ => Box::new(FunctionOperator::new(guest, turn, settings, counters)),
    })
}

/// Opens the keyed state of an operator. Returns a turn without state if the function has none.
fn open_keyed_state(
    context: &SubtaskContext,
    node: &PipelineNode,
    operator: &OperatorNode,
    description: &FunctionDescription,
    guest: &mut dyn Guest,
) -> Result<Turn> {
    let (pipeline, options) = (&context.plan.pipeline, &context.options);
    let turn_context = TurnContext {
        operator: node.id.clone(),
        subtask: context.subtask,
        seed: turn_seed(options.seed, description.kind, context.subtask),
        config: Arc::new(operator.config.clone()),
        ..TurnContext::default()
    };
    let layout = description.keyed_states();
    if layout.is_empty() {
        return Ok(Turn::stateless(turn_context));
    }
    let groups = groups_of_subtask(context.subtask, node.parallelism, pipeline.max_parallelism);
    let backend = state::open(StateOptions {
        backend: pipeline.state.backend,
        working_dir: options.working_dir.join(format!("{}-{}", node.id, context.subtask)),
        layout: layout.clone(),
        max_parallelism: pipeline.max_parallelism,
        groups: groups.clone(),
        restore: context.restored(node).keyed_state(&groups),
        allow_unclaimed: options.allow_unclaimed_state,
        migrate: Some(&mut GuestStateMigrator { guest, first_state: 0, layout: &layout }),
        clock: options.clock.clone(),
        interrupt: options.interrupt.clone(),
    })?;
    let mut turn = Turn::stateful(turn_context, layout, backend).with_timers(groups)?;
    if options.reset_watermarks {
        turn.reset_watermark()?;
    }
    Ok(turn)
}

/// Returns the seed that turns see. Keys make the numbers of subtasks differ; without keys, the seed does.
fn turn_seed(seed: u64, kind: FunctionKind, subtask: u32) -> u64 {
    match (kind, subtask) {
        (FunctionKind::Process, 1..) => hash_key([seed, u64::from(subtask)].map(u64::to_le_bytes).as_flattened()),
        _ => seed,
    }
}

/// Opens the broadcast state of an operator.
fn open_broadcast_state(
    context: &SubtaskContext,
    node: &PipelineNode,
    description: &FunctionDescription,
    guest: &mut dyn Guest,
) -> Result<BroadcastState> {
    let layout = &description.broadcast_states;
    let restored = context.restored(node).broadcast_state();
    let mut migrator = GuestStateMigrator { guest, first_state: description.states.len(), layout };
    BroadcastState::open(layout.clone(), restored.as_ref(), context.options.allow_unclaimed_state, &mut migrator)
}

fn function_settings(
    context: &SubtaskContext,
    node: &PipelineNode,
    operator: &OperatorNode,
    description: &FunctionDescription,
) -> Result<FunctionSettings> {
    let pipeline = &context.plan.pipeline;
    Ok(FunctionSettings {
        job: pipeline.name.clone(),
        function: description.name.clone(),
        on_fault: operator.on_fault,
        retry: operator.retry.map(|retry| {
            let wakeup = Wakeup::default();
            context.options.interrupt.subscribe(&wakeup);
            RetryPolicy { retry, wakeup }
        }),
        component: context.options.letters.components.get(&node.id).cloned(),
        keeps_letters: pipeline.index_of(&node.id).is_some_and(|index| pipeline.keeps_letters(index)),
        batch_records: pipeline.batch.records,
        clock: context.options.clock.clone(),
        log: context.logs.get(&node.id).cloned().unwrap_or_default(),
        faults: context.options.faults.clone(),
        cancel: context.options.interrupt.flag(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subtasks_without_keys_have_seeds_of_their_own() {
        let seeds = |kind| [0, 1, 2].map(|subtask| turn_seed(7, kind, subtask));
        assert_eq!(seeds(FunctionKind::KeyedProcess), [7; 3]);
        let [first, second, third] = seeds(FunctionKind::Process);
        assert_eq!((first, turn_seed(7, FunctionKind::Process, 1)), (7, second));
        assert!(second != first && third != first && third != second);
    }
}
