//! An instantiated component: its store and its exports.

use wasmtime::Store;

use super::call_failure::{CallFailure, classify};
use super::store_data::{InstanceOptions, StoreData, begin_call, log_lines_outside_turn, new_store};
use crate::pipeline::GuestLimits;
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;
use crate::sandbox::exports::{ComponentExports, LinkedComponent};

/// The store and the exports of an instantiated component.
pub(in crate::sandbox) struct LiveInstance {
    pub(in crate::sandbox) store: Store<StoreData>,
    pub(in crate::sandbox) exports: ComponentExports,
}

impl LiveInstance {
    /// Instantiates a component. The error describes a failure of its start.
    pub(in crate::sandbox) fn start(
        component: &LinkedComponent,
        options: &InstanceOptions,
    ) -> Result<LiveInstance, CallFailure> {
        let mut store = new_store(component.instance.component().engine(), options).map_err(CallFailure::Error)?;
        begin_call(&mut store, options.limits.deadline);
        let instantiated = component.instance.instantiate(&mut store);
        match instantiated.and_then(|instance| component.load(&mut store, &instance)) {
            Ok(exports) => Ok(LiveInstance { store, exports }),
            Err(cause) => Err(classify(&cause, &mut store, &options.limits)),
        }
    }

    /// Calls `describe` of the component.
    pub(in crate::sandbox) fn describe(&mut self) -> Result<wit::ComponentDescription, CallFailure> {
        begin_call(&mut self.store, GuestLimits::default().deadline);
        let described = self.exports.guest.call_describe(&mut self.store);
        let described = described.map_err(|cause| classify(&cause, &mut self.store, &GuestLimits::default()));
        log_lines_outside_turn(&mut self.store);
        described
    }
}
