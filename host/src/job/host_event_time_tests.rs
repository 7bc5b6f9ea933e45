//! Event time as a job shows it, with an input that says nothing.

use std::io::Write;
use std::net::TcpListener;

use super::super::view::{OperatorDetail, SubtaskWatermark};
use super::tests::{Subject, wait};
use super::*;

fn node<'a>(job: &'a JobDetail, id: &str) -> &'a OperatorDetail {
    job.operators.iter().find(|node| node.id == id).unwrap()
}

#[test]
fn event_time_goes_on_beside_a_silent_source() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let subject = Subject::new();
    let host = subject.open();
    let manifest = format!(
        "name = \"two\"\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\nparallelism = 2\n\
         timestamp = {{ column = 0, format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
         [source.silent]\nconnector = \"socket\"\naddress = \"{address}\"\n\
         watermark = {{ out_of_orderness = \"0s\", idle_after = \"1ms\" }}\n\
         [sink.out]\ninputs = [\"numbers\", \"silent\"]\nconnector = \"blackhole\"\n"
    );
    let id = subject.submit_manifest(&host, manifest);
    let (mut server, _) = listener.accept().unwrap();
    let idle = SubtaskWatermark { watermark_ms: None, idle: true };
    let job = wait(&host, &id, |job| {
        node(job, "out").watermark_ms() > Some(1000) && node(job, "silent").watermarks == [idle]
    });
    assert_eq!(node(&job, "numbers").watermarks.len(), 2);
    assert!(node(&job, "silent").is_idle() && !node(&job, "out").is_idle());

    // What it says then holds nobody up: it is behind.
    server.write_all(b"a line\n").unwrap();
    let job = wait(&host, &id, |job| node(job, "silent").records_in == 1);
    let before = node(&job, "out").watermark_ms();
    wait(&host, &id, |job| node(job, "out").watermark_ms() > before.map(|ms| ms + 1000));
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Cancelled);
}
