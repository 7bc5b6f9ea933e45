//! Each metric of turns, timers, restores, statuses, sinks, databases and compilations moves when that happens.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cofferdam_tests::{Checkout, Scrape, Server, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);

/// A job that counts in windows, on RocksDB, and fails once after some checkpoints.
fn pipeline(dir: &Path) -> String {
    format!(
        "name = \"measured\"\n[batch]\nrecords = 16\n[checkpoint]\ninterval = \"100ms\"\n[state]\nbackend = \"rocksdb\"\n\
         [restart]\nstrategy = \"fixed-delay\"\nattempts = 10\ndelay = \"10ms\"\n\
         [fault_injection]\nfailures = [{{ at = \"record\", node = \"count\", after = 50, checkpoints = 5 }}]\n\
         [source.in]\nconnector = \"file\"\npath = \"{0}/in.csv\"\nformat = \"csv\"\nheader = false\n\
         timestamp = {{ column = 1, format = \"unix-ms\" }}\nwatermark = \"ascending\"\nrate = 1000\n\
         [operator.count]\ninput = \"in\"\nkey = {{ column = 0 }}\nwindow = {{ type = \"tumbling\", size = \"100ms\" }}\n\
         aggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"file\"\npath = \"{0}/out\"\n",
        dir.display()
    )
}

/// Waits until a series has at least a value. Returns the scrape.
fn await_value(server: &Server, (name, labels): (&str, &[(&str, &str)]), at_least: f64) -> Scrape {
    let mut text = String::new();
    let found = wait_until(&format!("{name} {labels:?} >= {at_least}"), TIMEOUT, || {
        let scrape = Scrape::of(&server.api)?;
        text.clone_from(&scrape.text);
        Ok(scrape.value(name, labels).is_some_and(|value| value >= at_least).then_some(scrape))
    });
    found.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn every_meter_moves_when_what_it_measures_happens() {
    let (server, dir) = Server::start_fresh("meters").unwrap();
    let compiled = [("result", "completed")];
    let before = Scrape::of(&server.api).unwrap();
    let count = |scrape: &Scrape, name: &str, labels: &[(&str, &str)]| scrape.value(name, labels).unwrap_or(0.0);
    assert_eq!(count(&before, "cofferdam_component_compile_seconds_count", &compiled), 0.0);
    assert_eq!(count(&before, "cofferdam_rocksdb_databases", &[]), 0.0);
    let bytes = fs::read(Checkout::current().component("printing").unwrap()).unwrap();
    server.api.push(&bytes, Some("printing@1")).unwrap().ok().unwrap();
    server.api.push(b"no component", None).unwrap();
    let after = Scrape::of(&server.api).unwrap();
    assert_eq!(count(&after, "cofferdam_component_compile_seconds_count", &compiled), 1.0);
    assert!(count(&after, "cofferdam_component_compile_seconds_sum", &compiled) > 0.0);

    let lines = (0..1_000_000).map(|record| format!("k{},{record}\n", record % 10)).collect::<String>();
    fs::write(dir.join("in.csv"), lines).unwrap();
    let id = server.api.submit_ok(&pipeline(&dir)).unwrap();
    let (job, operator) = (("job_name", "measured"), ("operator", "count"));
    let restored = await_value(&server, ("cofferdam_job_restore_seconds_count", &[job, ("from", "own")]), 1.0);
    assert!(count(&restored, "cofferdam_job_last_restore_timestamp_seconds", &[job]) > 1e9);
    assert!(count(&restored, "cofferdam_job_status_seconds_total", &[job, ("status", "RESTARTING")]) > 0.0);
    let running = [job, ("status", "RUNNING")];
    let ran = count(&restored, "cofferdam_job_status_seconds_total", &running);
    assert!(ran > 0.0);
    await_value(&server, ("cofferdam_job_status_seconds_total", &running), ran + 0.2);

    // The totals of the attempt before the restore are contained.
    let turns = count(&restored, "cofferdam_function_turn_seconds_count", &[job, operator]);
    assert!(turns > 0.0, "{}", restored.text);
    await_value(&server, ("cofferdam_function_turn_seconds_count", &[job, operator]), turns + 10.0);
    let event = [job, operator, ("domain", "event")];
    for name in ["cofferdam_operator_timers_registered_total", "cofferdam_operator_timers_fired_total"] {
        await_value(&server, (name, &event), count(&restored, name, &event) + 10.0);
    }
    let next = "cofferdam_operator_timers_next_timestamp_seconds";
    await_value(&server, (next, &event), count(&restored, next, &event) + 0.2);

    let sink = [job, ("operator", "out"), ("result", "completed")];
    let commits = count(&restored, "cofferdam_sink_commits_total", &sink);
    let later = await_value(&server, ("cofferdam_sink_commits_total", &sink), commits + 3.0);
    let timed = count(&later, "cofferdam_sink_commit_seconds_count", &sink[..2]);
    assert_eq!(timed, count(&later, "cofferdam_sink_commits_total", &sink));
    assert_eq!(count(&later, "cofferdam_sink_commits_total", &[job, ("result", "failed")]), 0.0);

    // Checkpoints flush the state to files, and write-back caches hold it before.
    await_value(&server, ("cofferdam_rocksdb_files", &[job, operator]), 1.0);
    let filled = await_value(&server, ("cofferdam_rocksdb_write_back_cache_bytes", &[job, operator]), 1.0);
    assert!(count(&filled, "cofferdam_rocksdb_databases", &[]) >= 1.0);
    assert!(count(&filled, "cofferdam_rocksdb_shared_memory_bytes", &[("part", "memtables")]) > 0.0);
    assert_eq!(count(&filled, "cofferdam_rocksdb_write_stalls_total", &[job, operator]), 0.0);

    server.api.post(&format!("/v1/jobs/{id}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(&id, "CANCELED").unwrap();
    let ended = Scrape::of(&server.api).unwrap();
    assert_eq!(ended.value("cofferdam_rocksdb_files", &[job]), None, "an ended job has only its status");
    assert_eq!(count(&ended, "cofferdam_rocksdb_databases", &[]), 0.0);
}
