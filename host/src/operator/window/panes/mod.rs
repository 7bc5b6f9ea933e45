//! Panes: pieces of time that sliding windows share, so that a record is added once and not once per window.
//!
//! A pane is as long as the greatest common divisor of size and slide, so every window consists of whole panes. For each key the
//! operator stores which panes have contents, and one timer, which moves along the ends of the key's windows.
//!
//! A window of many panes is not merged anew at each slide. When the first window fires, the operator derives, for each of its
//! panes, the accumulator from there to the window's end: the *suffixes*. Records after that end are merged into one accumulator
//! that grows with each slide: the *running total*. Each following window is one suffix merged with the running total, until a
//! window starts after all suffixes. A late record discards both, and the next firing derives them again.
//!
//! Invariant: windows that share panes fire at the same times and with the same contents as windows that store their own records.

pub mod due_panes;
pub mod key_panes;
pub mod pane_layout;
