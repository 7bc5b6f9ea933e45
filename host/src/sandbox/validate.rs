//! Validates uploaded bytes before anything is compiled: their kind, their imports and exports, and their resource needs.

use std::collections::BTreeSet;

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload, TableSectionReader};

use super::engine::{MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::error::{self, Error, Result};
use crate::pipeline::WasiPart;
use crate::turn::sanitize_text;

/// Prefix of the interfaces of the contract.
pub(super) const CONTRACT: &str = "cofferdam:function/";
const CONTRACT_VERSION: &str = "0.2";
const EXPORT: &str = "cofferdam:function/guest";

/// Checks that the bytes are a component that imports only interfaces that exist, exports the contract and fits an instance.
/// Returns the parts of WASI that it imports, which its operator must be granted. It only parses the bytes and compiles nothing.
/// Errors: the codes that begin with `component-`.
pub(super) fn check(bytes: &[u8]) -> Result<BTreeSet<WasiPart>> {
    let mut parts = BTreeSet::new();
    let mut depth = 0usize;
    let mut exports = Vec::new();
    let mut totals = CoreModuleTotals::default();
    for (at, payload) in Parser::new(0).parse_all(bytes).enumerate() {
        let payload = match (at, payload) {
            (0, Err(_)) => return Err(not_wasm(bytes)),
            (_, Err(cause)) => return Err(error::component_invalid(format!("it is not valid WebAssembly: {cause}"))),
            (_, Ok(payload)) => payload,
        };
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if at == 0 => {
                return Err(error::component_core_module("it is a core WebAssembly module, not a component")
                    .hint("build a component from a function project with `cofferdam build`"));
            }
            // The outer component satisfies the imports of nested modules and components.
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::TableSection(section) => totals.add_tables(section)?,
            Payload::MemorySection(section) => totals.add_memories(section.count())?,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(|cause| error::component_invalid(cause.to_string()))?;
                    parts.extend(check_import(import.name.name, matches!(import.ty, ComponentTypeRef::Type(_)))?);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(|cause| error::component_invalid(cause.to_string()))?.name.name);
                }
            }
            _ => {}
        }
    }
    check_exports(&exports)?;
    Ok(parts)
}

/// The tables and memories that the core modules of a component define. The engine checks core modules that are
/// instantiated twice when it loads the component.
#[derive(Default)]
struct CoreModuleTotals {
    tables: u32,
    memories: u32,
}

impl CoreModuleTotals {
    fn add_tables(&mut self, section: TableSectionReader<'_>) -> Result<()> {
        for table in section {
            let table = table.map_err(|cause| error::component_invalid(cause.to_string()))?;
            self.tables += 1;
            if self.tables > TABLES_MAX {
                return Err(too_many(&format!("more than {TABLES_MAX} tables")));
            }
            if table.ty.initial > TABLE_ELEMENTS_MAX as u64 {
                let elements = table.ty.initial;
                return Err(too_many(&format!("a table of {elements} elements, more than {TABLE_ELEMENTS_MAX}")));
            }
        }
        Ok(())
    }

    fn add_memories(&mut self, count: u32) -> Result<()> {
        self.memories = self.memories.saturating_add(count);
        if self.memories > MEMORIES_MAX {
            return Err(too_many(&format!("{} linear memories, more than {MEMORIES_MAX}", self.memories)));
        }
        Ok(())
    }
}

fn too_many(what: &str) -> Error {
    error::component_limits(format!("its core modules define {what}"))
        .hint("use at most 4 memories, 4 tables of 65,536 elements each, and 64 core modules")
}

fn not_wasm(bytes: &[u8]) -> Error {
    let first = bytes.get(..8).unwrap_or(bytes);
    error::component_not_wasm(format!("it is not WebAssembly: its first bytes are {first:02x?}"))
        .hint("upload a component that `cofferdam build` produced")
}

/// Returns the part of WASI that an import needs. `None` if it needs no grant.
fn check_import(name: &str, is_type: bool) -> Result<Option<WasiPart>> {
    match name.strip_prefix(CONTRACT) {
        Some(_) if !compatible(name) => return Err(other_version(name)),
        Some(rest) => {
            if matches!(rest.split('@').next(), Some("types" | "state" | "timers" | "context" | "log" | "metrics")) {
                return Ok(None);
            }
        }
        // An imported type gives access to nothing. So does `wasi:io`, whose streams come from other interfaces.
        None if is_type || name.starts_with("wasi:io/") => return Ok(None),
        None => {
            let is_of = |part: &WasiPart| {
                let rest = name.strip_prefix("wasi:").and_then(|rest| rest.strip_prefix(part.as_str()));
                rest.is_some_and(|rest| rest.starts_with('/'))
            };
            if let Some(part) = WasiPart::ALL.into_iter().find(is_of) {
                return Ok(Some(part));
            }
        }
    }
    let name = sanitize_text(name.to_owned());
    Err(error::component_import_denied(format!("it imports `{name}`, which this version cannot grant")).hint(
        "import only cofferdam:function and these interfaces of WASI: cli, clocks, filesystem, io, random, sockets",
    ))
}

fn check_exports(exports: &[&str]) -> Result<()> {
    if let Some(name) = exports.iter().find(|name| name.starts_with(CONTRACT) && !compatible(name)) {
        return Err(other_version(name));
    }
    match exports.iter().any(|name| name.split('@').next() == Some(EXPORT)) {
        true => Ok(()),
        false => {
            let exported = if exports.is_empty() { "nothing".to_owned() } else { sanitize_text(exports.join(", ")) };
            Err(error::component_wrong_world(format!(
                "it does not export `{EXPORT}@{CONTRACT_VERSION}.0`; it exports {exported}"
            ))
            .hint(
                "export the interface `guest` of the contract; the SDK does so (in Rust with cofferdam_sdk::export!)",
            ))
        }
    }
}

fn other_version(name: &str) -> Error {
    let name = sanitize_text(name.to_owned());
    error::component_contract_version(format!(
        "it was built for `{name}`, but this version supports version {CONTRACT_VERSION} of the contract"
    ))
    .hint("rebuild the component with the current SDK")
}

/// Whether a version is compatible. Before 1.0, minor versions are incompatible with each other.
fn compatible(name: &str) -> bool {
    let version = name.split('@').nth(1).unwrap_or_default();
    version.strip_prefix(CONTRACT_VERSION).is_some_and(|rest| rest.starts_with('.'))
}
