//! Components that are damaged, lie about themselves or are costly to check: each upload is refused with its code, within a
//! bound of memory, nothing of it is stored, and other uploads are accepted meanwhile.

use std::fs;

use cofferdam_tests::{Checkout, Guarded, not_refused};

/// Bound on the memory of the server over all of them. Compiling happens in a child process.
const PEAK_BYTES_MAX: u64 = 320 << 20;

const MIB: usize = 1 << 20;

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).unwrap()
}

/// A component with the right export around a core module.
fn around(module: &str) -> Vec<u8> {
    component(&format!(
        "(core module $m {module}) (core instance (instantiate $m)) (instance $i) (export \"cofferdam:function/guest@0.2.0\" (instance $i))"
    ))
}

/// Like [`around`], with the bytes of a core module.
fn around_bytes(module: &[u8]) -> Vec<u8> {
    let empty = around("");
    // The first section holds the module `(module)`.
    let rest = &empty[COMPONENT.len() + 2 + MODULE.len()..];
    [COMPONENT, &section(1, module), rest].concat()
}

fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(COMPONENT.to_vec(), |inner, _| [COMPONENT, &section(4, &inner)].concat())
}

/// A core module with one function of this body.
fn one_function(body: &[u8]) -> Vec<u8> {
    let code = [&[1][..], &leb(body.len()), body].concat();
    [MODULE, &section(1, &[1, 0x60, 0, 0]), &section(3, &[1, 0]), &section(10, &code)].concat()
}

type Upload = (&'static str, Vec<u8>, &'static [&'static str]);

const INVALID: &[&str] = &["component-invalid", "component-too-complex", "component-wrong-world"];
const LIMITS: &[&str] = &["component-limits", "component-invalid", "component-too-complex", "component-wrong-world"];
const WRONG: &[&str] = &["component-wrong-world", "component-invalid"];

/// Bytes that are not what they seem.
fn damaged() -> Vec<Upload> {
    let good = fs::read(Checkout::current().component("late-flights").unwrap()).unwrap();
    let mut flipped = good.clone();
    flipped.iter_mut().skip(1000).step_by(5001).for_each(|byte| *byte ^= 0x55);
    vec![
        ("script", b"#!/bin/sh\nrm -rf /\n".to_vec(), &["component-not-wasm"]),
        ("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0], &["component-not-wasm"]),
        ("zeros", vec![0; MIB], &["component-not-wasm", "component-invalid"]),
        ("header only", COMPONENT.to_vec(), WRONG),
        ("core module", MODULE.to_vec(), &["component-core-module"]),
        ("first half", good[..good.len() / 2].to_vec(), INVALID),
        (
            "flipped bits",
            flipped,
            &["component-invalid", "component-description", "component-wrong-world", "component-too-complex"],
        ),
        ("version of the future", b"\0asm\x0e\0\x01\0".to_vec(), &["component-not-wasm"]),
        ("section longer than the file", [COMPONENT, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(), INVALID),
        ("list of four billion types", around_bytes(&[MODULE, &section(1, &leb(0xffff_ffff))].concat()), INVALID),
    ]
}

/// Components that are costly to check.
fn costly() -> Vec<Upload> {
    vec![
        (
            "nested components",
            nested(3000),
            &["component-invalid", "component-too-complex", "component-wrong-world", "component-limits"],
        ),
        ("four billion locals", around_bytes(&one_function(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b])), LIMITS),
        (
            "fifty thousand locals",
            around_bytes(&one_function(&[&[1][..], &leb(50_000), &[0x7f, 0x0b]].concat())),
            &["component-too-complex", "component-limits", "component-wrong-world"],
        ),
        (
            "nested blocks",
            around_bytes(&one_function(&[&[0][..], &[0x02, 0x40].repeat(200_000), &[0x0b].repeat(200_001)].concat())),
            LIMITS,
        ),
        (
            "body of eight million instructions",
            around_bytes(&one_function(&[&[0][..], &[0x01].repeat(8_000_000), &[0x0b]].concat())),
            LIMITS,
        ),
        (
            "three hundred thousand empty functions",
            around_bytes(
                &[
                    MODULE,
                    &section(1, &[1, 0x60, 0, 0]),
                    &section(3, &[&leb(300_000)[..], &vec![0; 300_000]].concat()),
                    &section(10, &[&leb(300_000)[..], &[2, 0, 0x0b].repeat(300_000)].concat()),
                ]
                .concat(),
            ),
            LIMITS,
        ),
    ]
}

/// Components that ask for what is not given.
fn greedy() -> Vec<Upload> {
    let names = "x".repeat(100_000);
    vec![
        ("memory of 4 GiB", around("(memory 65536)"), &["component-limits", "component-wrong-world"]),
        ("table of four billion elements", around("(table 4294967295 funcref)"), LIMITS),
        ("memory with 64 bits", around("(memory i64 1)"), INVALID),
        ("shared memory", around("(memory 1 1 shared)"), INVALID),
        (
            "start function that loops",
            around("(func $f (loop (br 0))) (start $f)"),
            &["component-wrong-world", "component-description", "component-invalid"],
        ),
        (
            "imports of files",
            component(
                "(import \"wasi:filesystem/preopens@0.2.0\" (instance (export \"get-directories\" (func (result (list u32))))))",
            ),
            &["component-import-denied", "component-wrong-world", "component-invalid", "grant-missing"],
        ),
        (
            "import with a long name",
            component(&format!("(import \"a:b/{names}\" (instance))")),
            &["component-import-denied", "component-invalid", "component-wrong-world"],
        ),
        (
            "import that forges lines",
            component("(import \"x\" (func))"),
            &["component-import-denied", "component-wrong-world"],
        ),
        (
            "export of another contract",
            component("(instance $i) (export \"cofferdam:function/guest@9.9.9\" (instance $i))"),
            &["component-contract-version", "component-wrong-world"],
        ),
        (
            "export of the right name and another type",
            component("(instance $i) (export \"cofferdam:function/guest@0.2.0\" (instance $i))"),
            WRONG,
        ),
    ]
}

#[test]
fn hostile_components_are_refused_with_their_codes_within_a_bound_of_memory() {
    let mut guarded = Guarded::start("hostile-component", &[]).unwrap();
    let mut wrong = Vec::new();
    for (name, bytes, codes) in damaged().into_iter().chain(costly()).chain(greedy()) {
        let answer = guarded.api().push(&bytes, Some("hostile@1")).unwrap();
        wrong.extend(
            not_refused(&answer, codes).map(|why| format!("{name}: {}", why.chars().take(600).collect::<String>())),
        );
        if answer.body.to_string().len() > 16 << 10 {
            wrong.push(format!("{name}: an answer of {} bytes", answer.body.to_string().len()));
        }
    }
    let good = fs::read(Checkout::current().component("late-flights").unwrap()).unwrap();
    for name in ["..@..", "../x@1", "x@../1", "x", "@1", "x@", "x@1@2", "\u{202e}x@1", "x%0a@1", ".x@1"] {
        let answer = guarded.api().push(&good, Some(name)).unwrap();
        wrong.extend(not_refused(&answer, &["component-name"]).map(|why| format!("name {name:?}: {why}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(guarded.api().components().unwrap().as_array().unwrap().len(), 0);
    guarded.api().push(&good, Some("good@1")).unwrap().ok().unwrap();
    guarded.check(PEAK_BYTES_MAX).unwrap();
}
