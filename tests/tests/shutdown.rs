//! A server that is told to stop takes one more checkpoint of its jobs, and continues from it.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Checkout, Server, committed_lines, wait_until};

const TIMEOUT: Duration = Duration::from_secs(120);

fn terminate(mut server: Server) {
    let process = server.process_id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    wait_until("the server ends", TIMEOUT, || Ok((!server.is_up()?).then_some(()))).unwrap();
}

/// Submits a job that writes numbers, and waits until it has read more than `records` of them. Returns its id.
fn submit_numbers(server: &Server, out: &Path, records: u64) -> String {
    let pipeline = format!(
        "name = \"numbers\"\n[source.numbers]\nconnector = \"generator\"\ntemplate = \"{{n}}\"\nrate = 2000\n\
         [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"{}\"\n",
        out.display()
    );
    let job = server.api.submit_ok(&pipeline).unwrap();
    wait_until("the job reads", TIMEOUT, || {
        Ok((server.api.job(&job)?["records_in"].as_u64().unwrap_or(0) > records).then_some(()))
    })
    .unwrap();
    job
}

/// Returns the record of a job in the data folder of a server that has ended.
fn stored_job(dir: &Path, job: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(dir.join("data/jobs").join(job).join("job.json")).unwrap()).unwrap()
}

/// The job has no other checkpoint, so that its records would be read again without the one of the shutdown.
#[test]
fn a_shutdown_takes_a_checkpoint_and_the_job_continues_from_it() {
    let (server, dir) = Server::start_fresh("shutdown").unwrap();
    let out = dir.join("out");
    let job = submit_numbers(&server, &out, 500);
    terminate(server);
    let stored = stored_job(&dir, &job);
    assert_eq!(stored["status"], "SUSPENDED");
    let published = committed_lines(&out).unwrap().len();
    assert!(published > 500, "the checkpoint has published {published} records");

    let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    wait_until("the job continues", TIMEOUT, || {
        let job = server.api.job(&job)?;
        Ok((job["restored_checkpoint"].is_u64() && job["status"] == "RUNNING").then_some(()))
    })
    .unwrap();
    server.api.savepoint(&job, "stop", "{}").unwrap();
    let mut numbers: Vec<u64> = committed_lines(&out).unwrap().iter().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.len() >= published);
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "no number is missing, and none is there twice");
}

#[test]
fn a_shutdown_without_time_takes_no_checkpoint() {
    let dir = Checkout::current().fresh_dir("tests/shutdown-at-once").unwrap();
    let out = dir.join("out");
    let arguments = ["--shutdown-timeout", "0s"];
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &arguments).unwrap();
    let job = submit_numbers(&server, &out, 0);
    terminate(server);
    let stored = stored_job(&dir, &job);
    assert_eq!((&stored["status"], stored["last_checkpoint"].is_null()), (&"SUSPENDED".into(), true), "{stored}");
    assert_eq!(committed_lines(&out).unwrap_or_default(), [""; 0]);
}

/// A timer that registers itself for its own time fires once per watermark. Barriers and the end of the input get through.
#[test]
fn a_timer_that_registers_itself_for_its_own_time_stops_neither_barriers_nor_the_input() {
    let (server, dir) = Server::start_fresh("own-time").unwrap();
    let component = fs::read(Checkout::current().component("event-time").unwrap()).unwrap();
    server.api.push(&component, Some("event-time@1")).unwrap().ok().unwrap();
    // The timer at 5 registers itself, up to time 5, with each firing.
    let records: String = (10..200).map(|time| format!("b,event 100000,{time}\n")).collect();
    fs::write(dir.join("records.csv"), format!("a,repeats 0 5,1\na,event 5,2\n{records}")).unwrap();
    let path = dir.display();
    let pipeline = format!(
        "name = \"own-time\"\n[checkpoint]\ninterval = \"100ms\"\n[batch]\nrecords = 10\n\
         [source.records]\nconnector = \"file\"\npath = \"{path}/records.csv\"\nformat = \"csv\"\nheader = false\n\
         timestamp = {{ column = 2, format = \"unix-ms\" }}\nwatermark = \"ascending\"\nrate = 400\n\
         [operator.op]\ninput = \"records\"\nkey = {{ column = 0 }}\ncomponent = \"event-time@1\"\n\
         function = \"timers\"\n[sink.out]\ninput = \"op\"\nconnector = \"file\"\npath = \"{path}/out\"\n"
    );
    let job = server.api.submit_ok(&pipeline).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    let lines = committed_lines(&dir.join("out")).unwrap();
    let repeated = lines.iter().filter(|line| line.contains("a,event,5")).count();
    assert!((2..=200).contains(&repeated), "the timer fired {repeated} times: {job}");
    assert_eq!(lines.iter().filter(|line| line.contains("b,event,100000")).count(), 1);
}
