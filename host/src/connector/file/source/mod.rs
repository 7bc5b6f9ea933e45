//! The file source.
//!
//! `list` finds the files, `remaining_files` records how far they are read, `open` and `decompress` read one. `check` checks
//! the input before a job starts, and `locate` finds the line of a record that failed.

mod check;
mod decompress;
mod file_names;
mod file_source;
mod input_access;
mod input_path;
mod line;
mod list;
mod locate;
mod open;
mod remaining_files;

#[cfg(test)]
mod file_source_tests;

pub(in crate::connector) use check::{check as check_source, check_headers};
pub(in crate::connector) use file_source::FileSource;
pub(in crate::connector) use input_path::FileSettings;
pub(in crate::connector) use locate::find_record;
