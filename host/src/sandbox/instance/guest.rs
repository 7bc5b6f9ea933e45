//! The guest of one subtask: a component's function, called within its limits.
//!
//! Invariant: an instance that had a fault is dropped, and the next turn gets a new one. So no state of a failed call
//! survives in a guest.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wasmtime::Store;

use super::call_failure::{CallFailure, classify, output_exceeded};
use super::call_parameters::{batch_param, column_param, elements_param, side_param, windows_param};
use super::live_instance::LiveInstance;
use super::store_data::{StoreData, begin_call, log_lines_outside_turn};
use crate::error;
use crate::model::{
    Batch, Column, DueTimers, Fault, FaultCode, JoinedPairs, Keys, TimeDomain, WindowElements, Windows,
};
use crate::pipeline::GuestLimits;
use crate::sandbox::bindings::cofferdam::function::types;
use crate::sandbox::bindings::exports::cofferdam::function::{function as wit, join as wit_join};
use crate::sandbox::component::Component;
use crate::sandbox::exports::ComponentExports;
use crate::turn::{Guest, LogLevel, OutputBatch, Turn, TurnFailure, sanitize_text};

/// The guest of one subtask. Its instance is reused until a call fails.
pub struct Instance {
    component: Component,
    function: u32,
    outputs: usize,
    limits: GuestLimits,
    seed: u64,
    /// Whether the instance is dropped after every turn.
    fresh: bool,
    /// Set when the job is cancelled, which ends a call.
    cancel: Arc<AtomicBool>,
    /// The current instance, or `None` before the first turn and after a fault.
    live: Option<LiveInstance>,
}

impl Instance {
    /// Creates a guest that runs function `function` of a component. Instantiates nothing before the first turn.
    ///
    /// With `fresh`, the instance is dropped after every turn.
    pub fn new(component: Component, function: u32, limits: GuestLimits, seed: u64, fresh: bool) -> Instance {
        let outputs =
            component.description().functions.get(function as usize).map_or(1, |function| function.outputs.len());
        Instance { component, function, outputs, limits, seed, fresh, cancel: Arc::default(), live: None }
    }

    /// Ends a call soon after `cancel` is set.
    pub fn cancelled_by(mut self, cancel: Arc<AtomicBool>) -> Instance {
        self.cancel = cancel;
        self
    }

    fn start_own(&self) -> Result<LiveInstance, CallFailure> {
        LiveInstance::start(self.component.linked(), self.limits, self.seed, self.cancel.clone())
    }

    /// Makes one call within `turn`. Instantiates the component if necessary, and gives its imports access to the turn. If
    /// the call fails, the instance is dropped.
    fn within<T>(
        &mut self,
        turn: &mut Turn,
        call: impl FnOnce(&Instance, &mut Store<StoreData>, &ComponentExports) -> Result<T, CallFailure>,
    ) -> Result<T, TurnFailure> {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start_own()?,
        };
        live.store.data().environment.set_time(turn.context.processing_time);
        std::mem::swap(&mut live.store.data_mut().turn, turn);
        live.store.data_mut().in_turn = true;
        let LiveInstance { store, exports } = &mut live;
        begin_call(store, self.limits.deadline);
        // Clears a refusal that an earlier call survived.
        store.data_mut().memory.take_refused();
        let result = call(self, store, exports);
        live.store.data_mut().in_turn = false;
        std::mem::swap(&mut live.store.data_mut().turn, turn);
        for line in live.store.data().environment.take_output() {
            turn.log(LogLevel::Info, line, None);
        }
        if result.is_ok() && !self.fresh {
            self.live = Some(live);
        }
        Ok(result?)
    }

    /// Converts the result of a call. `items` is the number of records in the call, for the message of a failure.
    fn returned<T>(
        &self,
        store: &mut Store<StoreData>,
        returned: wasmtime::Result<Result<T, types::Failure>>,
        items: usize,
    ) -> Result<T, CallFailure> {
        match returned {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(types::Failure { message, record })) => {
                let message = match record {
                    Some(record) if items > 1 => format!("{message} (record {record} of the batch)"),
                    _ => message,
                };
                Err(CallFailure::Fault(Fault::new(FaultCode::GuestError, sanitize_text(message))))
            }
            Err(cause) => Err(classify(&cause, store, &self.limits)),
        }
    }

    /// Checks a column that a call returned. It must have `len` values.
    fn check_column(&self, column: types::ColumnResult, len: usize) -> Result<Column, CallFailure> {
        let column = checked_column(column)?;
        if column.len() != len {
            let message = format!("the call returned {} values instead of {len}", column.len());
            return Err(CallFailure::Fault(Fault::new(FaultCode::InvalidOutput, message)));
        }
        if column.bytes().len() + column.offsets().len() * 4 > self.limits.output_bytes {
            return Err(CallFailure::Fault(output_exceeded(&self.limits)));
        }
        Ok(column)
    }

    /// Converts the outputs of a call to batches. The fault describes a defect in them.
    fn check_outputs(&self, outputs: Vec<types::Output>) -> Result<Vec<OutputBatch>, Fault> {
        let invalid =
            |index: u32, what: String| Fault::new(FaultCode::InvalidOutput, format!("output {index}: {what}"));
        let mut bytes = 0usize;
        let mut checked = Vec::with_capacity(outputs.len());
        for output in outputs {
            let index = output.index;
            if index as usize >= self.outputs {
                return Err(invalid(index, format!("the function has {} outputs", self.outputs)));
            }
            let column = |column: types::ColumnResult| {
                Column::from_parts(column.bytes, column.offsets).map_err(|defect| invalid(index, defect.to_string()))
            };
            let values = column(output.values)?;
            let chosen_keys = output.keys.map(column).transpose()?;
            let of_keys = chosen_keys.as_ref().map_or(0, |keys| keys.bytes().len() + keys.offsets().len() * 4);
            let of_values = values.bytes().len() + values.offsets().len() * 4 + output.timestamps.len() * 8;
            bytes = bytes.saturating_add(of_values + of_keys);
            if values.len() != output.timestamps.len() {
                return Err(invalid(
                    index,
                    format!("{} values with {} timestamps", values.len(), output.timestamps.len()),
                ));
            }
            if let Some(keys) = chosen_keys.as_ref().filter(|keys| keys.len() != values.len()) {
                return Err(invalid(index, format!("{} values with {} keys", values.len(), keys.len())));
            }
            checked.push(OutputBatch {
                index: index as usize,
                batch: Batch { values, timestamps: output.timestamps, chosen_keys, ..Batch::default() },
            });
        }
        if bytes > self.limits.output_bytes {
            return Err(output_exceeded(&self.limits));
        }
        Ok(checked)
    }
}

impl Guest for Instance {
    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let none;
            let keys = match &batch.keys {
                Some(keys) => &**keys,
                None => {
                    none = Keys::default();
                    &none
                }
            };
            let batch_param = batch_param(batch, keys);
            let returned = exports.function.call_process(&mut *store, this.function, input, batch_param);
            let outputs = this.returned(store, returned, batch.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let domain = match domain {
                TimeDomain::Event => types::TimeDomain::Event,
                TimeDomain::Processing => types::TimeDomain::Processing,
            };
            let (keys, key_of) = (column_param(&timers.keys.distinct), &timers.keys.key_of[..]);
            let due = wit::DueTimers { domain, keys, key_of, times: &timers.times };
            let returned = exports.function.call_on_timers(&mut *store, this.function, due);
            let outputs = this.returned(store, returned, timers.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn add(
        &mut self,
        turn: &mut Turn,
        accumulators: &Column,
        accumulator_of: &[u32],
        values: &Column,
        timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (held, values_param) = (column_param(accumulators), column_param(values));
            let function = this.function;
            let returned = aggregate.call_add(&mut *store, function, held, accumulator_of, values_param, timestamps);
            let column = this.returned(store, returned, values.len())?;
            this.check_column(column, accumulators.len())
        })
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (left_param, right_param) = (column_param(left), column_param(right));
            let returned = aggregate.call_merge(&mut *store, this.function, left_param, right_param);
            let column = this.returned(store, returned, left.len())?;
            this.check_column(column, left.len())
        })
    }

    fn finish(&mut self, turn: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let held = column_param(accumulators);
            let returned = aggregate.call_finish(&mut *store, this.function, held, windows_param(windows));
            let column = this.returned(store, returned, accumulators.len())?;
            this.check_column(column, accumulators.len())
        })
    }

    fn process_windows(
        &mut self,
        turn: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let window = exported(&exports.window)?;
            let params: Vec<_> = inputs.iter().map(elements_param).collect();
            let returned = window.call_process(&mut *store, this.function, windows_param(windows), &params);
            let outputs = this.returned(store, returned, windows.len())?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    fn join(&mut self, turn: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, |this, store, exports| {
            let join = exported(&exports.join)?;
            let count = pairs.keys.key_of.len();
            let param = wit_join::Pairs {
                keys: column_param(&pairs.keys.distinct),
                key_of: &pairs.keys.key_of,
                left: side_param(&pairs.left),
                right: side_param(&pairs.right),
            };
            let returned = join.call_process(&mut *store, this.function, param);
            let outputs = this.returned(store, returned, count)?;
            this.check_outputs(outputs).map_err(CallFailure::Fault)
        })
    }

    /// Uses a new instance and drops it. Imports are refused, because there is no turn.
    fn migrate(&mut self, state: u32, schema: &str, values: &Column) -> Result<Column, TurnFailure> {
        let LiveInstance { mut store, exports } = self.start_own()?;
        begin_call(&mut store, self.limits.deadline);
        let returned = exports.function.call_migrate(&mut store, self.function, state, schema, column_param(values));
        let returned = self.returned(&mut store, returned, 0);
        log_lines_outside_turn(&mut store);
        Ok(checked_column(returned?)?)
    }
}

/// Returns an optional interface. `loader` has checked that the component exports it.
fn exported<T>(interface: &Option<T>) -> Result<&T, CallFailure> {
    interface.as_ref().ok_or_else(|| {
        CallFailure::Error(error::internal("the component does not export an interface that its functions need"))
    })
}

fn checked_column(column: types::ColumnResult) -> Result<Column, CallFailure> {
    Column::from_parts(column.bytes, column.offsets)
        .map_err(|defect| CallFailure::Fault(Fault::new(FaultCode::InvalidOutput, defect.to_string())))
}
