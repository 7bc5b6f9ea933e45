//! The guest of one subtask: a component's function, called within its limits.
//!
//! Invariant: an instance whose call did not return is dropped, and the next turn gets a new one. A trap, a deadline and a refused
//! memory end an instance. An error that the function returned does not: it is a result like any other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wasmtime::Store;

use super::call_failure::{CallFailure, classify};
use super::call_parameters::{
    CallTimestamps, batch_param, column_param, elements_param, side_param, values_param, windows_param,
};
use super::call_results::{CallItems, check_column, check_count, check_outputs, check_values};
use super::live_instance::LiveInstance;
use super::store_data::{InstanceOptions, StoreData, begin_call, log_lines_outside_turn};
use super::turn_seed::{TurnCall, turn_seed};
use crate::error;
use crate::model::{
    Batch, Column, DueTimers, Fault, FaultCode, JoinedPairs, Keys, LogLevel, TimeDomain, WindowElements, Windows,
};
use crate::permits;
use crate::pipeline::{Grants, GuestLimits};
use crate::sandbox::bindings::cofferdam::function::types;
use crate::sandbox::bindings::exports::cofferdam::function::{
    guest as wit, join as wit_join, migration as wit_migration, timer_handler as wit_timers,
};
use crate::sandbox::component::Component;
use crate::sandbox::description::PortDescription;
use crate::sandbox::exports::ComponentExports;
use crate::state::{StateForm, StoredValues};
use crate::turn::{CallShare, Guest, OutputBatch, Turn, TurnFailure, sanitize_backtrace, sanitize_text};

/// The guest of one subtask. Its instance is reused until a call fails.
pub struct Instance {
    component: Component,
    function: u32,
    outputs: Vec<PortDescription>,
    options: InstanceOptions,
    /// Whether the instance is dropped after every turn.
    fresh: bool,
    /// The share of the deadline that calls get.
    share: CallShare,
    /// The current instance, or `None` before the first turn and after a fault.
    live: Option<LiveInstance>,
}

impl Instance {
    /// Creates a guest that runs function `function` of a component. Instantiates nothing before the first turn.
    ///
    /// With `fresh`, the instance is dropped after every turn.
    pub fn new(component: Component, function: u32, limits: GuestLimits, seed: u64, fresh: bool) -> Instance {
        let description = component.description().functions.get(function as usize);
        let outputs = description.map_or_else(Vec::new, |function| function.outputs.clone());
        Instance {
            component,
            function,
            outputs,
            options: InstanceOptions { limits, seed, ..InstanceOptions::default() },
            fresh,
            share: CallShare::WHOLE,
            live: None,
        }
    }

    /// Ends a call soon after `cancel` is set.
    pub fn cancelled_by(mut self, cancel: Arc<AtomicBool>) -> Instance {
        self.options.cancel = cancel;
        self
    }

    /// Gives the guest what its operator is granted.
    pub fn granted(mut self, grants: Arc<Grants>) -> Instance {
        self.options.grants = grants;
        self
    }

    fn start_own(&self) -> Result<LiveInstance, CallFailure> {
        permits::while_remapping(|| LiveInstance::start(self.component.linked(), &self.options))
    }

    /// Makes one call within `turn`. Instantiates the component if necessary, and gives its imports access to the turn. If
    /// the call does not return, the instance is dropped.
    fn within<T>(
        &mut self,
        turn: &mut Turn,
        kind: TurnCall,
        call: impl FnOnce(&Instance, &mut Store<StoreData>, &ComponentExports) -> Result<T, CallFailure>,
    ) -> Result<T, TurnFailure> {
        let _call = self.component.linked().calls.begin();
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start_own()?,
        };
        live.store.data().environment.begin_turn(turn.context.processing_time, turn_seed(turn, kind));
        std::mem::swap(&mut live.store.data_mut().turn, turn);
        live.store.data_mut().in_turn = true;
        let LiveInstance { store, exports } = &mut live;
        begin_call(store, shared(self.options.limits.deadline, self.share));
        // Clears a refusal that an earlier call survived.
        store.data_mut().memory.take_refused();
        let result = call(self, store, exports);
        live.store.data_mut().in_turn = false;
        std::mem::swap(&mut live.store.data_mut().turn, turn);
        for line in live.store.data().environment.take_output() {
            turn.log(LogLevel::Info, line, None);
        }
        if self.fresh || live.store.data().is_lost {
            permits::while_remapping(|| drop(live));
        } else {
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
            Ok(Err(types::Failure { message, record, backtrace })) => {
                let message = match record {
                    Some(record) if items > 1 => format!("{message} (record {record} of the batch)"),
                    _ => message,
                };
                let fault = Fault::new(FaultCode::GuestError, sanitize_text(message));
                Err(CallFailure::Fault(fault.with_backtrace(sanitize_backtrace(backtrace))))
            }
            Err(cause) => Err(classify(&cause, store, &self.options.limits)),
        }
    }

    /// Converts the outputs of a call that handled `items`.
    fn returned_outputs(
        &self,
        store: &mut Store<StoreData>,
        returned: wasmtime::Result<Result<Vec<types::Output>, types::Failure>>,
        items: CallItems<'_>,
    ) -> Result<Vec<OutputBatch>, CallFailure> {
        let outputs = self.returned(store, returned, items.len())?;
        check_outputs(outputs, items, &self.outputs, &self.options.limits).map_err(CallFailure::Fault)
    }

    /// Converts the accumulators that a call returned. There must be `len` of them.
    fn returned_accumulators(
        &self,
        store: &mut Store<StoreData>,
        returned: wasmtime::Result<Result<types::ColumnResult, types::Failure>>,
        (items, len): (usize, usize),
    ) -> Result<Column, CallFailure> {
        let column = check_column(self.returned(store, returned, items)?)?;
        Ok(check_count(column, len, &self.options.limits)?)
    }
}

impl Guest for Instance {
    fn limit_to_share(&mut self, share: CallShare) {
        self.share = share;
    }

    fn process(&mut self, turn: &mut Turn, input: u32, batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, TurnCall::Records(input), |this, store, exports| {
            let none;
            let keys = match &batch.keys {
                Some(keys) => &**keys,
                None => {
                    none = Keys::default();
                    &none
                }
            };
            let timestamps = CallTimestamps::new(&batch.timestamps);
            let batch_param = batch_param(batch, keys, &timestamps);
            let returned = exports.guest.call_process(&mut *store, this.function, input, batch_param);
            this.returned_outputs(store, returned, CallItems::Times(&batch.timestamps))
        })
    }

    fn on_timers(
        &mut self,
        turn: &mut Turn,
        domain: TimeDomain,
        timers: &DueTimers,
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, TurnCall::Timers(domain), |this, store, exports| {
            let handler = exported(&exports.timer_handler)?;
            let domain = match domain {
                TimeDomain::Event => types::TimeDomain::Event,
                TimeDomain::Processing => types::TimeDomain::Processing,
            };
            let (keys, key_of) = (column_param(&timers.keys.distinct), &timers.keys.key_of[..]);
            let due = wit_timers::DueTimers { domain, keys, key_of, times: &timers.times };
            let returned = handler.call_on_timers(&mut *store, this.function, due);
            this.returned_outputs(store, returned, CallItems::Times(&timers.times))
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
        self.within(turn, TurnCall::Add, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (held, values_param) = (column_param(accumulators), values_param(values));
            let timestamps = CallTimestamps::new(timestamps);
            let (function, times) = (this.function, timestamps.param());
            let returned = aggregate.call_add(&mut *store, function, held, accumulator_of, values_param, times);
            this.returned_accumulators(store, returned, (values.len(), accumulators.len()))
        })
    }

    fn merge(&mut self, turn: &mut Turn, left: &Column, right: &Column) -> Result<Column, TurnFailure> {
        self.within(turn, TurnCall::Merge, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let (left_param, right_param) = (column_param(left), column_param(right));
            let returned = aggregate.call_merge(&mut *store, this.function, left_param, right_param);
            this.returned_accumulators(store, returned, (left.len(), left.len()))
        })
    }

    fn finish(&mut self, turn: &mut Turn, accumulators: &Column, windows: &Windows) -> Result<Column, TurnFailure> {
        self.within(turn, TurnCall::Finish, |this, store, exports| {
            let aggregate = exported(&exports.aggregate)?;
            let held = column_param(accumulators);
            let returned = aggregate.call_finish(&mut *store, this.function, held, windows_param(windows));
            let results = check_values(this.returned(store, returned, accumulators.len())?)?;
            Ok(check_count(results, accumulators.len(), &this.options.limits)?)
        })
    }

    fn process_windows(
        &mut self,
        turn: &mut Turn,
        windows: &Windows,
        inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, TurnCall::Windows, |this, store, exports| {
            let window = exported(&exports.window)?;
            let timestamps: Vec<_> = inputs.iter().map(|input| CallTimestamps::new(&input.timestamps)).collect();
            let params: Vec<_> =
                inputs.iter().zip(&timestamps).map(|(input, times)| elements_param(input, times)).collect();
            let returned = window.call_process(&mut *store, this.function, windows_param(windows), &params);
            this.returned_outputs(store, returned, CallItems::Windows(windows))
        })
    }

    fn join(&mut self, turn: &mut Turn, pairs: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        self.within(turn, TurnCall::Pairs, |this, store, exports| {
            let join = exported(&exports.join)?;
            let [left_times, right_times] =
                [&pairs.left, &pairs.right].map(|side| CallTimestamps::new(&side.timestamps));
            let param = wit_join::Pairs {
                keys: column_param(&pairs.keys.distinct),
                key_of: &pairs.keys.key_of,
                left: side_param(&pairs.left, &left_times),
                right: side_param(&pairs.right, &right_times),
            };
            let returned = join.call_process(&mut *store, this.function, param);
            this.returned_outputs(store, returned, CallItems::Pairs(pairs))
        })
    }

    /// Uses a new instance and drops it. Imports are refused, because there is no turn.
    fn migrate(
        &mut self,
        state: u32,
        stored: &StateForm,
        wanted: &StateForm,
        values: &StoredValues,
    ) -> Result<Column, TurnFailure> {
        let _call = self.component.linked().calls.begin();
        let LiveInstance { mut store, exports } = self.start_own()?;
        let migration = exported(&exports.migration)?;
        begin_call(&mut store, self.options.limits.deadline);
        let param = wit_migration::StoredValues {
            keys: values.keys.as_ref().map(column_param),
            sub_keys: values.sub_keys.as_ref().map(column_param),
            values: column_param(&values.values),
        };
        let [stored, wanted] = [stored, wanted].map(|form| wit::FormParam { codec: &form.codec, schema: &form.schema });
        let returned = migration.call_migrate(&mut store, self.function, state, stored, wanted, param);
        let returned = self.returned(&mut store, returned, 0);
        log_lines_outside_turn(&mut store);
        Ok(check_column(returned?)?)
    }
}

/// Returns the share of a deadline, rounded up.
fn shared(deadline: Duration, share: CallShare) -> Duration {
    if share == CallShare::WHOLE {
        return deadline;
    }
    let (items, of) = (share.items as u128, share.of.max(1) as u128);
    let nanos = deadline.as_nanos().saturating_mul(items).div_ceil(of);
    u64::try_from(nanos).map_or(deadline, Duration::from_nanos).min(deadline)
}

/// Returns an optional interface. `loader` has checked that the component exports it.
fn exported<T>(interface: &Option<T>) -> Result<&T, CallFailure> {
    interface.as_ref().ok_or_else(|| {
        CallFailure::Error(error::internal("the component does not export an interface that its functions need"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_deadline_is_rounded_up_and_never_longer() {
        let of = |ns, items, of| shared(Duration::from_nanos(ns), CallShare { items, of }).as_nanos();
        assert_eq!(of(1000, 1, 4), 250);
        assert_eq!(of(10, 1, 3), 4);
        assert_eq!(of(10, 5, 3), 10);
        assert_eq!(of(u64::MAX, 1023, 1024), u128::from(u64::MAX) * 1023 / 1024 + 1);
        assert_eq!(of(7, 1, 1), 7);
    }
}
