//! The elements that flow between subtasks: batches, rejected records, watermarks, idleness and barriers.

use crate::model::Batch;
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::runtime::barrier::Barrier;

/// One element of a channel.
#[derive(Debug)]
pub(crate) enum StreamElement {
    /// Records for one of the receiver's inputs.
    Batch(InputRole, Batch),
    /// A record that could not be keyed. The fault policy of the receiving operator applies to it.
    Rejected(Box<RejectedRecord>),
    /// No record with a smaller timestamp is expected after it, in milliseconds. `i64::MAX` is the end of event time.
    Watermark(i64),
    /// Whether the sender is idle. The watermark of an idle sender does not count. A sender is active until it sends this.
    Idleness {
        idle: bool,
    },
    Barrier(Barrier),
}

impl StreamElement {
    /// Returns the bytes of its records.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            StreamElement::Batch(_, batch) => batch.bytes(),
            StreamElement::Rejected(record) => record.value.len(),
            StreamElement::Watermark(_) | StreamElement::Idleness { .. } | StreamElement::Barrier(_) => 0,
        }
    }
}
