//! The dead letters that the host keeps for a job: how they are listed, tried, replayed and taken over by another job.
//!
//! | file | content |
//! |---|---|
//! | `replay_record.rs` | A requested replay, as the job's record stores it. |
//! | `replays.rs` | Requests replays, and settles them when a checkpoint contains their effects. |
//! | `recovery.rs` | Prepares the letters before an attempt, also those of the job that this one starts from. |
//! | `listing.rs` | Lists letters and shows one. |
//! | `trial.rs` | Runs letters against a version of the component and throws the effects away. |
//!
//! A letter is in one published part. A replay covers whole parts. Once a complete checkpoint contains the effects of all its
//! letters, they are gone; the parts are removed when no older checkpoint can be restored any more.
//! Invariant: a letter takes effect once, whatever is killed: its part and the position of the replay are in the same checkpoint.

mod listing;
mod recovery;
mod replay_record;
mod replays;
#[cfg(test)]
mod replays_tests;
mod trial;

pub use listing::{list_letters, show_letter};
pub use recovery::{letter_options, letters_folder, recover};
pub use replay_record::ReplayRecord;
pub use replays::{add_replays, discard_letters, request_replay, settle_replays};
pub use trial::{TrialRequest, try_letters};
