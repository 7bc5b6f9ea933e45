//! Results that do not say the truth, or are too large.

use crate::calls::Returned;
use crate::cofferdam::function::types::{Batch, Column, Failure, Output, RecordValues, Timestamps};
use crate::{column, output, values_of};

/// Returns the number of values of a column.
pub fn len(column: &Column) -> usize {
    column.offsets.len().saturating_sub(1)
}

/// Echoes the batch, with its output changed.
pub fn change(batch: &Batch, spoil: impl Fn(&mut Output)) -> Returned {
    let mut echoed = output(values_of(batch));
    spoil(&mut echoed);
    Ok(vec![echoed])
}

/// Echoes the batch, with the column of its values changed.
pub fn offsets(batch: &Batch, spoil: impl Fn(&mut Column)) -> Returned {
    change(batch, |output| {
        if let RecordValues::Packed(values) = &mut output.values {
            spoil(values);
        }
    })
}

/// A message of 12 MiB and a backtrace of as many bytes.
pub fn large_failure() -> Failure {
    Failure {
        message: "\u{1b}[2J".repeat(4 << 20),
        record: Some(u32::MAX),
        backtrace: vec!["frame\n".repeat(100); 20_000],
    }
}

/// A gibibyte of output from 8 MiB of memory: all outputs share their bytes.
pub fn gigabyte() -> Vec<Output> {
    let mut bytes = vec![b'x'; 8 << 20].into_boxed_slice();
    let (start, length) = (bytes.as_mut_ptr(), bytes.len());
    std::mem::forget(bytes);
    let shared = || Column {
        // SAFETY: this is unsound if one of them is freed. None is: the host either refuses the outputs and drops the instance, or
        // accepts a gibibyte, which fails the test.
        bytes: unsafe { Vec::from_raw_parts(start, length, length) },
        offsets: vec![0, length as u32],
    };
    let with = |values| Output { values: RecordValues::Packed(values), ..output(Vec::new()) };
    (0..128).map(|_| with(shared())).collect()
}

/// Records without bytes: only their offsets are large.
pub fn nothings(count: usize) -> Output {
    let values = Column { bytes: Vec::new(), offsets: vec![0; count + 1] };
    Output { values: RecordValues::Packed(values), ..output(Vec::new()) }
}

/// Many outputs without records, before those of the first batch.
pub fn empty_outputs(batch: &Batch, count: usize) -> Vec<Output> {
    let empty = || Column { bytes: Vec::new(), offsets: Vec::new() };
    let one = || Output {
        index: 0,
        values: RecordValues::Packed(empty()),
        timestamps: Timestamps::None,
        origins: Vec::new(),
        keys: None,
        attributes: None,
    };
    let count = if values_of(batch).first().is_some_and(|value| value.ends_with(b",0")) { count } else { 0 };
    (0..count).map(|_| one()).chain([output(values_of(batch))]).collect()
}

/// Records that are nothing but timestamps.
pub fn timestamps_only(count: usize) -> Output {
    Output { timestamps: Timestamps::Some(vec![Some(1); count]), ..nothings(count) }
}

pub fn large_keys() -> Output {
    Output { keys: Some(column(&[vec![b'k'; 20 << 20]])), ..output(vec![b"x".to_vec()]) }
}

pub fn large_attributes() -> Output {
    Output { attributes: Some(column(&[vec![b'a'; 20 << 20]])), ..output(vec![b"x".to_vec()]) }
}
