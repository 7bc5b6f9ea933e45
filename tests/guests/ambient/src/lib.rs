//! A test guest that reads clocks, randomness, arguments and environment through WASI, and emits what it reads. A record `wait` waits for an
//! hour. A record `panic` behaves like a panic of a Rust program for WASI. A record `spin` reads the clock until it changes.
//!
//! A record `env` emits the environment variables. A record `read PATH` emits the content of a file in the first folder, and a record
//! `create PATH` creates one. A failure is emitted as `failed: ...`.

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
use wasi::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
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
        if record.starts_with(b"spin") {
            let before = monotonic_clock::now();
            while monotonic_clock::now() == before {}
        }
        let text = String::from_utf8_lossy(&record).into_owned();
        match text.trim_end().split_once(' ') {
            Some(("read", path)) => return Ok(vec![output(shown(read(path)))]),
            Some(("create", path)) => return Ok(vec![output(shown(create(path)))]),
            _ if text.starts_with("env") => {
                let variables = environment::get_environment();
                let variables: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
                return Ok(vec![output(variables.join(" "))]);
            }
            _ => {}
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
        Ok(vec![output(seen)])
    }
}

fn output(text: String) -> Output {
    let values = Column { offsets: vec![0, text.len() as u32], bytes: text.into_bytes() };
    Output {
        index: 0,
        values: RecordValues::Packed(values),
        timestamps: Timestamps::Every(vec![0]),
        origins: Vec::new(),
        keys: None,
        attributes: None,
    }
}

fn shown(result: Result<String, ErrorCode>) -> String {
    result.unwrap_or_else(|code| format!("failed: {code:?}"))
}

fn read(path: &str) -> Result<String, ErrorCode> {
    let folders = preopens::get_directories();
    let (folder, _) = folders.first().ok_or(ErrorCode::NoEntry)?;
    let file = folder.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(1000, 0)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn create(path: &str) -> Result<String, ErrorCode> {
    let folders = preopens::get_directories();
    let (folder, _) = folders.first().ok_or(ErrorCode::NoEntry)?;
    folder.open_at(PathFlags::empty(), path, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
    Ok("created".to_owned())
}
