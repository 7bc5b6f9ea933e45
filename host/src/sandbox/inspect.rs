//! First look at uploaded bytes: what they are, and what they import, before anything is compiled.

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::wasi;
use crate::error::{self, Result};
use crate::turn::cut;

/// The interfaces of the contract, as far as this version has them.
const CONTRACT: &str = "cofferdam:function/";
const CONTRACT_VERSION: &str = "0.1";
const EXPORT: &str = "cofferdam:function/function";

/// Refuses what is not a component, from its first bytes on.
pub(super) fn check_bytes(bytes: &[u8]) -> Result<()> {
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) => Ok(()),
        Some(Ok(Payload::Version { encoding: Encoding::Module, .. })) => {
            Err(error::component_core_module("it is a core WebAssembly module, not a component")
                .hint("`cofferdam build` makes a component of a function project"))
        }
        _ => Err(error::component_not_wasm(format!(
            "it is not WebAssembly: its first bytes are {:02x?}",
            &bytes[..bytes.len().min(8)]
        ))),
    }
}

/// Refuses a component that imports what it is not granted, or does not export the contract.
pub(super) fn check_world(component: &Component) -> Result<()> {
    let kind = component.component_type();
    let engine = component.engine();
    for (name, item) in kind.imports(engine) {
        let contract = name.strip_prefix(CONTRACT);
        let known = match contract {
            Some(rest) => {
                matches!(rest.split('@').next(), Some("types" | "state" | "timers" | "context" | "log" | "metrics"))
            }
            None => wasi::ALLOWED.iter().any(|prefix| name.starts_with(prefix)),
        };
        if contract.is_some() && !compatible(name) {
            return Err(error::component_wrong_world(format!(
                "it was built for `{name}`; this version has {CONTRACT_VERSION}"
            ))
            .hint("build it again with this version's SDK"));
        }
        // A type import reaches nothing.
        if !known && !matches!(item.ty, ComponentItem::Type(_)) {
            return Err(error::component_import_denied(format!("it imports `{name}`, which is not granted"))
                .hint("a function reaches the interfaces of cofferdam:function, and an empty WASI: cli, clocks, filesystem, io, random"));
        }
    }
    let exports: Vec<&str> = kind.exports(engine).map(|(name, _)| name).collect();
    match exports.iter().find(|name| name.split('@').next() == Some(EXPORT)) {
        Some(name) if compatible(name) => Ok(()),
        Some(name) => {
            Err(error::component_wrong_world(format!("it was built for `{name}`; this version has {CONTRACT_VERSION}"))
                .hint("build it again with this version's SDK"))
        }
        None => Err(error::component_wrong_world(format!(
            "it does not export `{EXPORT}@{CONTRACT_VERSION}.0`; it exports {}",
            if exports.is_empty() { "nothing".to_owned() } else { cut(exports.join(", ")) }
        ))
        .hint("export functions with cofferdam_sdk::export!")),
    }
}

/// Before 1.0 a minor version is a contract of its own.
fn compatible(name: &str) -> bool {
    let version = name.split('@').nth(1).unwrap_or_default();
    version.strip_prefix(CONTRACT_VERSION).is_some_and(|rest| rest.starts_with('.'))
}
