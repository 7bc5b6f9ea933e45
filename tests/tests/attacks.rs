//! Attacks on a server by whole pipelines: what one operator does to channels, barriers, restarts and joins.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "a test outside of the host")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cofferdam_tests::{Checkout, ProcessMemory, Server, memory_kib, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(120);

fn start(name: &str) -> (Server, PathBuf) {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir(&format!("tests/attacks-{name}")).unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, &[]).unwrap();
    let component = fs::read(checkout.component("evil").unwrap()).unwrap();
    server.api.push(&component, Some("evil@1")).unwrap().ok().unwrap();
    (server, dir)
}

fn counter(job: &Value, node: &str, name: &str) -> u64 {
    let mut nodes = job["operators"].as_array().into_iter().flatten();
    nodes.find(|one| one["id"] == node).and_then(|node| node[name].as_u64()).unwrap_or(0)
}

/// Cancels a job, which must be heard.
fn cancel(server: &Server, id: &str) {
    server.api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(id, "CANCELED").unwrap();
}

#[test]
fn full_channels_hold_a_bounded_number_of_bytes() {
    let (server, _dir) = start("channels");
    // Each record is 12 MiB. Four subtasks make them, and four others need a second of processor time for each. In 16 channels of eight
    // elements there would be room for 1.5 GiB.
    let pipeline = "name = \"fill\"\nparallelism = 4\nbatch = { records = 1 }\n\
        [source.in]\nconnector = \"generator\"\n\
        [operator.fill]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"output-fill\"\n\
        [operator.slow]\ninput = \"fill\"\nkey = \"value\"\ncomponent = \"evil@1\"\nfunction = \"loop\"\non_fault = \"skip\"\n\
        [sink.out]\ninput = \"slow\"\nconnector = \"blackhole\"\n";
    let idle = memory_kib(server.process_id(), ProcessMemory::Resident).expect("the server runs");
    let id = server.api.submit_ok(pipeline).unwrap();
    let (start, mut last) = (Instant::now(), (0, Instant::now()));
    wait_until("the channels are full", TIMEOUT, || {
        let sent = counter(&server.api.job(&id)?, "fill", "records_out");
        if sent != last.0 {
            last = (sent, Instant::now());
        }
        // The slow subtasks take one record after the other, so the number still rises when the channels are full. Channels without a
        // bound would hold more than a GiB long before.
        let is_full = last.1.elapsed() > Duration::from_secs(3) || start.elapsed() > Duration::from_secs(15);
        Ok((sent > 20 && is_full).then_some(()))
    })
    .unwrap();
    let peak = memory_kib(server.process_id(), ProcessMemory::Peak).expect("the server runs");
    cancel(&server, &id);
    eprintln!("{idle} KiB at first, at most {peak} KiB");
    // Eight instances of up to 64 MiB, the records in the hands of the subtasks, and the channels.
    assert!(peak < idle + 1_000_000, "at most {peak} KiB, {idle} KiB at first");
}

#[test]
fn a_timer_that_renews_itself_lets_barriers_and_a_cancel_through() {
    let (server, _dir) = start("timer");
    for domain in ["event", "processing"] {
        let pipeline = format!(
            "name = \"renews-{domain}\"\n[checkpoint]\ninterval = \"50ms\"\n\
             [source.in]\nconnector = \"generator\"\ntemplate = \"{{key}},{{n}}\"\nrate = 1000\n\
             timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
             [operator.act]\ninput = \"in\"\nkey = {{ column = 0 }}\ncomponent = \"evil@1\"\n\
             function = \"timer-renews-itself\"\nconfig = {{ domain = \"{domain}\" }}\n\
             [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        );
        let id = server.api.submit_ok(&pipeline).unwrap();
        wait_until("checkpoints complete while timers fire", TIMEOUT, || {
            let job = server.api.job(&id)?;
            Ok((job["last_checkpoint"].as_u64() >= Some(5) && counter(&job, "act", "records_in") > 100).then_some(()))
        })
        .unwrap();
        cancel(&server, &id);
    }
}

#[test]
fn a_job_that_fails_and_restarts_at_once_for_ever_fills_neither_log_nor_record() {
    let (server, dir) = start("restarts");
    // The end of the archive is damaged, far behind the records that are read at submit, so that each attempt fails.
    let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
    archive.write_all(&b"record\n".repeat(500_000)).unwrap();
    fs::write(dir.join("damaged.gz"), [archive.finish().unwrap(), b"garbage".to_vec()].concat()).unwrap();
    let input = dir.join("damaged.gz").display().to_string();
    let pipeline = |delay: &str| {
        format!(
            "name = \"restarts\"\n[restart]\nstrategy = \"exponential-delay\"\ninitial = \"{delay}\"\nmaximum = \"{delay}\"\n\
             multiplier = 1\n[source.in]\nconnector = \"file\"\npath = \"{input}\"\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"evil@1\"\nfunction = \"echo\"\n\
             [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        )
    };
    let refused = server.api.submit(&pipeline("0s")).unwrap();
    assert_eq!((refused.status, refused.code()), (400, "manifest-invalid"), "{}", refused.body);
    let id = server.api.submit_ok(&pipeline("1ms")).unwrap();
    let start = Instant::now();
    let job = wait_until("the job restarts", TIMEOUT, || {
        let job = server.api.job(&id)?;
        let restarts = job["restarts"].as_u64().unwrap_or(0);
        Ok((restarts >= 3 && start.elapsed() > Duration::from_secs(5)).then_some(job))
    })
    .unwrap();
    let restarts = job["restarts"].as_u64().unwrap();
    let log = fs::metadata(dir.join("server.log")).unwrap().len();
    let record = fs::metadata(dir.join(format!("data/jobs/{id}/job.json"))).unwrap().len();
    eprintln!("{restarts} restarts, {log} bytes of log, {record} bytes of record");
    cancel(&server, &id);
    assert!(log < 200_000, "{restarts} restarts wrote {log} bytes of log");
    assert!(record < 100_000, "{restarts} restarts made a record of {record} bytes");
}

#[test]
fn a_join_of_records_that_all_match_each_other_is_bounded_by_its_batches() {
    let (server, dir) = start("join");
    // 3,000 records on each side with the same key and time: nine million pairs.
    fs::write(dir.join("in.csv"), "k,5\n".repeat(3000)).unwrap();
    let dir = dir.display();
    let source = |id: &str| {
        format!(
            "[source.{id}]\nconnector = \"file\"\npath = \"{dir}/in.csv\"\nformat = \"csv\"\nheader = false\n\
             timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = \"ascending\"\n"
        )
    };
    let pipeline = format!(
        "name = \"pairs\"\n{}{}[operator.act]\ninput = \"left\"\nsecond = \"right\"\nkey = {{ column = 0 }}\n\
         interval = {{ lower = \"-1s\", upper = \"1s\" }}\ncomponent = \"evil@1\"\nfunction = \"join-echo\"\n\
         limits = {{ deadline = \"60s\" }}\n[sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n",
        source("left"),
        source("right")
    );
    let idle = memory_kib(server.process_id(), ProcessMemory::Resident).expect("the server runs");
    let id = server.api.submit_ok(&pipeline).unwrap();
    server.api.wait_for(&id, "FINISHED").unwrap();
    let peak = memory_kib(server.process_id(), ProcessMemory::Peak).expect("the server runs");
    eprintln!("{idle} KiB at first, at most {peak} KiB");
    assert!(peak < idle + 500_000, "at most {peak} KiB, {idle} KiB at first");
}
