//! The crash table of the outbox: wherever the process or the peer fails, each record becomes visible once and in order.

use std::fs::{self, File};
use std::path::PathBuf;

use super::committer::OutboxCommitter;
use super::fake_connector::ValueEncoder;
use super::fake_peer::{ALL_STEPS, FakePeer, PeerFault, PeerStep};
use super::outbox_sink::{OutboxSettings, OutboxSink};
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, OutputFiles, Recovered, Sink, SinkOutput};
use crate::connector::testing::{context, no_missing, subtask_of, wait_until};
use crate::error::{Result, checkpoint_corrupt};
use crate::model::{Batch, NO_TIMESTAMP};

const JOB: &str = "0123456789abcdef";
const IDENTITY: &str = "cofferdam.0123456789abcdef.delays";

/// A job with a sink that publishes to a peer, and the files of its checkpoints.
struct Outbox {
    folder: tempfile::TempDir,
    peer: FakePeer,
    context: ConnectorContext,
    /// Bytes that follow each value, so that a part becomes a file.
    padding: usize,
}

/// What a checkpoint holds.
#[derive(Clone)]
struct CheckpointImage {
    job_id: String,
    checkpoint: u64,
    committables: Vec<Vec<u8>>,
    files: StoredParts,
}

#[derive(Clone)]
struct StoredParts(PathBuf);

impl OutputFiles for StoredParts {
    fn open(&self, name: &str) -> Result<File> {
        File::open(self.0.join(name)).map_err(|cause| checkpoint_corrupt(format!("{name}: {cause}")))
    }
}

impl CheckpointImage {
    fn output(&self) -> SinkOutput<'_> {
        let committables = self.committables.clone();
        SinkOutput { job_id: &self.job_id, checkpoint: self.checkpoint, committables, files: &self.files }
    }

    /// The same checkpoint once it is recorded that its output is published.
    fn published(&self) -> SinkOutput<'_> {
        SinkOutput { committables: Vec::new(), ..self.output() }
    }
}

impl Outbox {
    fn new(padding: usize) -> Outbox {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("stored")).unwrap();
        let context = context(folder.path());
        Outbox { folder, peer: FakePeer::new("the topic"), context, padding }
    }

    fn sink(&self, subtask: u32, parallelism: u32) -> OutboxSink {
        let context = subtask_of(self.context.clone(), subtask, parallelism);
        let working_dir = self.folder.path().join(format!("working-{subtask}"));
        let settings = OutboxSettings { target: "the topic".into(), max_backlog: 1 << 30 };
        OutboxSink::open(settings, Box::new(ValueEncoder), &ConnectorContext { working_dir, ..context })
    }

    /// A committer without memory, as after a restart.
    fn committer(&self) -> OutboxCommitter {
        OutboxCommitter::new(Box::new(self.peer.clone()), &self.context)
    }

    fn write(&self, sink: &mut OutboxSink, values: &[&str]) {
        let mut batch = Batch::default();
        values.iter().for_each(|value| batch.push(self.padded(value).as_bytes(), NO_TIMESTAMP));
        sink.write(&batch).unwrap();
    }

    fn padded(&self, value: &str) -> String {
        format!("{value}{}", ".".repeat(self.padding))
    }

    /// Takes a checkpoint of these subtasks.
    fn image(&self, checkpoint: u64, sinks: &mut [&mut OutboxSink]) -> CheckpointImage {
        let stored = self.folder.path().join("stored");
        let mut committables = Vec::new();
        for sink in sinks {
            let prepared = sink.prepare(checkpoint).unwrap();
            committables.extend(prepared.committable);
            for file in prepared.files {
                let _ = fs::hard_link(&**file.file, stored.join(&file.name));
            }
        }
        CheckpointImage { job_id: JOB.into(), checkpoint, committables, files: StoredParts(stored) }
    }

    /// Writes values and takes a checkpoint behind them.
    fn epoch(&self, sink: &mut OutboxSink, checkpoint: u64, values: &[&str]) -> CheckpointImage {
        self.write(sink, values);
        self.image(checkpoint, &mut [sink])
    }

    fn assert_visible(&self, values: &[&str], why: &str) {
        let expected: Vec<String> = values.iter().map(|value| self.padded(value)).collect();
        assert_eq!(self.peer.visible(), expected, "{why}");
        assert!(!self.peer.has_open_transaction(), "{why}");
    }
}

/// Calls a test with parts in the committable, and with parts in files.
fn on_each_storage(test: impl Fn(&Outbox)) {
    for padding in [0, 100_000] {
        test(&Outbox::new(padding));
    }
}

/// Starts a job whose first epoch is published.
fn started(outbox: &Outbox) -> (OutboxSink, OutboxCommitter) {
    let mut committer = outbox.committer();
    assert_eq!(committer.recover(None).unwrap(), no_missing());
    assert_eq!(outbox.peer.marker(IDENTITY), Some(0), "the marker exists before the sources start");
    let mut sink = outbox.sink(0, 1);
    let first = outbox.epoch(&mut sink, 1, &["a", "b"]);
    committer.commit(&first.output()).unwrap();
    outbox.assert_visible(&["a", "b"], "the first epoch");
    (sink, committer)
}

#[test]
fn nothing_of_an_incomplete_checkpoint_reaches_the_peer() {
    on_each_storage(|outbox| {
        let (mut sink, committer) = started(outbox);
        let first = outbox.image(1, &mut []);
        outbox.epoch(&mut sink, 2, &["c"]);
        drop((sink, committer));
        assert_eq!(outbox.committer().recover(Some(&first.published())).unwrap(), no_missing());
        outbox.assert_visible(&["a", "b"], "killed before the checkpoint was complete");
        // The records are read again.
        let mut sink = outbox.sink(0, 1);
        let third = outbox.epoch(&mut sink, 3, &["c"]);
        outbox.committer().commit(&third.output()).unwrap();
        outbox.assert_visible(&["a", "b", "c"], "read again");
    });
}

#[test]
fn a_kill_at_any_step_of_a_publication_neither_loses_nor_doubles() {
    on_each_storage(|outbox| {
        for step in ALL_STEPS {
            let outbox = &Outbox::new(outbox.padding);
            let (mut sink, committer) = started(outbox);
            drop(committer);
            let second = outbox.epoch(&mut sink, 2, &["c", "d"]);
            outbox.peer.fail([(step, PeerFault::Kill)]);
            outbox.committer().commit(&second.output()).unwrap_err();
            assert_eq!(outbox.peer.faults_left(), 0, "{step:?}");
            for _ in 0..2 {
                assert_eq!(outbox.committer().recover(Some(&second.output())).unwrap(), no_missing(), "{step:?}");
                outbox.assert_visible(&["a", "b", "c", "d"], &format!("{step:?}"));
            }
            assert_eq!(outbox.peer.marker(IDENTITY), Some(2));
        }
    });
}

#[test]
fn a_kill_at_any_step_of_a_recovery_neither_loses_nor_doubles() {
    on_each_storage(|outbox| {
        for step in ALL_STEPS {
            let outbox = &Outbox::new(outbox.padding);
            let (mut sink, committer) = started(outbox);
            drop(committer);
            let second = outbox.epoch(&mut sink, 2, &["c"]);
            outbox.peer.fail([(step, PeerFault::Kill)]);
            outbox.committer().recover(Some(&second.output())).unwrap_err();
            assert_eq!(outbox.committer().recover(Some(&second.output())).unwrap(), no_missing(), "{step:?}");
            outbox.assert_visible(&["a", "b", "c"], &format!("{step:?}"));
        }
        // The first start writes the marker alone.
        for step in ALL_STEPS.into_iter().filter(|step| *step != PeerStep::Produce) {
            let outbox = &Outbox::new(outbox.padding);
            outbox.peer.fail([(step, PeerFault::Kill)]);
            outbox.committer().recover(None).unwrap_err();
            started(outbox);
        }
    });
}

#[test]
fn a_peer_that_is_away_or_fences_at_any_step_is_tried_again() {
    on_each_storage(|outbox| {
        for step in ALL_STEPS {
            for fault in [PeerFault::Away, PeerFault::Fenced] {
                let outbox = &Outbox::new(outbox.padding);
                let (mut sink, committer) = started(outbox);
                drop(committer);
                let second = outbox.epoch(&mut sink, 2, &["c", "d"]);
                outbox.peer.fail([(step, fault), (PeerStep::Connect, PeerFault::Away)]);
                let mut committer = outbox.committer();
                committer.commit(&second.output()).unwrap();
                outbox.assert_visible(&["a", "b", "c", "d"], &format!("{step:?} {fault:?}"));
                assert_eq!(outbox.context.progress.trouble(), None, "the trouble has ended");
                assert_eq!(outbox.context.progress.published(), Some(2));
            }
        }
    });
}

#[test]
fn the_first_marker_is_written_although_the_peer_fails() {
    for step in ALL_STEPS.into_iter().filter(|step| *step != PeerStep::Produce) {
        let outbox = Outbox::new(0);
        outbox.peer.fail([(step, PeerFault::Away)]);
        started(&outbox);
    }
}

#[test]
fn three_fences_in_a_row_are_an_error() {
    let outbox = Outbox::new(0);
    let (mut sink, mut committer) = started(&outbox);
    let second = outbox.epoch(&mut sink, 2, &["c"]);
    outbox.peer.fail([(PeerStep::Begin, PeerFault::Fenced); 3]);
    assert_eq!(committer.commit(&second.output()).unwrap_err().code, "sink-fenced");
    outbox.peer.fail([(PeerStep::Begin, PeerFault::Fenced); 2]);
    committer.commit(&second.output()).unwrap();
    outbox.assert_visible(&["a", "b", "c"], "two fences are an accident");
}

#[test]
fn a_process_that_wakes_up_after_its_successor_took_over_publishes_nothing() {
    on_each_storage(|outbox| {
        let (mut sink, mut zombie) = started(outbox);
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        let mut successor = outbox.committer();
        successor.recover(Some(&second.output())).unwrap();
        zombie.commit(&second.output()).unwrap();
        outbox.assert_visible(&["a", "b", "c"], "the zombie finds the marker");
        let third = outbox.epoch(&mut sink, 3, &["d"]);
        successor.commit(&third.output()).unwrap();
        outbox.assert_visible(&["a", "b", "c", "d"], "the successor goes on");
        zombie.commit(&second.output()).unwrap();
        let fifth = outbox.epoch(&mut sink, 5, &["e"]);
        successor.commit(&fifth.output()).unwrap();
        let late = CheckpointImage { checkpoint: 4, ..fifth.clone() };
        assert_eq!(zombie.commit(&late.output()).unwrap_err().code, "sink-fenced", "somebody else is ahead");
        outbox.assert_visible(&["a", "b", "c", "d", "e"], "nothing is doubled");
    });
}

#[test]
fn parts_of_a_failed_checkpoint_belong_to_the_next_one() {
    on_each_storage(|outbox| {
        let (mut sink, mut committer) = started(outbox);
        outbox.epoch(&mut sink, 2, &["c"]);
        let third = outbox.epoch(&mut sink, 3, &["d"]);
        committer.commit(&third.output()).unwrap();
        outbox.assert_visible(&["a", "b", "c", "d"], "in order");
        assert!(outbox.image(4, &mut [&mut sink]).committables.is_empty(), "published parts are named no more");
    });
}

#[test]
fn checkpoints_may_complete_in_another_order() {
    on_each_storage(|outbox| {
        let (mut sink, mut committer) = started(outbox);
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        let third = outbox.epoch(&mut sink, 3, &["d"]);
        committer.commit(&third.output()).unwrap();
        committer.commit(&second.output()).unwrap();
        outbox.assert_visible(&["a", "b", "c", "d"], "the third contains the second");
    });
}

#[test]
fn parts_are_published_by_checkpoint_and_then_by_subtask() {
    on_each_storage(|outbox| {
        outbox.committer().recover(None).unwrap();
        let (mut first, mut second) = (outbox.sink(0, 2), outbox.sink(1, 2));
        outbox.write(&mut second, &["b"]);
        outbox.write(&mut first, &["a"]);
        outbox.image(1, &mut [&mut first, &mut second]);
        outbox.write(&mut second, &["d"]);
        outbox.write(&mut first, &["c"]);
        let image = outbox.image(2, &mut [&mut second, &mut first]);
        drop((first, second));
        // The job restores with another parallelism: the parts keep their names.
        outbox.committer().recover(Some(&image.output())).unwrap();
        outbox.assert_visible(&["a", "b", "c", "d"], "in order");
    });
}

#[test]
fn an_older_checkpoint_than_the_published_one_is_ahead() {
    on_each_storage(|outbox| {
        let (mut sink, mut committer) = started(outbox);
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        let third = outbox.epoch(&mut sink, 3, &["d"]);
        committer.commit(&third.output()).unwrap();
        for output in [second.output(), second.published()] {
            assert_eq!(outbox.committer().recover(Some(&output)).unwrap(), Recovered::Ahead { published: 3 });
        }
        assert_eq!(outbox.committer().recover(None).unwrap(), Recovered::Ahead { published: 3 });
        outbox.assert_visible(&["a", "b", "c", "d"], "nothing is published again");
    });
}

#[test]
fn nobody_guesses_after_a_lost_marker() {
    on_each_storage(|outbox| {
        let (mut sink, committer) = started(outbox);
        drop(committer);
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        outbox.peer.lose_markers();
        assert_eq!(outbox.committer().recover(Some(&second.output())).unwrap(), Recovered::Unknown);
        outbox.assert_visible(&["a", "b"], "nothing is published");
        // The storage knows that the checkpoint is published.
        assert_eq!(outbox.committer().recover(Some(&second.published())).unwrap(), no_missing());
        assert_eq!(outbox.peer.marker(IDENTITY), Some(2), "the marker exists again");
        outbox.assert_visible(&["a", "b"], "nothing is published");
    });
}

#[test]
fn a_marker_that_expires_while_the_job_runs_does_not_matter() {
    on_each_storage(|outbox| {
        let (mut sink, mut committer) = started(outbox);
        outbox.peer.lose_markers();
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        committer.commit(&second.output()).unwrap();
        outbox.peer.lose_markers();
        let third = outbox.epoch(&mut sink, 3, &["d"]);
        outbox.peer.fail([(PeerStep::Begin, PeerFault::Away)]);
        let error = committer.commit(&third.output()).unwrap_err();
        assert_eq!(error.code, "sink-marker-lost", "lost while a publication is open");
        outbox.assert_visible(&["a", "b", "c"], "nothing is doubled");
    });
}

/// A committer of another job for the same node.
fn committer_of_another_job(outbox: &Outbox, target: &str) -> OutboxCommitter {
    let context = ConnectorContext { job_id: "another".to_owned(), ..outbox.context.clone() };
    let peer = outbox.peer.clone();
    OutboxCommitter::new(Box::new(peer.with_target(target)), &context)
}

#[test]
fn another_job_publishes_what_a_checkpoint_promised() {
    on_each_storage(|outbox| {
        for step in [None].into_iter().chain(ALL_STEPS.map(Some)) {
            let outbox = &Outbox::new(outbox.padding);
            let (mut sink, mut owner) = started(outbox);
            let second = outbox.epoch(&mut sink, 2, &["c"]);
            let mut other = committer_of_another_job(outbox, "the topic");
            other.recover(None).unwrap();
            outbox.peer.fail(step.map(|step| (step, PeerFault::Kill)));
            if step.is_some() {
                other.adopt(&second.output(), false).unwrap_err();
                other = committer_of_another_job(outbox, "the topic");
            }
            assert_eq!(other.adopt(&second.output(), false).unwrap(), no_missing());
            outbox.assert_visible(&["a", "b", "c"], &format!("{step:?}"));
            // The owner still runs. It is fenced once, and finds the marker.
            owner.commit(&second.output()).unwrap();
            outbox.assert_visible(&["a", "b", "c"], &format!("{step:?}"));
            let third = outbox.epoch(&mut sink, 3, &["d"]);
            owner.commit(&third.output()).unwrap();
            assert_eq!(other.adopt(&second.output(), false).unwrap(), Recovered::Ahead { published: 3 });
            assert_eq!(other.adopt(&second.published(), false).unwrap(), Recovered::Ahead { published: 3 });
            outbox.assert_visible(&["a", "b", "c", "d"], &format!("{step:?}"));
        }
    });
}

#[test]
fn another_job_asks_a_person_if_the_marker_is_lost() {
    on_each_storage(|outbox| {
        let (mut sink, _owner) = started(outbox);
        let second = outbox.epoch(&mut sink, 2, &["c"]);
        outbox.peer.lose_markers();
        let mut other = committer_of_another_job(outbox, "the topic");
        assert_eq!(other.adopt(&second.output(), false).unwrap(), Recovered::Unknown);
        assert_eq!(other.adopt(&second.published(), false).unwrap(), no_missing());
        outbox.assert_visible(&["a", "b"], "nothing is guessed");
        for _ in 0..2 {
            assert_eq!(other.adopt(&second.output(), true).unwrap(), no_missing());
            outbox.assert_visible(&["a", "b", "c"], "what was published before is not published again");
        }
    });
}

#[test]
fn promised_records_are_not_published_elsewhere() {
    let outbox = Outbox::new(0);
    let (mut sink, _owner) = started(&outbox);
    let second = outbox.epoch(&mut sink, 2, &["c"]);
    let error = committer_of_another_job(&outbox, "another topic").adopt(&second.output(), false).unwrap_err();
    assert_eq!(error.code, "sink-changed");
    assert!(error.message.contains("the topic") && error.message.contains("another topic"), "{error}");
    let of_files = CheckpointImage { committables: vec![vec![2, 0, 0]], ..second };
    assert_eq!(outbox.committer().recover(Some(&of_files.output())).unwrap_err().code, "sink-changed");
}

#[test]
fn an_interrupt_ends_the_wait_for_a_peer() {
    let outbox = Outbox::new(0);
    let (mut sink, mut committer) = started(&outbox);
    let second = outbox.epoch(&mut sink, 2, &["c"]);
    outbox
        .peer
        .fail([(PeerStep::Begin, PeerFault::Away)].into_iter().chain([(PeerStep::Connect, PeerFault::Away); 1000]));
    let interrupt = outbox.context.interrupt.clone();
    let progress = outbox.context.progress.clone();
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| committer.commit(&second.output()));
        wait_until("the trouble is shown", || progress.trouble());
        interrupt.set();
        assert_eq!(commit.join().unwrap().unwrap_err().code, "interrupted");
    });
}

#[test]
fn damaged_parts_are_not_published() {
    let outbox = Outbox::new(100_000);
    let (mut sink, mut committer) = started(&outbox);
    let second = outbox.epoch(&mut sink, 2, &["c"]);
    let part = outbox.folder.path().join("stored/part-00000002-000.outbox");
    let mut bytes = fs::read(&part).unwrap();
    fs::remove_file(&part).unwrap();
    assert_eq!(committer.commit(&second.output()).unwrap_err().code, "checkpoint-corrupt");
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&part, &bytes).unwrap();
    assert_eq!(committer.commit(&second.output()).unwrap_err().code, "checkpoint-corrupt");
    outbox.peer.fail([]);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&part, &bytes).unwrap();
    committer.commit(&second.output()).unwrap();
    outbox.assert_visible(&["a", "b", "c"], "once");
}
