//! Whether this process may compile code and run it.

use wasmtime::{Instance, Module, Store};

use super::engine::compiling_engine;
use crate::error::{Result, sandbox_unavailable};

/// `(module (func (export "f") (result i32) (i32.const 7)))`
const MODULE: &[u8] =
    b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x06\x01\x04\0\x41\x07\x0b";

/// Compiles and runs a module of one instruction. Error: `sandbox-unavailable`, for instance where memory must not be executable.
pub fn check_execution() -> Result<()> {
    match run() {
        Ok(7) => Ok(()),
        Ok(other) => Err(sandbox_unavailable(format!("compiled code returned {other} instead of 7"))),
        Err(cause) => Err(sandbox_unavailable(format!("compiled code cannot run: {cause:#}"))),
    }
}

fn run() -> wasmtime::Result<i32> {
    let engine = compiling_engine()?;
    let module = Module::new(&engine, MODULE)?;
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let instance = Instance::new(&mut store, &module, &[])?;
    instance.get_typed_func::<(), i32>(&mut store, "f")?.call(&mut store, ())
}

#[cfg(test)]
mod tests {
    #[test]
    fn compiled_code_runs_here() {
        super::check_execution().unwrap();
    }
}
