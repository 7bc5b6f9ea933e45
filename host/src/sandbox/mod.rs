//! The sandbox: engine, component cache, instances, limits and the host side of the WIT contract.
//!
//! Invariant: a guest reaches the outside through a [`crate::turn::Turn`] only. Whatever it does, the host survives: its
//! time, memory, stack and the bytes it hands over are bounded, and a trap ends the instance, never the process.
//! It must not know state backends, connectors or jobs.

mod capacity;
mod code_cache;
mod compile_child;
mod compiler;
mod component;
mod deadline;
mod describe;
mod engine;
mod exports;
mod import;
mod inspect;
mod instance;
mod wasi;

pub use capacity::{HeldSlots, Slots};
pub use compile_child::{COMPILE_COMMAND, compile_child};
pub use compiler::{CompileLimits, CompileMode, is_large_component};
pub use component::Component;
pub use describe::{ComponentDescription, FunctionDescription, FunctionKind, PortDescription};
pub use engine::{Sandbox, SandboxOptions};
pub use instance::Instance;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "windowing-component",
        ownership: Borrowing { duplicate_if_necessary: true },
        imports: { default: trappable },
    });
}
