//! The sandbox: the engine, the compilation of components, instances, their limits, and the host side of the WIT contract.
//!
//! `loader` validates (`validate`, `function_sizes`), compiles (`compile`) and describes (`description`) a component. `instance` runs one for a
//! subtask, within limits on memory and time. `imports` and `wasi` are all that a component can call.
//!
//! Invariant: a guest reaches the outside only through a [`crate::turn::Turn`]. No guest can crash the host: its time,
//! memory, stack and output are limited, and a trap ends the instance, never the process. Must not depend on state
//! backends, connectors or jobs.

mod bindings;
mod compile;
mod component;
mod description;
mod engine;
mod execution_check;
mod exports;
mod function_sizes;
mod imports;
mod instance;
mod loader;
mod slots;
mod validate;
mod wasi;

#[cfg(test)]
mod foreign_guest_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use compile::{COMPILE_COMMAND, CodeCacheFolder, CompileLimits, CompileMode, compile_child, is_large_component};
pub use component::{Component, UnusedComponent};
pub use description::{ComponentDescription, FunctionDescription, FunctionKind, PortDescription};
pub use execution_check::check_execution;
pub use instance::Instance;
pub use loader::{CompileTotals, Sandbox, SandboxOptions};
pub use slots::{HeldSlots, Slots};
