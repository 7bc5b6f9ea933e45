//! Checks every address before librdkafka connects to it: those of the pipeline file, and those that brokers name later.
//!
//! librdkafka resolves the address of a broker directly before it connects, by a callback if one is set. The binding creates a client
//! in one step, so the callback is set on a client that knows no broker yet. Threads that connect exist only for brokers, which are
//! added afterwards.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use libc::addrinfo;
use rdkafka::bindings as native;
use rdkafka::client::{Client, ClientContext};

use super::client_error::{KafkaError, KafkaErrorKind, KafkaOutcome};
use super::client_state::StateContext;

/// Resolves an address as `getaddrinfo` does. Without a node it frees a result.
type ResolveCallback =
    unsafe extern "C" fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo, *mut c_void) -> c_int;

unsafe extern "C" {
    /// Of librdkafka 2.2 and later; the binding does not declare it.
    fn rd_kafka_conf_set_resolve_cb(config: *mut native::rd_kafka_conf_t, resolve: Option<ResolveCallback>);
}

/// The context of a client whose addresses are checked.
pub(super) trait CheckedContext: ClientContext {
    fn state_context(&self) -> &StateContext;
}

impl CheckedContext for StateContext {
    fn state_context(&self) -> &StateContext {
        self
    }
}

/// Lets a new client connect to `brokers`, and to those that they name, as far as the policy of its context allows them.
pub(super) fn add_allowed_brokers<C: CheckedContext>(client: &Client<C>, brokers: &str) -> KafkaOutcome<()> {
    let unusable = || KafkaError::new(KafkaErrorKind::Other, format!("`{brokers}` names no broker"));
    let list = CString::new(brokers).map_err(|_| unusable())?;
    let client = client.native_ptr();
    // SAFETY: the client lives for the whole call. Its settings are its own memory, and nothing reads this one before a broker is
    // added. The context is what the binding has set as the opaque value, and lives until the client is destroyed.
    let added = unsafe {
        rd_kafka_conf_set_resolve_cb(native::rd_kafka_conf(client).cast_mut(), Some(resolve::<C>));
        native::rd_kafka_brokers_add(client, list.as_ptr())
    };
    if added > 0 { Ok(()) } else { Err(unusable()) }
}

/// Resolves an allowed address.
///
/// # Safety
///
/// As librdkafka calls it: `node` and `service` are text or null, the other pointers are those of `getaddrinfo`, and `context` is the
/// client's context.
unsafe extern "C" fn resolve<C: CheckedContext>(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    found: *mut *mut addrinfo,
    context: *mut c_void,
) -> c_int {
    if node.is_null() {
        // SAFETY: `found` is a result of `getaddrinfo` below.
        unsafe { libc::freeaddrinfo(*found) };
        return 0;
    }
    // SAFETY: the caller passes text, and the context of type `C` that lives as long as the client.
    let (host, port, context) = unsafe { (CStr::from_ptr(node), CStr::from_ptr(service), &*context.cast::<C>()) };
    let StateContext { state, policy, .. } = context.state_context();
    if let Err(denied) = policy.check_address(&format!("{}:{}", host.to_string_lossy(), port.to_string_lossy())) {
        state.note_refused(&denied.message);
        return libc::EAI_FAIL;
    }
    // SAFETY: the pointers are those that librdkafka would pass itself.
    unsafe { libc::getaddrinfo(node, service, hints, found) }
}
