//! Limits on the functions of a component, checked before it is compiled.
//!
//! The memory and the time of a compilation grow with the product of a function's locals and blocks, so that a component of two
//! megabytes could take gigabytes. The compiling process has limits of its own; this check refuses the worst at once.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload};

use crate::error::{self, Error, Result};

/// Maximum number of functions of one component, over all of its core modules.
const FUNCTIONS_MAX: u64 = 400_000;

/// Maximum size of one function, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Maximum number of locals of one function.
const LOCALS_MAX: u64 = 15_000;

/// Maximum number of blocks, loops, branches and targets of branches of one function.
const BRANCHES_MAX: u64 = 200_000;

/// Maximum product of the locals and the branches of one function.
const LOCALS_BY_BRANCHES_MAX: u64 = 50_000_000;

/// Checks the functions of all core modules. Error: `component-limits`.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let mut functions = 0u64;
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::CodeSectionEntry(body) = payload.map_err(invalid)? {
            check_function(&body, functions)?;
            functions += 1;
            if functions > FUNCTIONS_MAX {
                return Err(too_large(&format!("more than {FUNCTIONS_MAX} functions")));
            }
        }
    }
    Ok(())
}

fn check_function(body: &FunctionBody<'_>, index: u64) -> Result<()> {
    let bytes = (body.range().end - body.range().start) as u64;
    if bytes > BODY_BYTES_MAX {
        return Err(too_large(&format!("a function ({index}) of {bytes} bytes, more than {BODY_BYTES_MAX}")));
    }
    let mut locals = 0u64;
    for group in body.get_locals_reader().map_err(invalid)? {
        locals = locals.saturating_add(u64::from(group.map_err(invalid)?.0));
    }
    if locals > LOCALS_MAX {
        return Err(too_large(&format!("a function ({index}) with {locals} locals, more than {LOCALS_MAX}")));
    }
    // An operator has at least one byte.
    if bytes <= BRANCHES_MAX && bytes.saturating_mul(locals) <= LOCALS_BY_BRANCHES_MAX {
        return Ok(());
    }
    let branches = branches(body).map_err(invalid)?;
    if branches > BRANCHES_MAX {
        return Err(too_large(&format!("a function ({index}) with {branches} branches, more than {BRANCHES_MAX}")));
    }
    if locals.saturating_mul(branches) > LOCALS_BY_BRANCHES_MAX {
        return Err(too_large(&format!(
            "a function ({index}) with {locals} locals and {branches} branches, whose product exceeds {LOCALS_BY_BRANCHES_MAX}"
        )));
    }
    Ok(())
}

fn branches(body: &FunctionBody<'_>) -> std::result::Result<u64, BinaryReaderError> {
    let mut branches = 0u64;
    for operator in body.get_operators_reader()? {
        branches += match operator? {
            Operator::BrTable { targets } => 1 + u64::from(targets.len()),
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::Br { .. }
            | Operator::BrIf { .. } => 1,
            _ => 0,
        };
    }
    Ok(branches)
}

fn invalid(cause: BinaryReaderError) -> Error {
    error::component_invalid(format!("it is not valid WebAssembly: {cause}"))
}

fn too_large(what: &str) -> Error {
    error::component_limits(format!("its core modules define {what}"))
        .hint("divide large functions, which are often generated or debug code: compile with optimisation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(module: &str) -> std::result::Result<(), String> {
        let wasm = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        check(&wasm).map_err(|error| {
            assert_eq!(error.code, "component-limits");
            error.message
        })
    }

    fn function(locals: usize, body: &str) -> String {
        format!("(func (local {}) {body})", "i32 ".repeat(locals))
    }

    #[test]
    fn a_function_beyond_a_limit_is_refused_before_it_is_compiled() {
        let says = |module: &str, part: &str| {
            let why = checked(module).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        // The attack: 20,000 locals and 150,000 operations.
        let block = "(block (br_if 0 (local.get 1)) (local.set 2 (i32.add (local.get 1) (local.get 2))))";
        says(&function(20_000, &block.repeat(30_000)), "20000 locals, more than 15000");
        says(&function(14_000, &block.repeat(30_000)), "whose product exceeds");
        says(&function(1, &"(block (br 0))".repeat(120_000)), "more than 200000");
        says(&function(1, &"(nop)".repeat(1 << 20)), "more than 1048576");
        says(&function(1, &format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(250_000))), "more than 200000");
        checked(&function(15_000, &block.repeat(1_000))).unwrap();
        checked(&function(500, &block.repeat(40_000))).unwrap();
        // The functions of nested components count, too.
        let nested = format!("(component (component (core module {})))", function(15_001, ""));
        assert!(check(&wat::parse_str(nested).unwrap()).is_err());
    }
}
