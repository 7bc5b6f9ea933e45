//! Taps: bounded samples of the records that pass a node, for someone who looks at them.
//!
//! A subtask copies a few records of a batch into the queue of a tap, and never waits for its reader: a record that does not fit is
//! counted and dropped. Readers decode the copies on threads of their own. A node without a tap costs one relaxed load per batch.
//!
//! | file | contents |
//! |---|---|
//! | `job_taps` | the nodes of a job, over all its attempts |
//! | `node_tap` | the open taps of one node |
//! | `open_tap`, `tap_reader` | one tap as the subtasks see it: its rate, its counts, its queue; and its reader |
//! | `tapped_record` | the copy of a record |

mod job_taps;
mod node_tap;
mod open_tap;
mod tap_reader;
mod tapped_record;

#[cfg(test)]
mod tap_tests;

pub use job_taps::JobTaps;
pub use node_tap::NodeTap;
pub use open_tap::{TapSettings, TapSide};
pub use tap_reader::TapReader;
pub use tapped_record::{RecordRoute, TappedRecord};
