//! The committable of an outbox: the parts that a checkpoint promises to publish, and where.
//!
//! Its bytes begin with a byte of its own. They come back from checkpoints of other jobs, so that decoding checks everything.

use serde::{Deserialize, Serialize};

use crate::connector::versioned_bytes::{self, VERSION_1};
use crate::error::{Result, checkpoint_corrupt, sink_changed};
use crate::model::within_element_budget;

/// First byte of a committable of an outbox.
const OUTBOX: u8 = b'O';

/// Limit on the parts of one committable that is read.
const PARTS_MAX: usize = 1 << 20;

/// The committable of one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutboxCommittable {
    /// Where the records go, see [`super::OutboxPeer::target`].
    pub(super) target: String,
    /// The identity of the job's publisher.
    pub(super) identity: String,
    /// The last epoch that was known to be published at the barrier.
    pub(super) published_before: Option<u64>,
    /// The parts that were not known to be published at the barrier, oldest first.
    #[serde(deserialize_with = "crate::model::budgeted_vec")]
    pub(super) parts: Vec<OutboxPart>,
}

/// The records that a subtask wrote before the barrier of a checkpoint, and after the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OutboxPart {
    pub(super) checkpoint: u64,
    pub(super) subtask: u32,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) content: PartContent,
}

/// Where a part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PartContent {
    /// Here.
    Inline(Vec<u8>),
    /// In a file of the checkpoint with this name.
    File(String),
}

/// The committables of all subtasks of a sink.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PromisedParts {
    /// Target and identity. `None` without committables.
    pub(super) place: Option<(String, String)>,
    /// The least of what the subtasks knew to be published.
    pub(super) published_before: Option<u64>,
    /// All parts, in the order in which they are published.
    pub(super) parts: Vec<OutboxPart>,
}

impl OutboxCommittable {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        Ok([&[OUTBOX], &versioned_bytes::encode(VERSION_1, self)?[..]].concat())
    }
}

/// Returns whether a committable belongs to an outbox.
pub fn is_outbox_committable(committable: &[u8]) -> bool {
    committable.first() == Some(&OUTBOX)
}

/// Decodes the committables of all subtasks of the sink `node`. Error: `sink-changed` if another kind of sink wrote them.
pub(super) fn decode(committables: &[Vec<u8>], node: &str) -> Result<PromisedParts> {
    let what = format!("the committable of sink `{node}`");
    let mut promised = PromisedParts::default();
    for (index, committable) in committables.iter().enumerate() {
        let bytes = committable.strip_prefix(&[OUTBOX]).ok_or_else(|| of_another_kind(node))?;
        let decoded: OutboxCommittable =
            within_element_budget(PARTS_MAX, || versioned_bytes::decode(VERSION_1, bytes, &what))?;
        let place = (decoded.target, decoded.identity);
        if *promised.place.get_or_insert_with(|| place.clone()) != place {
            return Err(checkpoint_corrupt(format!("{what} differs between subtasks")));
        }
        promised.published_before = match index {
            0 => decoded.published_before,
            _ => promised.published_before.min(decoded.published_before),
        };
        promised.parts.extend(decoded.parts);
    }
    promised.parts.sort_by_key(|part| (part.checkpoint, part.subtask));
    Ok(promised)
}

/// Checks that a sink with the target `own` publishes what another job's checkpoint promised. `None` if the pipeline has no such sink.
/// Error: `sink-changed`.
pub(in crate::connector) fn check_promise(committables: &[Vec<u8>], own: Option<&str>, node: &str) -> Result<()> {
    let promised = decode(committables, node)?;
    let Some((target, _)) = promised.place.filter(|_| !promised.parts.is_empty()) else { return Ok(()) };
    if own == Some(&target) {
        return Ok(());
    }
    let records: u64 = promised.parts.iter().map(|part| part.records).sum();
    let now = match own {
        Some(own) => format!("the sink now writes to {own}"),
        None => "the pipeline no longer has such a sink".to_owned(),
    };
    Err(sink_changed(format!(
        "the checkpoint promised {records} records of sink `{node}` for {target}, which are not known to be published, but {now}"
    ))
    .hint(
        "start the job with the unchanged sink, stop it, and then change the sink; or start it with --assume-published, which loses these \
         records if they are not published",
    ))
}

fn of_another_kind(node: &str) -> crate::error::Error {
    sink_changed(format!("the checkpoint promised output of sink `{node}`, which had another connector")).hint(
        "start the job with the unchanged sink, stop it, and then change the sink; or start it with --assume-published",
    )
}
