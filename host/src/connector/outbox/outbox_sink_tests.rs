//! The sink of a subtask: where its parts are, and when it waits.

use std::path::Path;

use super::committable::{self, PartContent};
use super::fake_connector::ValueEncoder;
use super::outbox_sink::{OutboxSettings, OutboxSink};
use crate::connector::context::ConnectorContext;
use crate::connector::sink::Sink;
use crate::connector::testing::{context, subtask_of};
use crate::model::{Batch, NO_TIMESTAMP};

fn sink(context: &ConnectorContext, max_backlog: u64) -> OutboxSink {
    let settings = OutboxSettings { target: "the topic".into(), max_backlog };
    OutboxSink::open(settings, Box::new(ValueEncoder), context)
}

fn batch(bytes: usize) -> Batch {
    let mut batch = Batch::default();
    batch.push(&vec![b'x'; bytes], NO_TIMESTAMP);
    batch
}

fn files(folder: &Path) -> usize {
    folder.read_dir().map_or(0, Iterator::count)
}

#[test]
fn small_parts_are_in_the_checkpoint_and_together_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let context = subtask_of(context(folder.path()), 1, 2);
    let mut sink = sink(&context, 0);
    assert!(sink.prepare(1).unwrap().committable.is_none(), "nothing was written");
    let mut contents = Vec::new();
    for checkpoint in 2..6 {
        sink.write(&batch(15_000)).unwrap();
        let prepared = sink.prepare(checkpoint).unwrap();
        contents = committable::decode(&[prepared.committable.unwrap()], "delays").unwrap().parts;
        let in_files = contents.iter().filter(|part| matches!(part.content, PartContent::File(_))).count();
        assert_eq!(prepared.files.len(), in_files);
        assert_eq!(files(&context.working_dir), in_files);
    }
    let is_inline: Vec<bool> = contents.iter().map(|part| matches!(part.content, PartContent::Inline(_))).collect();
    assert_eq!(is_inline, [true, true, false, false], "half of 64 KiB for each of two subtasks");
    assert_eq!(contents[2].content, PartContent::File("part-00000004-001.outbox".into()));
    context.progress.set_published(4);
    let prepared = sink.prepare(6).unwrap();
    assert_eq!((prepared.files.len(), files(&context.working_dir)), (1, 1), "published parts are gone");
    drop(prepared);
    context.progress.set_published(6);
    assert!(sink.prepare(7).unwrap().committable.is_none());
    assert_eq!(files(&context.working_dir), 0);
}

#[test]
fn a_published_part_stays_until_every_upload_has_stored_it() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let mut sink = sink(&context, 0);
    sink.write(&batch(70_000)).unwrap();
    let checkpoint = sink.prepare(1).unwrap();
    let savepoint = sink.prepare(2).unwrap();
    drop(checkpoint);
    context.progress.set_published(1);
    assert!(sink.prepare(3).unwrap().committable.is_none(), "the part is published");
    drop(sink);
    assert_eq!(savepoint.files[0].file.metadata().unwrap().len() / 70_000, 1, "the savepoint names the part, too");
    drop(savepoint);
    assert_eq!(files(&context.working_dir), 0);
}

#[test]
fn a_full_sink_waits_for_the_publication_and_hears_a_cancel() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let mut sink = sink(&context, 50_000);
    sink.write(&batch(60_000)).unwrap();
    sink.write(&batch(60_000)).unwrap();
    sink.prepare(1).unwrap();
    context.progress.set_backlog_bytes(120_000);
    assert!(context.progress.is_full());
    context.progress.let_pass(2);
    sink.write(&batch(10)).unwrap();
    sink.prepare(2).unwrap();
    let progress = context.progress.clone();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| sink.write(&batch(10)));
        progress.set_published(2);
        progress.set_backlog_bytes(0);
        write.join().unwrap().unwrap();
    });
    context.progress.set_backlog_bytes(120_000);
    context.interrupt.set();
    assert_eq!(sink.write(&batch(10)).unwrap_err().code, "interrupted");
    drop(sink);
    context.progress.set_backlog_bytes(1);
    assert!(!context.progress.is_full(), "a sink that has ended holds nothing");
}
