//! Writes the dead letters that the host keeps. A file sink in the job's folder does the work, so that letters are published
//! exactly once.
//!
//! Invariant: a committable of letters begins with a byte of its own. A job that starts from another job's checkpoint copies
//! letters instead of publishing them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::access::AccessPolicy;
use crate::connector::context::ConnectorContext;
use crate::connector::file::{FileCommitter, FileSink};
use crate::connector::sink::{Committer, Prepared, Recovered, Sink, SinkOutput};
use crate::error::{Result, checkpoint_corrupt, dead_letters_full};
use crate::format::RecordEncoder;
use crate::model::Batch;
use crate::namespace_usage::Charge;
use crate::pipeline::EncodingSettings;

/// First byte of a committable of letters.
const LETTERS: u8 = b'L';

/// The limit of a job's kept letters, shared by all its subtasks. They are charged to the namespace, too.
#[derive(Clone, Debug)]
pub struct LetterQuota {
    limit_bytes: u64,
    used: Arc<Charge>,
}

impl LetterQuota {
    /// Creates a limit of what `used` has charged.
    pub fn new(limit_bytes: u64, used: Arc<Charge>) -> LetterQuota {
        LetterQuota { limit_bytes, used }
    }

    /// Frees the bytes of letters that were removed.
    pub fn free(&self, bytes: u64) {
        self.used.sub(bytes);
    }

    /// Errors: `dead-letters-full`, `quota-exceeded`.
    fn use_up(&self, bytes: u64, node: &str) -> Result<()> {
        if self.used.add(bytes) <= self.limit_bytes {
            return self.used.check().map_err(|error| error.context(format!("dead letters of `{node}`")));
        }
        let limit = self.limit_bytes;
        Err(dead_letters_full(format!("`{node}`: the dead letters of the job would exceed {limit} bytes")).hint(
            "replay or discard letters, raise `limit` in [dead_letters], or send them to a sink: input = \"ID.dead-letter\"",
        ))
    }
}

impl Default for LetterQuota {
    fn default() -> Self {
        LetterQuota::new(u64::MAX, Arc::default())
    }
}

/// Writes the letters of one subtask.
struct LetterSink {
    sink: FileSink,
    quota: LetterQuota,
    node: String,
}

/// Opens the sink of one subtask. Error: `sink-unwritable`.
pub fn open_letter_sink(folder: &Path, quota: LetterQuota, context: &ConnectorContext) -> Result<Box<dyn Sink>> {
    let encoder = RecordEncoder::new(EncodingSettings::default());
    let sink = FileSink::open(folder, encoder, &in_folder_of_the_host(context))?;
    Ok(Box::new(LetterSink { sink, quota, node: context.node.clone() }))
}

impl Sink for LetterSink {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.quota.use_up((batch.values.bytes().len() + batch.len()) as u64, &self.node)?;
        self.sink.write(batch)
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Prepared> {
        let prepared = self.sink.prepare(checkpoint)?;
        let committable = prepared.committable.map(|parts| [&[LETTERS], &parts[..]].concat());
        Ok(Prepared { committable, ..prepared })
    }

    fn flush(&mut self) -> Result<()> {
        // Letters are shown once they are in a checkpoint.
        Ok(())
    }
}

/// Returns whether a committable of a checkpoint belongs to kept letters, and not to a sink.
pub fn is_letter_committable(committable: &[u8]) -> bool {
    committable.first() == Some(&LETTERS)
}

/// Publishes the letters of one node.
struct LetterCommitter(FileCommitter);

/// Returns the committer of a node's letters. It ignores the subtask of `context`.
pub fn letter_committer(folder: PathBuf, context: &ConnectorContext) -> Box<dyn Committer> {
    Box::new(LetterCommitter(FileCommitter::new(&folder, &in_folder_of_the_host(context))))
}

/// The host chose the folder, so that the policy for pipelines does not apply.
fn in_folder_of_the_host(context: &ConnectorContext) -> ConnectorContext {
    ConnectorContext { policy: AccessPolicy::default(), ..context.clone() }
}

/// Returns the output of the sink that does the work.
fn parts<'a>(output: &SinkOutput<'a>) -> Result<SinkOutput<'a>> {
    let part = |committable: &Vec<u8>| match committable.split_first() {
        Some((&LETTERS, parts)) => Ok(parts.to_vec()),
        _ => Err(checkpoint_corrupt("a committable of dead letters has an unknown form")),
    };
    let committables = output.committables.iter().map(part).collect::<Result<_>>()?;
    Ok(SinkOutput { committables, ..*output })
}

impl Committer for LetterCommitter {
    fn commit(&mut self, output: &SinkOutput<'_>) -> Result<()> {
        self.0.commit(&parts(output)?)
    }

    fn recover(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        // A part may be missing because its letters were replayed or discarded.
        let restored = restored.map(parts).transpose()?;
        self.0.recover(restored.as_ref())?;
        Ok(Recovered::Done { missing: Vec::new() })
    }

    fn adopt(&mut self, _output: &SinkOutput<'_>, _assume_lost: bool) -> Result<Recovered> {
        Ok(Recovered::Done { missing: Vec::new() })
    }

    fn discard(&mut self) -> Result<()> {
        self.0.discard()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::dead_letters::LetterStore;
    use crate::connector::testing::{context, finished, no_missing, output};
    use crate::model::NO_TIMESTAMP;

    fn letter(text: &str) -> Batch {
        let mut batch = Batch::default();
        batch.push(text.as_bytes(), NO_TIMESTAMP);
        batch
    }

    #[test]
    fn letters_are_kept_with_their_checkpoint_and_withdrawn_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters");
        let context = context(folder.path());
        let mut sink = open_letter_sink(&path, LetterQuota::default(), &context).unwrap();
        let committer = || letter_committer(path.clone(), &context);
        let count = || LetterStore::new(path.clone()).parts().unwrap().len();
        sink.write(&letter("{\"n\":1}")).unwrap();
        let first = vec![finished(sink.prepare(1).unwrap()).unwrap()];
        assert!(is_letter_committable(&first[0]));
        assert_eq!(count(), 0, "nothing is shown before the checkpoint is complete");
        committer().commit(&output(1, &first)).unwrap();
        committer().commit(&output(1, &first)).unwrap();
        assert_eq!(count(), 1);
        sink.write(&letter("{\"n\":2}")).unwrap();
        let second = vec![finished(sink.prepare(2).unwrap()).unwrap()];
        committer().recover(Some(&output(1, &first))).unwrap();
        assert_eq!(count(), 1, "the second checkpoint was not complete");
        assert_eq!(
            committer().recover(Some(&output(2, &second))).unwrap(),
            no_missing(),
            "removed letters are no lost output"
        );
        committer().recover(None).unwrap();
        assert_eq!(count(), 0);
        assert_eq!(committer().commit(&output(3, &[b"x".to_vec()])).unwrap_err().code, "checkpoint-corrupt");
        assert_eq!(committer().adopt(&output(2, &second), false).unwrap(), no_missing());
    }

    #[test]
    fn the_limit_is_shared_and_exceeding_it_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (path, context) = (folder.path().join("letters"), context(folder.path()));
        let used = Arc::<Charge>::default();
        used.set(10);
        let quota = LetterQuota::new(30, used);
        let mut sinks: Vec<_> = (0..2).map(|_| open_letter_sink(&path, quota.clone(), &context).unwrap()).collect();
        sinks[0].write(&letter("123456789")).unwrap();
        sinks[1].write(&letter("123456789")).unwrap();
        let error = sinks[0].write(&letter("")).unwrap_err();
        assert_eq!(error.code, "dead-letters-full");
        assert!(error.message.contains("30 bytes"), "{error}");
        quota.free(12);
        sinks[1].write(&letter("1234567")).unwrap();
    }
}
