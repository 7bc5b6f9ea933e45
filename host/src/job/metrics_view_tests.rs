//! Event-time progress as a job shows it, with an input that sends no records.

use std::io::Write;
use std::net::TcpListener;

use super::testing::{TestHost, wait};
use super::view::{JobDetail, JobStatus, OperatorDetail, SubtaskWatermark};

fn node<'a>(job: &'a JobDetail, id: &str) -> &'a OperatorDetail {
    job.operators.iter().find(|node| node.id == id).unwrap()
}

#[test]
fn event_time_advances_beside_an_idle_source() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let test = TestHost::new();
    let host = test.open();
    let pipeline_text = format!(
        "name = \"two\"\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\nparallelism = 2\n\
         timestamp = {{ column = 0, format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
         [source.silent]\nconnector = \"socket\"\naddress = \"{address}\"\n\
         watermark = {{ out_of_orderness = \"0s\", idle_after = \"1ms\" }}\n\
         [sink.out]\ninputs = [\"numbers\", \"silent\"]\nconnector = \"blackhole\"\n"
    );
    let id = test.submit_pipeline(&host, pipeline_text);
    let (mut server, _) = listener.accept().unwrap();
    let idle = SubtaskWatermark { watermark_ms: None, idle: true };
    let job = wait(&host, &id, |job| {
        node(job, "out").watermark_ms() > Some(1000) && node(job, "silent").watermarks == [idle]
    });
    assert_eq!(node(&job, "numbers").watermarks.len(), 2);
    assert!(node(&job, "silent").is_idle() && !node(&job, "out").is_idle());

    // After a record the source is active again. It does not hold back event time.
    server.write_all(b"a line\n").unwrap();
    let job = wait(&host, &id, |job| node(job, "silent").records_in == 1);
    let before = node(&job, "out").watermark_ms();
    wait(&host, &id, |job| node(job, "out").watermark_ms() > before.map(|ms| ms + 1000));
    host.cancel(&id).unwrap();
    wait(&host, &id, |job| job.summary.status == JobStatus::Canceled);
}
