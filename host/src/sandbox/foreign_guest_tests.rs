//! Guests as compilers of other languages produce them: what they import, how they wait, and how they end.

use std::time::Duration;

use super::testing::{LoadedGuest, component, guest};
use crate::model::FaultCode;
use crate::pipeline::GuestLimits;

const CLOCK: &str = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $sleep (param i64) (result i32)))
    (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.ready" (func $ready (param i32) (result i32)))
    (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))"#;
const CLOCK_INTERFACES: [&str; 2] = ["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"];

const STDERR: &str = r#"(import "wasi:cli/stderr@0.2.0" "get-stderr" (func $stderr (result i32)))
    (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32)))
    (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#;
const STDERR_INTERFACES: [&str; 3] = ["wasi:io/streams@0.2.0", "wasi:cli/stderr@0.2.0", "wasi:cli/exit@0.2.0"];

/// Writes the first 16 bytes of the data to stderr.
const PRINT: &str = "(call $write (call $stderr) (i32.const 0) (i32.const 16) (i32.const 1024))";

fn load(bytes: &[u8]) -> LoadedGuest {
    LoadedGuest::load(bytes, GuestLimits::default()).unwrap()
}

#[test]
fn the_monotonic_clock_is_never_0_and_stands_still_within_a_turn() {
    let check = "(if (i64.eqz (call $now)) (then unreachable))
        (if (i64.ne (call $now) (call $now)) (then unreachable))";
    let mut guest = load(&guest(&CLOCK_INTERFACES, CLOCK, "", check, check));
    assert_eq!(guest.call(0, 0).unwrap(), []);
    assert_eq!(guest.call(1_700_000_000_000, 1).unwrap(), []);
}

#[test]
fn a_guest_that_waits_continues_at_once() {
    // An hour, once with `poll` and once with `block`. `poll` must return the index of the only pollable. `ready` is true from the
    // start: if it became true after the hour, a guest could measure time.
    let wait = "(i32.store (i32.const 512) (call $sleep (i64.const 3600000000000)))
        (if (i32.eqz (call $ready (i32.load (i32.const 512)))) (then unreachable))
        (call $poll (i32.const 512) (i32.const 1) (i32.const 1024))
        (if (i32.ne (i32.load (i32.const 1028)) (i32.const 1)) (then unreachable))
        (if (i32.load (i32.load (i32.const 1024))) (then unreachable))
        (call $block (i32.load (i32.const 512)))
        (call $drop (i32.load (i32.const 512)))";
    let mut waits = load(&guest(&CLOCK_INTERFACES, CLOCK, "", wait, wait));
    assert_eq!(waits.call(0, 0).unwrap(), []);
}

#[test]
fn a_guest_that_waits_for_ever_uses_up_its_deadline() {
    let forever = "(i32.store (i32.const 512) (call $sleep (i64.const 1)))
        (loop $again
            (call $block (i32.load (i32.const 512)))
            (br $again))";
    let limits = GuestLimits { deadline: Duration::from_millis(50), ..GuestLimits::default() };
    let mut waits = LoadedGuest::load(&guest(&CLOCK_INTERFACES, CLOCK, "", "", forever), limits).unwrap();
    assert_eq!(waits.call(0, 0).unwrap_err().code, FaultCode::DeadlineExceeded);
}

#[test]
fn polling_nothing_is_an_invalid_call() {
    let poll = "(call $poll (i32.const 512) (i32.const 0) (i32.const 1024))";
    let mut polls = load(&guest(&CLOCK_INTERFACES, CLOCK, "", "", poll));
    assert_eq!(polls.call(0, 0).unwrap_err().code, FaultCode::InvalidCall);
}

#[test]
fn sockets_may_be_imported_but_none_can_be_created() {
    let import =
        r#"(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $create (param i32 i32)))"#;
    // The result is `err(access-denied)`, for both families of addresses.
    let create = "(call $create (i32.const 0) (i32.const 1024))
        (if (i32.ne (i32.load8_u (i32.const 1024)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 1028)) (i32.const 1)) (then unreachable))
        (call $create (i32.const 1) (i32.const 1024))
        (if (i32.ne (i32.load8_u (i32.const 1024)) (i32.const 1)) (then unreachable))";
    let mut denied = load(&guest(&["wasi:sockets/tcp-create-socket@0.2.0"], import, "", create, create));
    assert_eq!(denied.call(0, 0).unwrap(), []);
}

#[test]
fn the_last_output_on_stderr_explains_an_abort_and_an_exit() {
    let data = "panic: bad line\\n";
    let abort = format!("{PRINT} unreachable");
    let exit = format!("{PRINT} (call $exit (i32.const 1))");
    for end in [abort, exit] {
        let mut guest = load(&guest(&STDERR_INTERFACES, STDERR, data, "", &end));
        let fault = guest.call(0, 0).unwrap_err();
        assert_eq!((fault.code, &fault.message[..]), (FaultCode::GuestPanic, "panic: bad line"));
        assert!(!fault.backtrace.is_empty());
        // The next call has a new instance and a new tail.
        assert_eq!(guest.call(0, 1).unwrap_err().message, "panic: bad line");
    }
    let trap = format!("{PRINT} (drop (i32.div_u (i32.const 1) (i32.const 0)))");
    let fault = load(&guest(&STDERR_INTERFACES, STDERR, data, "", &trap)).call(0, 0).unwrap_err();
    assert_eq!(fault.code, FaultCode::GuestTrap);
    assert!(
        fault.message.contains("divide by zero") && fault.message.ends_with("panic: bad line"),
        "{}",
        fault.message
    );

    let silent = "(call $exit (i32.const 1))";
    let fault = load(&guest(&STDERR_INTERFACES, STDERR, data, "", silent)).call(0, 0).unwrap_err();
    assert_eq!((fault.code, &fault.message[..]), (FaultCode::GuestTrap, "the component exited with status 1"));
    let described = LoadedGuest::load(
        &guest(&STDERR_INTERFACES, STDERR, data, &format!("{PRINT} unreachable"), ""),
        GuestLimits::default(),
    );
    let error = described.err().unwrap();
    assert_eq!(error.code, "component-description");
    assert!(error.message.contains("panic: bad line"), "{error}");
}

#[test]
fn random_numbers_are_the_same_when_a_turn_runs_again() {
    let import = r#"(import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))"#;
    // Fails with the number as a message of 8 bytes: the result is `err` with a pointer and a length.
    let draw = "(i64.store (i32.const 512) (i64.or (call $random) (i64.const 0x4040404040404040)))
        (i64.store (i32.const 512) (i64.and (i64.load (i32.const 512)) (i64.const 0x4f4f4f4f4f4f4f4f)))
        (i32.store8 (i32.const 2048) (i32.const 1))
        (i32.store (i32.const 2052) (i32.const 512))
        (i32.store (i32.const 2056) (i32.const 8))";
    let mut guest = load(&guest(&["wasi:random/random@0.2.0"], import, "", "", draw));
    let mut number = |position| {
        let fault = guest.call(0, position).unwrap_err();
        assert_eq!(fault.code, FaultCode::GuestError);
        fault.message
    };
    let [first, second, again] = [number(0), number(1), number(0)];
    assert_eq!(first, again);
    assert_ne!(first, second);
}

#[test]
fn an_instance_survives_a_returned_error_but_not_a_trap() {
    // Counts its calls, and fails with the count as a message. The third call of an instance traps.
    let count = "(i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 1)))
        (if (i32.eq (i32.load (i32.const 600)) (i32.const 3)) (then unreachable))
        (i32.store8 (i32.const 512) (i32.add (i32.load (i32.const 600)) (i32.const 48)))
        (i32.store8 (i32.const 2048) (i32.const 1))
        (i32.store (i32.const 2052) (i32.const 512))
        (i32.store (i32.const 2056) (i32.const 1))";
    let mut guest = load(&guest(&[], "", "", "", count));
    let mut fault = |position| {
        let fault = guest.call(0, position).unwrap_err();
        (fault.code, fault.message)
    };
    assert_eq!(fault(0), (FaultCode::GuestError, "1".into()));
    assert_eq!(fault(1), (FaultCode::GuestError, "2".into()));
    assert_eq!(fault(2).0, FaultCode::GuestTrap);
    assert_eq!(fault(3), (FaultCode::GuestError, "1".into()));
}

#[test]
fn a_component_for_another_contract_is_told_to_be_rebuilt() {
    let old = wat::parse_str(r#"(component (instance $i) (export "cofferdam:function/function@0.1.0" (instance $i)))"#);
    let error = LoadedGuest::load(&old.unwrap(), GuestLimits::default()).err().unwrap();
    assert_eq!(error.code, "component-contract-version");
    assert!(error.message.contains("function@0.1.0") && error.hint.unwrap().contains("rebuild"), "{}", error.message);
}

#[test]
fn a_missing_interface_is_named() {
    let bytes = component(r#"(module (memory (export "memory") 1) (func (export "run")))"#, "export run: func();");
    let error = LoadedGuest::load(&bytes, GuestLimits::default()).err().unwrap();
    assert_eq!(error.code, "component-wrong-world");
    assert!(error.message.contains("cofferdam:function/guest@0.2.0"), "{}", error.message);
}
