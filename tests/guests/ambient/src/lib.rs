//! A test guest that reads clocks, randomness, arguments and environment through WASI, and emits what it reads. A record `wait` waits for an
//! hour. A record `panic` behaves like a panic of a Rust program for WASI.

wit_bindgen::generate!({
    path: ["wit/io.wit", "wit/clocks.wit", "wit/random.wit", "wit/cli.wit", "wit/filesystem.wit", "../../../wit"],
    inline: "
        package acme:test;

        world ambient {
            include cofferdam:function/component@0.2.0;
            import wasi:clocks/wall-clock@0.2.0;
            import wasi:clocks/monotonic-clock@0.2.0;
            import wasi:random/random@0.2.0;
            import wasi:cli/environment@0.2.0;
            import wasi:cli/stderr@0.2.0;
            import wasi:filesystem/preopens@0.2.0;
        }
    ",
    world: "acme:test/ambient",
    generate_all,
});

use cofferdam::function::types::{Batch, Column, Failure, Output, RecordValues, Timestamps};
use exports::cofferdam::function::guest::{
    ComponentDescription, FunctionDescription, FunctionKind, Guest, Port, PortLayout,
};
use wasi::cli::environment;
use wasi::cli::stderr::get_stderr;
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::preopens;
use wasi::random::random;

struct Ambient;
export!(Ambient);

impl Guest for Ambient {
    fn describe() -> ComponentDescription {
        let port = |name: &str| Port {
            name: name.to_string(),
            codec: "raw".to_string(),
            schema: Vec::new(),
            layout: PortLayout::Packed,
            key_type: String::new(),
        };
        let function = FunctionDescription {
            name: "look".to_string(),
            kind: FunctionKind::Process,
            inputs: vec![port("in")],
            outputs: vec![port("out")],
            states: Vec::new(),
            timers: Vec::new(),
        };
        ComponentDescription { sdk: "by hand".to_string(), functions: vec![function] }
    }

    fn process(_function: u32, _input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        let record = match batch.values {
            RecordValues::Packed(values) => values.bytes,
            RecordValues::Fields(_) => Vec::new(),
        };
        if record.starts_with(b"wait") {
            monotonic_clock::subscribe_duration(3_600_000_000_000).block();
        }
        if record.starts_with(b"panic") {
            let _ =
                get_stderr().blocking_write_and_flush(b"thread 'main' panicked at src/lib.rs:7:9:\nthe last words\n");
            std::process::abort();
        }
        let now = wall_clock::now();
        let given = environment::get_environment().len()
            + environment::get_arguments().len()
            + preopens::get_directories().len();
        let seen = format!(
            "{} {} {given}",
            now.seconds * 1000 + u64::from(now.nanoseconds / 1_000_000),
            random::get_random_u64()
        );
        let values = Column { offsets: vec![0, seen.len() as u32], bytes: seen.into_bytes() };
        Ok(vec![Output {
            index: 0,
            values: RecordValues::Packed(values),
            timestamps: Timestamps::Every(vec![0]),
            origins: Vec::new(),
            keys: None,
            attributes: None,
        }])
    }
}
