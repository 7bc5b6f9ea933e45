//! What is heard while an attempt still restores. Each test hangs where its message is not heard.

use super::super::schedule::Request;
use super::super::view::SavepointFormat;
use super::*;
use crate::runtime::BarrierKind;

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_and_a_shutdown_end_a_restore() {
    for (command, expected) in [(Command::Cancel, AttemptEnd::Cancelled), (Command::Shutdown, AttemptEnd::Shutdown)] {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let interrupt = Interrupt::default();
        sender.send(Message::Command(command)).unwrap();
        let restoring = || {
            wait_until(|| interrupt.is_set());
            interrupt.check().map(|()| Started::Finished)
        };
        let (started, heard) = start_and_listen((&sender, &receiver), &interrupt, restoring);
        assert_eq!(started.err().unwrap().code, "interrupted");
        let end = heard.iter().find_map(end_asked_for).unwrap();
        assert_eq!(std::mem::discriminant(&end), std::mem::discriminant(&expected));
    }
}

#[test]
fn requests_that_come_during_a_restore_are_answered_later() {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let interrupt = Interrupt::default();
    let request = |id: &str| {
        let kind = BarrierKind::Savepoint;
        Message::Command(Command::Take(Request { request_id: id.into(), kind, format: SavepointFormat::Canonical }))
    };
    sender.send(request("first")).unwrap();
    sender.send(Message::Command(Command::Stop)).unwrap();
    sender.send(request("second")).unwrap();
    let restoring = || {
        wait_until(|| receiver.is_empty());
        Ok(Started::Finished)
    };
    let (started, heard) = start_and_listen((&sender, &receiver), &interrupt, restoring);
    assert!(started.is_ok() && !interrupt.is_set());
    let asked = heard.iter().map(|message| match message {
        Message::Command(Command::Take(request)) => &request.request_id[..],
        Message::Command(Command::Stop) => "stop",
        _ => "",
    });
    assert_eq!(asked.collect::<Vec<_>>(), ["first", "stop", "second"]);
}

#[test]
fn an_attempt_that_begins_does_not_hide_that_the_job_is_to_end() {
    for (before, after) in [
        (JobStatus::Created, JobStatus::Running),
        (JobStatus::Restarting, JobStatus::Running),
        (JobStatus::Restoring, JobStatus::Running),
        (JobStatus::Stopping, JobStatus::Stopping),
        (JobStatus::Cancelling, JobStatus::Cancelling),
        (JobStatus::Cancelled, JobStatus::Cancelled),
    ] {
        let mut status = before;
        status.advance(JobStatus::Running);
        assert_eq!(status, after, "from {before:?}");
    }
}
