//! Publishes the parts of complete checkpoints, and decides after a restore what is published already.

use std::time::Duration;

use super::committable::{self, OutboxPart, PromisedParts};
use super::outbox_sink::identity;
use super::pending_parts::PendingParts;
use super::publisher::{OutboxPeer, Publisher, Trouble};
use crate::connector::context::ConnectorContext;
use crate::connector::sink::{Committer, OutputFiles, Recovered, SinkOutput};
use crate::error::{Error, Result, internal, sink_fenced, sink_marker_lost, sink_unwritable};
use crate::wakeup::Wakeup;

/// Pause after the first trouble. It doubles with each further one in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// So many fences in a row are no accident.
const FENCES_MAX: u32 = 3;

/// The committer of a sink that publishes through the outbox.
pub struct OutboxCommitter {
    peer: Box<dyn OutboxPeer>,
    identity: String,
    context: ConnectorContext,
    /// `None` until it is connected, and after trouble.
    publisher: Option<Box<dyn Publisher>>,
    /// The last epoch that is known to be published.
    published: Option<u64>,
    /// Whether a publication ended without an answer, so that only the marker tells what became of it.
    is_unsure: bool,
    /// Wakes a pause when the job is interrupted.
    wakeup: Wakeup,
}

/// Counts the troubles in a row.
#[derive(Default)]
struct TroubleCount {
    troubles: u32,
    fences: u32,
}

impl OutboxCommitter {
    /// Creates the committer of a sink. It ignores the subtask of `context`.
    pub fn new(peer: Box<dyn OutboxPeer>, context: &ConnectorContext) -> OutboxCommitter {
        let wakeup = Wakeup::default();
        context.interrupt.subscribe(&wakeup);
        OutboxCommitter {
            peer,
            identity: identity(&context.job_id, &context.node),
            context: context.clone(),
            publisher: None,
            published: None,
            is_unsure: false,
            wakeup,
        }
    }

    /// Does `step` until it succeeds. Errors: `interrupted`, `sink-fenced`, and fatal ones.
    fn retry<T>(&mut self, mut step: impl FnMut(&mut OutboxCommitter) -> Result<T, Trouble>) -> Result<T> {
        let mut count = TroubleCount::default();
        loop {
            self.context.interrupt.check()?;
            match step(self) {
                Ok(done) => {
                    self.context.health.healthy();
                    if let Some(trouble) = self.context.progress.end_trouble() {
                        tracing::info!(sink = %self.context.node, "publishes again after: {}", trouble.message);
                    }
                    return Ok(done);
                }
                Err(trouble) => {
                    // Only a new publisher knows what became of the last transaction.
                    self.publisher = None;
                    self.pause_after(trouble, &mut count)?;
                }
            }
        }
    }

    /// Waits before the next try. Returns the error if there is none.
    fn pause_after(&self, trouble: Trouble, count: &mut TroubleCount) -> Result<()> {
        let redacted = |error: Error| self.context.policy.secrets().redact_error(error);
        let error = match trouble {
            Trouble::Fatal(error) => return Err(redacted(error)),
            Trouble::Fenced(error) => {
                let error = redacted(error);
                count.fences += 1;
                if count.fences >= FENCES_MAX {
                    return Err(self.fenced(&error.message));
                }
                error
            }
            Trouble::Retry(error) => redacted(error),
        };
        // The trouble may be the interrupt itself.
        self.context.interrupt.check()?;
        if count.troubles == 0 {
            tracing::warn!(sink = %self.context.node, "cannot publish, and tries again: {error}");
        }
        self.context.health.down(&error.message);
        self.context.progress.note_trouble(error.message, self.context.clock.wall_ms());
        let pause = BACKOFF_MIN.saturating_mul(1 << count.troubles.min(10)).min(BACKOFF_MAX);
        count.troubles = count.troubles.saturating_add(1);
        self.wakeup.wait(pause);
        Ok(())
    }

    fn fenced(&self, why: &str) -> Error {
        sink_fenced(format!("another process publishes as `{}`: {why}", self.identity)).hint(
            "stop the other server, which probably runs with a copy of this data folder; then submit the job with --from its newest checkpoint",
        )
    }

    /// Connects the publisher unless it is connected. Returns the last epoch that is published.
    fn connect(&mut self) -> Result<Option<u64>, Trouble> {
        if self.publisher.is_some() {
            return Ok(self.published);
        }
        fail_point!("outbox.connect", |why| Trouble::Retry(sink_unwritable(why)));
        let mut publisher = self.peer.publisher(&self.identity)?;
        let marker = publisher.last_published()?;
        fail_point!("outbox.connected", |why| Trouble::Retry(sink_unwritable(why)));
        if marker.is_none() && self.published.is_some() && self.is_unsure {
            return Err(Trouble::Fatal(sink_marker_lost(format!(
                "the marker of `{}` was lost while a publication was open, so that its output may be published or not",
                self.identity
            ))));
        }
        self.is_unsure = false;
        self.publisher = Some(publisher);
        // What this process has published stays so, even if the marker has expired since.
        self.published = self.published.max(marker);
        Ok(self.published)
    }

    /// Publishes those of `parts` that belong to epochs behind `after`, with the marker `epoch`. The publisher must be connected.
    fn publish(
        &mut self,
        epoch: u64,
        after: Option<u64>,
        parts: &[OutboxPart],
        files: &dyn OutputFiles,
    ) -> Result<(), Trouble> {
        let first = parts.partition_point(|part| after.is_some_and(|after| part.checkpoint <= after));
        let interrupt = self.context.interrupt.clone();
        let mut parts = PendingParts { parts: parts.get(first..).unwrap_or_default(), files, interrupt: &interrupt };
        let Some(publisher) = &mut self.publisher else {
            return Err(Trouble::Fatal(internal("a publisher is not connected")));
        };
        fail_point!("outbox.publish", |why| Trouble::Retry(sink_unwritable(why)));
        self.is_unsure = true;
        publisher.publish(epoch, &mut parts)?;
        fail_point!("outbox.published", |why| Trouble::Retry(sink_unwritable(why)));
        self.is_unsure = false;
        self.published = self.published.max(Some(epoch));
        Ok(())
    }

    fn note_published(&self) {
        if let Some(published) = self.published {
            self.context.progress.set_published(published);
        }
    }

    fn decode(&self, output: &SinkOutput<'_>) -> Result<PromisedParts> {
        committable::decode(&output.committables, &self.context.node)
    }

    /// Publishes what another job promised, with that job's identity. `after` replaces its marker if that is lost.
    fn publish_for(
        &mut self,
        identity: &str,
        output: &SinkOutput<'_>,
        promised: &PromisedParts,
        after: Option<u64>,
    ) -> Result<()> {
        let interrupt = self.context.interrupt.clone();
        self.retry(|committer| {
            let mut publisher = committer.peer.publisher(identity)?;
            // This fences a publisher of the other job, which then finds the marker.
            let published = publisher.last_published()?.max(after);
            if published >= Some(output.checkpoint) {
                return Ok(());
            }
            let first = promised.parts.partition_point(|part| Some(part.checkpoint) <= published);
            let parts = promised.parts.get(first..).unwrap_or_default();
            fail_point!("outbox.adopt", |why| Trouble::Retry(sink_unwritable(why)));
            let mut parts = PendingParts { parts, files: output.files, interrupt: &interrupt };
            publisher.publish(output.checkpoint, &mut parts)
        })
    }
}

impl Committer for OutboxCommitter {
    fn commit(&mut self, output: &SinkOutput<'_>) -> Result<()> {
        let promised = self.decode(output)?;
        if promised.parts.is_empty() {
            return Ok(());
        }
        let own = self.published.max(Some(output.checkpoint));
        self.retry(|committer| {
            let published = committer.connect()?;
            if published > own {
                let why =
                    format!("checkpoint {} is published, which this process has not taken", published.unwrap_or(0));
                return Err(Trouble::Fatal(committer.fenced(&why)));
            }
            match published >= Some(output.checkpoint) {
                true => Ok(()),
                false => committer.publish(output.checkpoint, published, &promised.parts, output.files),
            }
        })?;
        self.note_published();
        Ok(())
    }

    fn recover(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        let promised = restored.map(|output| self.decode(output)).transpose()?.unwrap_or_default();
        // An epoch of a former life of the sink is not known here, only the marker is.
        (self.publisher, self.published, self.is_unsure) = (None, None, false);
        let recovered = self.retry(|committer| {
            let marker = committer.connect()?;
            let checkpoint = restored.map_or(0, |output| output.checkpoint);
            match marker {
                Some(published) if published > checkpoint => return Ok(Recovered::Ahead { published }),
                Some(published) if published == checkpoint || promised.parts.is_empty() => {}
                None if !promised.parts.is_empty() => return Ok(Recovered::Unknown),
                // Without a marker and without a promise, the marker alone is written. From then on it can be told from a lost one.
                after => match restored {
                    Some(output) => committer.publish(checkpoint, after, &promised.parts, output.files)?,
                    None => committer.publish(checkpoint, after, &[], &NoOutputFiles)?,
                },
            }
            Ok(Recovered::Done { missing: Vec::new() })
        })?;
        self.note_published();
        Ok(recovered)
    }

    fn adopt(&mut self, output: &SinkOutput<'_>, assume_lost: bool) -> Result<Recovered> {
        committable::check_promise(&output.committables, Some(&self.peer.target()), &self.context.node)?;
        let promised = self.decode(output)?;
        let identity = match &promised.place {
            Some((_, identity)) => identity.clone(),
            None => identity(output.job_id, &self.context.node),
        };
        let marker = self.retry(|committer| committer.peer.publisher(&identity)?.marker())?;
        match marker {
            Some(published) if published > output.checkpoint => return Ok(Recovered::Ahead { published }),
            None if !promised.parts.is_empty() && !assume_lost => return Ok(Recovered::Unknown),
            _ if promised.parts.is_empty() => {}
            marker => self.publish_for(&identity, output, &promised, marker.or(promised.published_before))?,
        }
        Ok(Recovered::Done { missing: Vec::new() })
    }

    /// Parts are in the working folder, and nothing of them has reached the peer.
    fn discard(&mut self) -> Result<()> {
        Ok(())
    }

    fn recover_last(&mut self, restored: Option<&SinkOutput<'_>>) -> Result<Recovered> {
        match restored {
            Some(output) if !output.committables.is_empty() => self.recover(restored),
            _ => Ok(Recovered::Done { missing: Vec::new() }),
        }
    }

    fn takes_back(&self) -> bool {
        false
    }
}

/// A publication without parts reads no file.
struct NoOutputFiles;

impl OutputFiles for NoOutputFiles {
    fn open(&self, name: &str) -> Result<std::fs::File> {
        Err(internal(format!("there is no file `{name}`")))
    }
}
