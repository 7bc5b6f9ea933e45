//! Components that a server refuses: by their bytes, by the cost of compiling them, or by their description.

use super::handmade::{Parts, component};

/// A component that is refused.
pub struct RefusedComponent {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub code: &'static str,
}

/// A component with the right export around a core module.
fn around(module: &str) -> Vec<u8> {
    let text = format!(
        "(component (core module $m {module}) (core instance (instantiate $m)) (instance $i)
         (export \"cofferdam:function/guest@0.2.0\" (instance $i)))"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A component with the right export and further fields.
fn with(fields: &str) -> Vec<u8> {
    let text = format!("(component {fields} (instance $i) (export \"cofferdam:function/guest@0.2.0\" (instance $i)))");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub fn components() -> Vec<RefusedComponent> {
    let mut components = Vec::new();
    let mut add = |name, code, bytes| components.push(RefusedComponent { name, bytes, code });
    let proposals: &[(&str, &str)] = &[
        ("threads", "(memory 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("gc", "(type (struct (field i32)))"),
        ("exceptions", "(tag)"),
        ("stack-switching", "(type $f (func)) (type (cont $f))"),
        ("custom-page-sizes", "(memory 1 (pagesize 1))"),
        ("wide-arithmetic", "(func (param i64) (result i64 i64) (i64.mul_wide_u (local.get 0) (local.get 0)))"),
    ];
    for &(name, module) in proposals {
        add(name, "component-invalid", around(module));
    }
    add("component-async", "component-invalid", with("(core func (canon backpressure.inc))"));
    add("component-threads", "component-invalid", with("(core func (canon thread.index))"));
    add("five-memories", "component-limits", around("(memory 1)(memory 1)(memory 1)(memory 1)(memory 1)"));
    add("large-table", "component-limits", around("(table 100000 funcref)"));
    let modules = format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(200));
    add("thousand-instances", "component-limits", with(&modules));
    add("large-function", "component-limits", around(&large_function(20_000, 150_000)));
    add("many-locals", "component-limits", around(&large_function(60_000, 10)));
    add(
        "deep-blocks",
        "component-wrong-world",
        around(&format!("(func {} {})", "(block ".repeat(100_000), ")".repeat(100_000))),
    );
    add("no-wasm", "component-not-wasm", b"evil".to_vec());
    add("cut-short", "component-invalid", {
        let bytes = honest();
        bytes[..bytes.len() / 2].to_vec()
    });
    add("foreign-import", "component-import-denied", with("(import \"wasi:http/types@0.2.0\" (instance))"));
    add("core-module", "component-core-module", b"\0asm\x01\0\0\0".to_vec());
    described(&mut add);
    components
}

fn honest() -> Vec<u8> {
    component(&Parts::default())
}

/// Components whose description is refused, or never returned.
fn described(add: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let describe = |describe: &str| component(&Parts { describe, ..Parts::default() });
    let store = |at: u32, word: i64| format!("(i32.store (i32.const {at}) (i32.const {word}))");
    let code = "component-description";
    add("describe-loops", code, describe("(loop $again (br $again))"));
    add("describe-traps", code, describe("unreachable"));
    let grow = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    add("describe-takes-memory", code, describe(grow));
    add("describe-pointer-out-of-bounds", code, describe("(return (i32.const -16))"));
    add("describe-functions-of-4g", code, describe(&store(4108, -1)));
    add("describe-no-functions", code, describe(&store(4108, 0)));
    add("describe-bad-kind", code, describe(&store(4120, 77)));
    add("describe-sdk-of-4g", code, describe(&store(4100, -1)));
    let grow_once = "(drop (memory.grow (i32.const 512)))";
    let letters = "(memory.fill (i32.const 262144) (i32.const 97) (i32.const 20971520))";
    add(
        "describe-name-of-20m",
        code,
        describe(&format!("{grow_once}{letters}{}{}", store(4112, 262_144), store(4116, 20_971_520))),
    );
    add(
        "describe-sdk-of-20m",
        code,
        describe(&format!("{grow_once}{letters}{}{}", store(4096, 262_144), store(4100, 20_971_520))),
    );
    // 100,000 functions, all of them described by the bytes of the first.
    let many = "(loop $again
        (memory.copy (i32.add (i32.const 262144) (i32.mul (local.get $n) (i32.const 44))) (i32.const 4112) (i32.const 44))
        (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100000))))";
    add(
        "describe-100000-functions",
        code,
        describe(&format!("(local $n i32) {grow_once} {many} {} {}", store(4104, 262_144), store(4108, 100_000))),
    );
    let log = r#"(import "cofferdam:function/state@0.2.0" "value-get" (func $get (param i32 i32 i32)))"#;
    add(
        "describe-reads-state",
        code,
        component(&Parts {
            interfaces: &["cofferdam:function/state@0.2.0"],
            imports: log,
            describe: "(call $get (i32.const 0) (i32.const 0) (i32.const 1024))",
            ..Parts::default()
        }),
    );
    let start = |fields| component(&Parts { fields, ..Parts::default() });
    add("start-loops", code, start("(func $s (loop $again (br $again))) (start $s)"));
    add("start-traps", code, start("(func $s unreachable) (start $s)"));
    add("memory-from-the-start", "component-limits", component(&Parts { pages: 20_000, ..Parts::default() }));
}

/// A function of a core module with so many locals and operations, whose values live across many blocks.
fn large_function(locals: usize, operations: usize) -> String {
    let mut body = String::new();
    for step in 0..operations / 7 {
        let (left, right) = (step * 7_919 % locals, step * 104_729 % locals);
        body.push_str(&format!(
            "(block (br_if 0 (local.get {left})) (local.set {right} (i32.add (local.get {right}) (local.get {left}))))\n"
        ));
    }
    format!("(func (local {}) {body})", "i32 ".repeat(locals))
}
