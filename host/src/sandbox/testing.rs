//! Test support of the sandbox: components around a core module that is written as text.
//!
//! The core module is what a compiler of another language would produce. `wit-component` makes the component, so the module
//! sees the canonical ABI as any guest does.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{Instance, Sandbox, SandboxOptions};
use crate::error::Result;
use crate::model::{Batch, Fault};
use crate::pipeline::GuestLimits;
use crate::turn::{Guest, OutputBatch, Turn, TurnContext, TurnFailure};

/// Where [`guest_module`] puts the description of the component.
const DESCRIPTION: u32 = 4096;

/// Interfaces of WASI as far as the tests call them.
const WASI: &str = r#"
package root:test;

package wasi:io@0.2.0 {
    interface poll {
        resource pollable { ready: func() -> bool; block: func(); }
        poll: func(in: list<borrow<pollable>>) -> list<u32>;
    }
    interface error { resource error; }
    interface streams {
        use error.{error};
        variant stream-error { last-operation-failed(error), closed }
        resource output-stream {
            blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
        }
    }
}
package wasi:clocks@0.2.0 {
    interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        now: func() -> u64;
        subscribe-duration: func(when: u64) -> pollable;
    }
}
package wasi:random@0.2.0 {
    interface random { get-random-u64: func() -> u64; }
}
package wasi:cli@0.2.0 {
    interface exit { exit: func(status: result); }
    interface stderr {
        use wasi:io/streams@0.2.0.{output-stream};
        get-stderr: func() -> output-stream;
    }
}
package wasi:sockets@0.2.0 {
    interface network {
        enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout, concurrency-conflict,
            not-in-progress, would-block, invalid-state, new-socket-limit, address-not-bindable, address-in-use,
            remote-unreachable, connection-refused, connection-reset, connection-aborted, datagram-too-large,
            name-unresolvable, temporary-resolver-failure, permanent-resolver-failure }
        enum ip-address-family { ipv4, ipv6 }
    }
    interface tcp { resource tcp-socket; }
    interface tcp-create-socket {
        use network.{error-code, ip-address-family};
        use tcp.{tcp-socket};
        create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
    }
}
"#;

/// Returns a component around a core module in text format. `world` lists the imports and exports, such as `import wasi:cli/exit@0.2.0;`.
pub(super) fn component(module: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    resolve.push_dir("../wit").unwrap();
    resolve.push_str("wasi.wit", WASI).unwrap();
    let package = resolve.push_str("world.wit", &format!("package test:guest; world guest {{ {world} }}")).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

/// Returns a component with one function without keys, from `raw` to `raw`.
///
/// `imports` are imported functions of the core module. `describe` and `process` are instructions: the first run before the
/// description is returned, the others before a call returns no outputs. The bytes of `data` are at address 0.
pub(super) fn guest(interfaces: &[&str], imports: &str, data: &str, describe: &str, process: &str) -> Vec<u8> {
    let imported: String = interfaces.iter().map(|interface| format!("import {interface}; ")).collect();
    let module = guest_module(imports, data, describe, process);
    component(&module, &format!("{imported} export cofferdam:function/guest@0.2.0;"))
}

/// Returns a component whose function returns no outputs.
pub(crate) fn small_component() -> Vec<u8> {
    guest(&[], "", "", "", "")
}

fn guest_module(imports: &str, data: &str, describe: &str, process: &str) -> String {
    let description: String = description().iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module {imports}
            (memory (export "memory") 4)
            (global $heap (mut i32) (i32.const 65536))
            (data (i32.const 0) "{data}")
            (data (i32.const {DESCRIPTION}) "{description}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.get $heap)
                (global.set $heap (i32.add (global.get $heap) (local.get 3))))
            (func (export "cofferdam:function/guest@0.2.0#describe") (result i32) {describe} (i32.const {DESCRIPTION}))
            ;; The result is `ok` with an empty list of outputs.
            (func (export "cofferdam:function/guest@0.2.0#process") (param i32) (result i32) {process} (i32.const 2048)))"#
    )
}

/// Returns the bytes of a `component-description` at [`DESCRIPTION`], as the canonical ABI lays them out.
fn description() -> Vec<u8> {
    const FUNCTION: u32 = DESCRIPTION + 16;
    const PORT: u32 = FUNCTION + 44;
    const TEXT: u32 = PORT + 36;
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    // The text `raw`. Its first letter is the name of everything.
    let (name, raw) = ([TEXT, 1], [TEXT, 3]);
    let component = words(&[name[0], name[1], FUNCTION, 1]);
    let kind = 0;
    let function = words(&[name[0], name[1], kind, PORT, 1, PORT, 1, 0, 0, 0, 0]);
    let port = words(&[name[0], name[1], raw[0], raw[1], 0, 0, 0, 0, 0]);
    [component, function, port, b"raw".to_vec()].concat()
}

/// A loaded guest and its turn.
pub(super) struct LoadedGuest {
    /// Its thread drives deadlines.
    _sandbox: Sandbox,
    instance: Instance,
    pub(super) turn: Turn,
}

impl LoadedGuest {
    pub(super) fn load(bytes: &[u8], limits: GuestLimits) -> Result<LoadedGuest> {
        let sandbox = Sandbox::open(SandboxOptions::in_this_process(2))?;
        let component = sandbox.load(bytes)?;
        let instance = Instance::new(component, 0, limits, 7, false);
        Ok(LoadedGuest { _sandbox: sandbox, instance, turn: Turn::stateless(TurnContext::default()) })
    }

    /// Calls the function with one record, at processing time `now_ms` and a position.
    pub(super) fn call(&mut self, now_ms: i64, position: u64) -> Result<Vec<OutputBatch>, Fault> {
        self.turn.context.position = position;
        self.turn.begin(None, 0, now_ms);
        let mut batch = Batch::default();
        batch.push(b"record", 5);
        self.instance.process(&mut self.turn, 0, &batch).map_err(|failure| match failure {
            TurnFailure::Fault(fault) => fault,
            other => panic!("{other:?}"),
        })
    }
}
