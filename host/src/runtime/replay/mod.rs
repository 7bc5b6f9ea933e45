//! Replays kept dead letters: each subtask of the operator reads the letters that are its own and processes them between its other
//! batches.
//!
//! | file | content |
//! |---|---|
//! | `replay_board.rs` | The replays of a job, as its subtasks see them. |
//! | `replay_feed.rs` | Reads the letters of one subtask in batches. |
//! | `replay_position.rs` | How far a subtask has come. It is part of the subtask's snapshot. |
//!
//! A letter with a key belongs to the subtask that owns the key, and any other letter to the subtask that it failed in.
//! Invariant: the position in a snapshot covers exactly the letters whose effects the snapshot contains.

pub(super) mod replay_board;
pub(super) mod replay_feed;
pub(super) mod replay_position;
