//! The dead letters that the host keeps for a job: files in a folder, committed with checkpoints like those of a file sink.
//!
//! | file | content |
//! |---|---|
//! | `letter_sink.rs` | Writes letters, up to the limit of the job, and publishes them with a checkpoint. |
//! | `letter_store.rs` | Finds the published parts of a folder and reads their letters. |
//! | `stored_letter.rs` | Reads one letter, as far as the host needs its content. |
//!
//! A letter is one line of JSON. A part is never changed once it is published, except that a whole part is removed after its
//! letters were replayed.
//! Invariant: the letters in the folder are exactly those of the newest complete checkpoint, whatever was killed and when.

mod letter_sink;
mod letter_store;
mod stored_letter;

pub use letter_sink::{LetterQuota, is_letter_committable, letter_committer, open_letter_sink};
pub use letter_store::{LetterFile, LetterLine, LetterLines, LetterStore};
pub use stored_letter::StoredLetter;
