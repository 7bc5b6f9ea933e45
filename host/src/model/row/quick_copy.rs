//! Quick copies: what a copy plan does with most rows.
//!
//! A quick copy takes a row whose needed fields are among its first 31, if it consists of fields of the producer as they are and of
//! constant bytes. It walks over the fields with one jump for each, and copies each part as 16 bytes into room that it has made for
//! several parts at once.

use std::collections::VecDeque;

use super::encoding::{RowBytes, ValueLayout};
use crate::model::column::append;

/// Number of starts of fields that fit, including the end of the last field. A power of two.
const STARTS: usize = 32;

/// Length of a short part, in bytes. It is copied as 16 bytes, which is cheaper than a copy of a variable length.
const SHORT_PART_BYTES: usize = 16;

/// Number of parts for which room is made at once.
const ROOM_PARTS: usize = 4;
const ROOM_BYTES: usize = ROOM_PARTS * SHORT_PART_BYTES;

/// Where the fields of a row start, and where the last one ends. The first field starts at 0.
#[derive(Default)]
pub(super) struct QuickStarts([u32; STARTS]);

/// A part of the consumer's row.
#[derive(Clone, Debug)]
pub(super) enum RowPart<'a> {
    /// Fields as they are, from one up to another.
    Fields { from: usize, to: usize },
    /// These bytes.
    Constant(&'a [u8]),
}

/// Copies the first fields of a row.
#[derive(Clone, Debug)]
pub(super) struct QuickCopy {
    /// The steps over the producer's fields up to the last that is needed, and then [`SkipStep::End`].
    steps: [SkipStep; STARTS],
    /// The layouts of these fields.
    layouts: Box<[ValueLayout]>,
    /// The first parts of the consumer's row, if they are fields. Room is made for all of them at once.
    runs: [QuickRun; ROOM_PARTS],
    run_count: usize,
    /// The other parts.
    rest: Box<[OwnedPart]>,
    /// Whether the producer has no other fields.
    whole: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct QuickRun {
    from: u8,
    to: u8,
}

#[derive(Clone, Debug)]
enum OwnedPart {
    Fields(QuickRun),
    Constant(Box<[u8]>),
}

/// How to step over a field.
#[derive(Clone, Copy, Debug)]
enum SkipStep {
    /// There are no more fields.
    End,
    /// This many bytes.
    Fixed(u8),
    /// 0 or 1.
    Flag,
    /// A LEB128 number. It is not always compared with the limit of its type: the reader of the field does that.
    Varint,
    /// A length and as many bytes.
    Prefixed,
    /// 0, or 1 and this many bytes.
    NullableFixed(u8),
    /// 0, or 1 and a number.
    NullableVarint,
    /// 0, or 1, a length and as many bytes.
    NullablePrefixed,
    /// Any other value.
    Other,
}

impl SkipStep {
    fn new(layout: &ValueLayout) -> SkipStep {
        match layout {
            ValueLayout::Fixed(count @ 0..256) => SkipStep::Fixed(*count as u8),
            ValueLayout::Flag => SkipStep::Flag,
            ValueLayout::Varint(_) => SkipStep::Varint,
            ValueLayout::Prefixed => SkipStep::Prefixed,
            ValueLayout::Nullable(value) => match **value {
                ValueLayout::Fixed(count @ 0..256) => SkipStep::NullableFixed(count as u8),
                ValueLayout::Varint(_) => SkipStep::NullableVarint,
                ValueLayout::Prefixed => SkipStep::NullablePrefixed,
                _ => SkipStep::Other,
            },
            _ => SkipStep::Other,
        }
    }
}

impl QuickCopy {
    /// Returns `None` if there are too many fields. `whole` tells whether the producer has no fields but `layouts`.
    pub(super) fn new(layouts: &[ValueLayout], parts: &[RowPart<'_>], whole: bool) -> Option<QuickCopy> {
        if layouts.len() >= STARTS {
            return None;
        }
        let mut steps = [SkipStep::End; STARTS];
        for (step, layout) in steps.iter_mut().zip(layouts) {
            *step = SkipStep::new(layout);
        }
        let mut parts: VecDeque<_> = parts.iter().map(OwnedPart::new).collect();
        let (mut runs, mut run_count) = ([QuickRun::default(); ROOM_PARTS], 0);
        while run_count < ROOM_PARTS
            && let Some(OwnedPart::Fields(run)) = parts.front()
        {
            runs[run_count] = *run;
            run_count += 1;
            parts.pop_front();
        }
        let rest = parts.into_iter().collect();
        Some(QuickCopy { steps, layouts: layouts.into(), runs, run_count, rest, whole })
    }

    /// Appends the row in the consumer's schema to `to`. Returns whether the row is valid; otherwise it appends nothing.
    #[inline(always)]
    pub(super) fn copy(&self, row: &[u8], starts: &mut QuickStarts, to: &mut Vec<u8>) -> bool {
        let Some(end) = self.walk(row, starts) else { return false };
        if end > row.len() || (self.whole && end < row.len()) {
            return false;
        }
        self.append_runs(row, starts, to);
        if !self.rest.is_empty() {
            append_parts(&self.rest, row, starts, to);
        }
        true
    }

    #[inline(always)]
    fn append_runs(&self, row: &[u8], starts: &QuickStarts, to: &mut Vec<u8>) {
        let base = to.len();
        to.extend_from_slice(&[0; ROOM_BYTES]);
        let Some(room) = to[base..].first_chunk_mut::<ROOM_BYTES>() else { return };
        let mut filled = 0;
        for (index, run) in self.runs.iter().enumerate() {
            if index == self.run_count {
                break;
            }
            let (start, end) = starts.range(*run);
            match row.get(start..start + SHORT_PART_BYTES) {
                Some(bytes) if end - start <= SHORT_PART_BYTES && filled <= ROOM_BYTES - SHORT_PART_BYTES => {
                    room[filled..filled + SHORT_PART_BYTES].copy_from_slice(bytes);
                    filled += end - start;
                }
                _ => {
                    to.truncate(base + filled);
                    return append_long_runs(&self.runs[index..self.run_count], row, starts, to);
                }
            }
        }
        to.truncate(base + filled);
    }

    /// Writes the starts of the fields. Returns where the last one ends, which may be behind the end of the row: one comparison
    /// is cheaper than one for each field.
    ///
    /// The loop has few branches, and calls nothing before it returns, so that the compiler ends each step with a jump of its
    /// own to the next.
    #[inline(always)]
    fn walk(&self, row: &[u8], starts: &mut QuickStarts) -> Option<usize> {
        let (mut start, mut field) = (0, 0);
        loop {
            let value = match self.steps[field] {
                SkipStep::End => return Some(start),
                SkipStep::Fixed(count) => Some(start + usize::from(count)),
                SkipStep::Flag => row.get(start).filter(|flag| **flag <= 1).map(|_| start + 1),
                SkipStep::Varint => varint_end(row, start),
                SkipStep::Prefixed => prefixed_end(row, start),
                SkipStep::NullableFixed(count) => match row.get(start) {
                    Some(0) => Some(start + 1),
                    Some(1) => Some(start + 1 + usize::from(count)),
                    _ => None,
                },
                SkipStep::NullableVarint => match row.get(start) {
                    Some(0) => Some(start + 1),
                    Some(1) => varint_end(row, start + 1),
                    _ => None,
                },
                SkipStep::NullablePrefixed => match row.get(start) {
                    Some(0) => Some(start + 1),
                    Some(1) => prefixed_end(row, start + 1),
                    _ => None,
                },
                SkipStep::Other => None,
            };
            let Some(end) = value else { return self.walk_rest(field, row, start, starts) };
            field = (field + 1) % STARTS;
            starts.0[field] = end as u32;
            start = end;
        }
    }

    /// Walks on from a field that takes more than one of the steps above: a value of another type, a long text, a number within
    /// the last eight bytes of the row, or bytes that are no value.
    #[inline(never)]
    fn walk_rest(&self, first: usize, row: &[u8], start: usize, starts: &mut QuickStarts) -> Option<usize> {
        let fields = self.steps.iter().zip(&self.layouts).zip(&mut starts.0[1..]);
        fields.skip(first).try_fold(start, |start, ((step, layout), end)| {
            let last = match step {
                SkipStep::Varint => last_varint_end(row, start),
                SkipStep::NullableVarint if row.get(start) == Some(&1) => last_varint_end(row, start + 1),
                _ => None,
            };
            let position = last.or_else(|| value_end(layout, row, start))?;
            *end = position as u32;
            Some(position)
        })
    }
}

#[inline(always)]
fn varint_end(row: &[u8], start: usize) -> Option<usize> {
    let bytes = row.get(start..)?.first_chunk::<8>()?;
    number_end(u64::from_le_bytes(*bytes), start)
}

/// Does what [`varint_end`] does within the last eight bytes of the row. The position may be behind the end of the row.
#[inline(always)]
fn last_varint_end(row: &[u8], start: usize) -> Option<usize> {
    let missing = start.checked_sub(row.len().checked_sub(8)?)?;
    let bytes = u64::from_le_bytes(*row.last_chunk::<8>()?);
    number_end(bytes.checked_shr(8 * missing as u32)?, start)
}

#[inline(always)]
fn number_end(bytes: u64, start: usize) -> Option<usize> {
    // The last byte of a number has no highest bit.
    let ends = !bytes & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    Some(start + ends.trailing_zeros() as usize / 8 + 1)
}

#[inline(always)]
fn prefixed_end(row: &[u8], start: usize) -> Option<usize> {
    match row.get(start)? {
        length @ 0..0x80 => Some(start + 1 + usize::from(*length)),
        _ => None,
    }
}

#[inline(never)]
fn value_end(layout: &ValueLayout, row: &[u8], start: usize) -> Option<usize> {
    let mut bytes = RowBytes::new(row.get(start..)?);
    layout.skip(&mut bytes).ok()?;
    Some(row.len() - bytes.rest.len())
}

impl OwnedPart {
    fn new(part: &RowPart<'_>) -> OwnedPart {
        match part {
            RowPart::Fields { from, to } => OwnedPart::Fields(QuickRun { from: *from as u8, to: *to as u8 }),
            RowPart::Constant(bytes) => OwnedPart::Constant((*bytes).into()),
        }
    }
}

/// Appends runs, of which the first is long or near the end of the row.
#[inline(never)]
fn append_long_runs(runs: &[QuickRun], row: &[u8], starts: &QuickStarts, to: &mut Vec<u8>) {
    for run in runs {
        append_part(row, starts.range(*run), to);
    }
}

#[inline(never)]
fn append_parts(parts: &[OwnedPart], row: &[u8], starts: &QuickStarts, to: &mut Vec<u8>) {
    for part in parts {
        match part {
            OwnedPart::Fields(run) => append_part(row, starts.range(*run), to),
            OwnedPart::Constant(bytes) => append(to, bytes),
        }
    }
}

/// Appends `row[start..end]`.
#[inline(always)]
fn append_part(row: &[u8], (start, end): (usize, usize), to: &mut Vec<u8>) {
    let length = end - start;
    if length > SHORT_PART_BYTES {
        return to.extend_from_slice(&row[start..end]);
    }
    if let Some(bytes) = row.get(start..start + SHORT_PART_BYTES) {
        return append_first(bytes, length, to);
    }
    match row[..end].last_chunk::<SHORT_PART_BYTES>() {
        Some(bytes) => {
            let last = u128::from_le_bytes(*bytes).checked_shr(8 * (SHORT_PART_BYTES - length) as u32);
            append_first(&last.unwrap_or(0).to_le_bytes(), length, to);
        }
        None => to.extend_from_slice(&row[start..end]),
    }
}

/// Appends the first bytes of 16.
#[inline(always)]
fn append_first(bytes: &[u8], count: usize, to: &mut Vec<u8>) {
    let length = to.len() + count;
    to.extend_from_slice(&bytes[..SHORT_PART_BYTES]);
    to.truncate(length);
}

impl QuickStarts {
    #[inline(always)]
    fn range(&self, run: QuickRun) -> (usize, usize) {
        let [start, end] = [run.from, run.to].map(|field| self.0[usize::from(field) % STARTS]);
        (start as usize, end as usize)
    }
}
