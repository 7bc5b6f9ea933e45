//! A server whose clients hold connections, send halves of requests and read nothing, all at the same time: other clients are
//! served, checkpoints complete, the memory stays within a bound, and a signal ends the process.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cofferdam_tests::{Api, Checkout, ProcessMemory, Server, memory_kib, wait_until};

/// Far longer than any step takes.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Connections that send nothing.
const SILENT: usize = 6_000;
/// Connections that send a part of a header.
const HALF_SENT: usize = 3_000;
/// Connections that send a part of a body, and of these every tenth sends a byte from time to time.
const HALF_BODIES: usize = 400;
/// Requests that count the whole state, and as many that dump it and read nothing.
const READERS: usize = 600;

/// Memory that the attack may add: headers of the open connections, four dumps and four counts.
const ATTACK_KIB_MAX: u64 = 400_000;

const COUNTING: &str = r#"
    name = "counting"
    [checkpoint]
    interval = "1s"
    timeout = "60s"
    [restart]
    strategy = "none"
    [source.numbers]
    connector = "generator"
    template = "{key},{n}"
    keys = 100000
    rate = 100000
    [operator.count]
    input = "numbers"
    key = { column = 0 }
    component = "misbehaving@1"
    function = "count-then-trap"
    [sink.out]
    input = "count"
    connector = "blackhole"
"#;

/// Limit on open files of this process, so that the attack is smaller where it is low.
fn open_files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

/// Opens a connection and sends `bytes`. The server may close it at any time.
fn open(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("cannot connect: {error}"),
        }
    };
    let _ = stream.write_all(bytes);
    stream
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes()
}

/// Opens connections on a few threads.
fn open_many(address: &str, number: usize, bytes: &[u8]) -> Vec<TcpStream> {
    thread::scope(|scope| {
        let openers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..number / 8).map(|_| open(address, bytes)).collect::<Vec<_>>())).collect();
        openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
    })
}

/// Sends a request until it gets the answer of a success. The server may close a connection that waits for its turn.
fn is_served(address: &str, path: &str) -> bool {
    let mut answer = Vec::new();
    let mut stream = open(address, &get(path));
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let _ = stream.read_to_end(&mut answer);
    answer.starts_with(b"HTTP/1.1 200")
}

fn last_checkpoint(api: &Api, job: &str) -> Option<u64> {
    api.job(job).ok()?["last_checkpoint"].as_u64()
}

fn checkpoints_complete(api: &Api, job: &str, number: u64) {
    let read = || wait_until("the job is shown", TIMEOUT, || Ok(last_checkpoint(api, job))).unwrap();
    let before = read();
    wait_until("more checkpoints are complete", TIMEOUT, || Ok((read() >= before + number).then_some(()))).unwrap();
}

#[test]
fn a_server_under_attack_serves_others_and_ends() {
    let (mut server, _) = Server::start_fresh("under-attack").unwrap();
    let component = fs::read(Checkout::current().component("misbehaving").unwrap()).unwrap();
    server.api.push(&component, Some("misbehaving@1")).unwrap().ok().unwrap();
    let job = server.api.submit_ok(COUNTING).unwrap();
    wait_until("the job has state", TIMEOUT, || {
        Ok((server.api.job(&job)?["records_in"].as_u64() > Some(200_000)).then_some(()))
    })
    .unwrap();
    checkpoints_complete(&server.api, &job, 1);
    let before_kib = memory_kib(server.process_id(), ProcessMemory::Peak).unwrap();
    let address = server.api.base().trim_start_matches("http://").to_owned();
    let share = (open_files_max().saturating_sub(500) as f64 / 11_000.0).min(1.0);
    let part = |number: usize| (number as f64 * share) as usize;

    let dump = get(&format!("/v1/jobs/{job}/state/dump"));
    let count = get(&format!("/v1/jobs/{job}/state?count=true"));
    let half_body = "POST /v1/components HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nhalf";
    let mut held = open_many(&address, part(READERS), &dump);
    held.extend(open_many(&address, part(READERS), &count));
    let mut bodies = open_many(&address, part(HALF_BODIES), half_body.as_bytes());
    held.extend(open_many(&address, part(HALF_SENT), b"GET /v1/jobs HTTP/1.1\r\nhost: loc"));
    held.extend(open_many(&address, part(SILENT), b""));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for body in bodies.iter_mut().step_by(10) {
                    let _ = body.write_all(b"x");
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        wait_until("another client is served", TIMEOUT, || Ok(is_served(&address, "/readyz").then_some(()))).unwrap();
        checkpoints_complete(&server.api, &job, 3);
        over.store(true, Ordering::Relaxed);
    });
    let peak_kib = memory_kib(server.process_id(), ProcessMemory::Peak).unwrap();
    eprintln!("{} connections; {before_kib} KiB before, at most {peak_kib} KiB", held.len() + bodies.len());
    assert!(peak_kib < before_kib + ATTACK_KIB_MAX, "at most {peak_kib} KiB, {before_kib} KiB before");
    // The attackers are still there.
    let process = server.process_id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    wait_until("the server ends", TIMEOUT, || Ok((!server.is_up()?).then_some(()))).unwrap();
    drop((held, bodies));
}
