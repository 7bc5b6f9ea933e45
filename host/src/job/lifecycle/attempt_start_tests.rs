//! Messages that arrive while an attempt is being prepared. A test hangs if its message is not handled.

use super::attempt_end::AttemptEnd;
use super::attempt_start::{PreparedAttempt, prepare_while_listening};
use super::requested_end::requested_end;
use crate::job::message::{JobMessage, RunningJobCommand};
use crate::job::savepoint::CheckpointRequest;
use crate::job::view::SavepointFormat;
use crate::model::Interrupt;
use crate::runtime::BarrierKind;

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

#[test]
fn a_cancel_and_a_shutdown_interrupt_a_restore() {
    for (command, expected) in
        [(RunningJobCommand::Cancel, AttemptEnd::Cancelled), (RunningJobCommand::Shutdown, AttemptEnd::Shutdown)]
    {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (interrupt, other) = (Interrupt::default(), Interrupt::default());
        sender.send(JobMessage::Command(command)).unwrap();
        let prepare = || {
            wait_until(|| interrupt.is_set());
            interrupt.check().map(|()| PreparedAttempt::AlreadyFinished)
        };
        let (prepared, messages) = prepare_while_listening((&sender, &receiver), [&interrupt, &other], prepare);
        assert!(other.is_set());
        assert_eq!(prepared.err().unwrap().code, "interrupted");
        assert_eq!(messages.iter().find_map(requested_end), Some(expected));
    }
}

#[test]
fn requests_that_arrive_during_a_restore_are_kept_in_order() {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let interrupt = Interrupt::default();
    let request = |id: &str| {
        let kind = BarrierKind::Savepoint;
        JobMessage::Command(RunningJobCommand::TakeCheckpoint(CheckpointRequest {
            request_id: id.into(),
            kind,
            format: SavepointFormat::Canonical,
        }))
    };
    sender.send(request("first")).unwrap();
    sender.send(JobMessage::Command(RunningJobCommand::Stop)).unwrap();
    sender.send(request("second")).unwrap();
    let prepare = || {
        wait_until(|| receiver.is_empty());
        Ok(PreparedAttempt::AlreadyFinished)
    };
    let (prepared, messages) = prepare_while_listening((&sender, &receiver), [&interrupt; 2], prepare);
    assert!(prepared.is_ok() && !interrupt.is_set());
    let kinds = messages.iter().map(|message| match message {
        JobMessage::Command(RunningJobCommand::TakeCheckpoint(request)) => &request.request_id[..],
        JobMessage::Command(RunningJobCommand::Stop) => "stop",
        _ => "",
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["first", "stop", "second"]);
}
