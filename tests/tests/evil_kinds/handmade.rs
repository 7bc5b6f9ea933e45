//! Guests that no compiler produces: their core modules are written by hand and break the canonical ABI.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{End, Kind, Shape};
use cofferdam_tests::Checkout;

/// Address of the description of the component.
const DESCRIPTION: u32 = 4096;

/// Interfaces of WASI as far as these guests call them.
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
            write: func(contents: list<u8>) -> result<_, stream-error>;
            write-zeroes: func(len: u64) -> result<_, stream-error>;
            blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
        }
    }
}
package wasi:clocks@0.2.0 {
    interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        subscribe-duration: func(when: u64) -> pollable;
    }
}
package wasi:random@0.2.0 {
    interface random { get-random-bytes: func(len: u64) -> list<u8>; }
}
package wasi:cli@0.2.0 {
    interface exit { exit: func(status: result); }
    interface stderr {
        use wasi:io/streams@0.2.0.{output-stream};
        get-stderr: func() -> output-stream;
    }
}
"#;

/// The parts of a guest's core module. The defaults make a guest that returns no outputs.
#[derive(Default)]
pub struct Parts<'a> {
    /// Imported interfaces of the component, such as `wasi:cli/exit@0.2.0`.
    pub interfaces: &'a [&'a str],
    /// Further fields of the module: imports first.
    pub imports: &'a str,
    pub fields: &'a str,
    /// Minimal pages of the memory; 4 if it is 0.
    pub pages: u32,
    /// Instructions before the description is returned.
    pub describe: &'a str,
    /// Instructions before the result of a call is returned. The result at 2048 is `ok` with an empty list.
    pub process: &'a str,
    /// Instructions after the host has read the result of a call.
    pub post_return: &'a str,
    /// Instructions at the start of `cabi_realloc`. Its parameters are the old address, the old size, the alignment and the new size.
    pub realloc: &'a str,
}

/// Returns a component with one function `r` without keys, from `raw` to `raw`.
pub fn component(parts: &Parts<'_>) -> Vec<u8> {
    let Parts { interfaces, imports, fields, pages, describe, process, post_return, realloc } = parts;
    let description: String = description().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let pages = if *pages == 0 { 4 } else { *pages };
    let module = format!(
        r#"(module {imports}
            (memory (export "memory") {pages})
            (global $heap (mut i32) (i32.const 65536))
            (data (i32.const {DESCRIPTION}) "{description}")
            {fields}
            (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                {realloc}
                (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
                (global.get $heap)
                (global.set $heap (i32.add (global.get $heap) (local.get 3))))
            (func (export "cofferdam:function/guest@0.2.0#describe") (result i32) {describe} (i32.const {DESCRIPTION}))
            (func (export "cofferdam:function/guest@0.2.0#process") (param i32) (result i32) {process} (i32.const 2048))
            (func (export "cabi_post_cofferdam:function/guest@0.2.0#process") (param i32) {post_return}))"#
    );
    let mut module = wat::parse_str(&module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    let imported: String = interfaces.iter().map(|interface| format!("import {interface}; ")).collect();
    let world = format!("package test:guest; world guest {{ {imported} export cofferdam:function/guest@0.2.0; }}");
    let mut resolve = Resolve::default();
    resolve.push_dir(Checkout::current().root.join("wit")).unwrap();
    resolve.push_str("wasi.wit", WASI).unwrap();
    let package = resolve.push_str("world.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
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

const SHORT: &str = "limits = { deadline = \"30ms\" }";
const LOOP: &str = "(loop $again (br $again))";
const LOG: &str = r#"(import "cofferdam:function/log@0.2.0" "write" (func $log (param i32 i32 i32 i32 i32)))"#;
const CALL_LOG: &str = "(call $log (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))";
const STDERR: &[&str] = &["wasi:io/streams@0.2.0", "wasi:cli/stderr@0.2.0"];

/// Stores these words at these addresses.
fn store(words: &[(u32, i64)]) -> String {
    words.iter().map(|(at, word)| format!("(i32.store (i32.const {at}) (i32.const {word}))")).collect()
}

/// The result of a call: one output at 3072, with one record `x` and no timestamps, which `lies` overwrite.
fn one_output(lies: &[(u32, i64)]) -> String {
    const OUTPUT: i64 = 3072;
    let truth = [
        (2052, OUTPUT),
        (2056, 1),
        (3080, 3000),
        (3084, 1),
        (3088, 3008),
        (3092, 2),
        (3000, 120),
        (3008, 0),
        (3012, 1),
    ];
    store(&truth) + &store(lies)
}

fn process(process: &str) -> Parts<'_> {
    Parts { process, ..Parts::default() }
}

fn realloc(realloc: &str) -> Parts<'_> {
    Parts { realloc, ..Parts::default() }
}

fn post_return(post_return: &str) -> Parts<'_> {
    Parts { post_return, ..Parts::default() }
}

/// Guests that a server accepts, with the end of their job.
pub fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    let mut add = |name, settings, end, parts: &Parts<'_>| {
        let component = Some(component(parts));
        kinds.push(Kind { name, component, function: "r", shape: Shape::Plain, settings, parallelism: 1, end });
    };
    let trap = End::Fails("guest-trap");
    add("hand-honest", "", End::Finishes, &process(&one_output(&[])));
    let lies: &[(&str, &[(u32, i64)])] = &[
        ("hand-list-of-4g", &[(2052, 65536), (2056, -1)]),
        ("hand-list-of-2g", &[(2052, 0), (2056, 0x7fff_ffff)]),
        ("hand-list-beyond-memory", &[(2052, 262_140), (2056, 1)]),
        ("hand-list-unaligned", &[(2052, 3073)]),
        ("hand-bad-result", &[(2048, 7)]),
        ("hand-bad-layout", &[(3076, 9)]),
        ("hand-bad-timestamps", &[(3096, 200)]),
        ("hand-bad-option", &[(3116, 2)]),
        ("hand-bytes-of-4g", &[(3084, -1)]),
        ("hand-offsets-of-4g", &[(3092, -1)]),
        ("hand-offsets-of-1g", &[(3092, 0x4000_0000)]),
        ("hand-origins-beyond-memory", &[(3108, -64), (3112, 16)]),
    ];
    for &(name, lies) in lies {
        add(name, "", trap, &process(&one_output(lies)));
    }
    let wrong_text = store(&[(2048, 1), (2052, 3000), (2056, 4), (3000, -1)]);
    add("hand-message-no-utf8", "", trap, &process(&wrong_text));
    let long_text = store(&[(2048, 1), (2052, 65_536), (2056, -1)]);
    add("hand-message-of-4g", "", trap, &process(&long_text));
    add("hand-pointer-out-of-bounds", "", trap, &process("(return (i32.const -16))"));
    add("hand-pointer-unaligned", "", trap, &process("(return (i32.const 2049))"));
    add("hand-divides-by-zero", "", trap, &process("(drop (i32.div_u (i32.const 1) (i32.const 0)))"));
    add("hand-overflows", "", trap, &process("(drop (i32.trunc_f64_s (f64.const nan)))"));
    add("hand-reads-out-of-bounds", "", trap, &process("(drop (i64.load (i32.const -9)))"));
    add("hand-copies-out-of-bounds", "", trap, &process("(memory.copy (i32.const 0) (i32.const 9) (i32.const -1))"));

    add("hand-realloc-out-of-bounds", "", trap, &realloc("(return (i32.const -16))"));
    add("hand-realloc-unaligned", "", trap, &realloc("(return (i32.const 65537))"));
    add("hand-realloc-traps", "", trap, &realloc("unreachable"));
    add("hand-realloc-loops", SHORT, End::Fails("deadline-exceeded"), &realloc(LOOP));
    add(
        "hand-realloc-recurses",
        "",
        End::Fails("stack-overflow"),
        &realloc("(return (call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"),
    );
    add("hand-realloc-always-the-same", "", End::Finishes, &realloc("(return (i32.const 65536))"));
    let grow = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    add("hand-realloc-takes-memory", "", End::Fails("memory-exceeded"), &realloc(grow));
    let log = &["cofferdam:function/log@0.2.0"];
    let logs = |part: Parts<'static>| Parts { interfaces: log, imports: LOG, ..part };
    add("hand-realloc-calls-the-host", "", trap, &logs(realloc(CALL_LOG)));
    add("hand-post-return-loops", SHORT, End::Fails("deadline-exceeded"), &post_return(LOOP));
    add("hand-post-return-traps", "", trap, &post_return("unreachable"));
    add("hand-post-return-calls-the-host", "", trap, &logs(post_return(CALL_LOG)));
    add("hand-post-return-takes-memory", "", End::Fails("memory-exceeded"), &post_return(grow));

    let tables = "(table $t 1 funcref)";
    let table_grow = "(loop $again (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable";
    add("hand-table-grows", "", trap, &Parts { fields: tables, process: table_grow, ..Parts::default() });
    add("hand-memory-grows", "", End::Fails("memory-exceeded"), &process(grow));
    let large = Parts { pages: 512, ..Parts::default() };
    add("hand-memory-from-the-start", "limits = { memory = \"16MiB\" }", End::Fails("memory-exceeded"), &large);
    let many = store(&[(2052, 65_536), (2056, 700_000)]);
    let many = Parts { pages: 1000, process: &many, ..Parts::default() };
    add("hand-700000-outputs", "", End::Fails("output-exceeded"), &many);
    wasi_kinds(&mut add);
    kinds
}

const CLOCKS: &str = "grants = { wasi = [\"clocks\"] }";
const CLOCKS_AND_SHORT: &str = "grants = { wasi = [\"clocks\"] }\nlimits = { deadline = \"30ms\" }";
const CLI: &str = "grants = { wasi = [\"cli\"] }";
const CLI_AND_SHORT: &str = "grants = { wasi = [\"cli\"] }\nlimits = { deadline = \"30ms\" }";
const RANDOM: &str = "grants = { random = true }";

/// Guests that use WASI.
fn wasi_kinds(add: &mut impl FnMut(&'static str, &'static str, End, &Parts<'_>)) {
    const SLEEPING: &[&str] = &["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"];
    const SLEEP: &str = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $sleep (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.ready" (func $ready (param i32) (result i32)))"#;
    fn sleeps(process: &str) -> Parts<'_> {
        Parts { interfaces: SLEEPING, imports: SLEEP, process, ..Parts::default() }
    }
    let hour = "(i32.store (i32.const 512) (call $sleep (i64.const 3600000000000)))";
    add(
        "hand-sleeps-an-hour",
        CLOCKS,
        End::Finishes,
        &sleeps(&format!("{hour} (call $block (i32.load (i32.const 512)))")),
    );
    let for_ever = format!("{hour} (loop $again (call $block (i32.load (i32.const 512))) (br $again))");
    add("hand-sleeps-for-ever", CLOCKS_AND_SHORT, End::Fails("deadline-exceeded"), &sleeps(&for_ever));
    // The time until a pollable is ready would be a clock. It is always ready.
    let clock = format!("{hour} (if (i32.eqz (call $ready (i32.load (i32.const 512)))) (then unreachable))");
    add("hand-measures-time", CLOCKS, End::Finishes, &sleeps(&clock));
    let resources = "(loop $again (drop (call $sleep (i64.const 1))) (br $again))";
    add("hand-takes-resources", CLOCKS, End::Fails("guest-trap"), &sleeps(resources));

    let imports = r#"(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.write-zeroes" (func $zeroes (param i32 i64 i32)))
        (import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))"#;
    let print = |process| Parts { interfaces: STDERR, imports, process, ..Parts::default() };
    add(
        "hand-prints-4g-of-zeroes",
        CLI,
        End::Fails("guest-trap"),
        &print("(call $zeroes (call $stderr) (i64.const 0xffffffff) (i32.const 1024))"),
    );
    let flood = "(local $s i32) (local.set $s (call $stderr))
        (loop $again (call $write (local.get $s) (i32.const 0) (i32.const 65536) (i32.const 1024)) (br $again))";
    add("hand-prints-for-ever", CLI_AND_SHORT, End::Fails("deadline-exceeded"), &print(flood));

    let imports = r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))"#;
    let random = |process| Parts { interfaces: &["wasi:random/random@0.2.0"], imports, process, ..Parts::default() };
    add(
        "hand-takes-4g-of-randomness",
        RANDOM,
        End::Fails("guest-trap"),
        &random("(call $random (i64.const 0xffffffff) (i32.const 1024))"),
    );
    let imports = r#"(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#;
    let exit = |process| Parts { interfaces: &["wasi:cli/exit@0.2.0"], imports, process, ..Parts::default() };
    add("hand-exits", CLI, End::Fails("guest-trap"), &exit("(call $exit (i32.const 0))"));
    let unused = Parts { interfaces: &["wasi:cli/exit@0.2.0"], imports, ..Parts::default() };
    add("hand-without-its-grant", "grants = { wasi = [\"clocks\"] }", End::Refused("grant-missing"), &unused);
}
