//! Runs an interval join: a simple model of the host's operator.

use super::{Emitted, Harness, Items, Pushed, column_of, decode, timed};
use crate::bindings::cofferdam::function::types::{RecordValues, Timestamps};
use crate::bindings::exports::cofferdam::function::join::{Pairs, Side};
use crate::codec::{Codec, Encode};
use crate::function::{Function, IntervalJoinFunction};
use crate::key::EncodeKey;
use crate::turn_cursor::ItemStream;
use crate::{FunctionError, Timestamp, kinds};
use serde::{Deserialize, Serialize};
use std::ops::{Deref, DerefMut};

/// Runs an [`IntervalJoinFunction`] over the records that a test pushes. Results are read with the methods of [`Harness`].
pub struct IntervalJoinHarness<F> {
    harness: Harness<F>,
    /// The smallest and the largest distance from the first record to the second, in milliseconds.
    interval: (i64, i64),
    /// The records of each input that can still be joined, in the order of their times.
    kept: [Vec<Kept>; 2],
    /// The late records of each input.
    late: [Vec<Emitted<Vec<u8>>>; 2],
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    key: Vec<u8>,
    timestamp: i64,
    value: Vec<u8>,
}

impl<F: Function<Kind = kinds::IntervalJoin> + IntervalJoinFunction> IntervalJoinHarness<F> {
    /// Joins a pair if the timestamp of the second record is at least the first `+ lower_ms` and at most the first `+ upper_ms`. Both
    /// may be negative.
    ///
    /// # Panics
    /// Panics if the interval is empty.
    pub fn new(lower_ms: i64, upper_ms: i64) -> Self {
        Self::over(Harness::bare(), (lower_ms, upper_ms))
    }

    fn over(harness: Harness<F>, interval: (i64, i64)) -> Self {
        assert!(interval.0 <= interval.1, "the interval is empty");
        IntervalJoinHarness { harness, interval, kept: Default::default(), late: Default::default() }
    }

    /// Excludes the lower bound from the interval.
    ///
    /// # Panics
    /// Panics if the interval becomes empty.
    #[must_use]
    pub fn lower_exclusive(self) -> Self {
        let (lower, upper) = self.interval;
        Self::over(self.harness, (lower + 1, upper))
    }

    /// Excludes the upper bound from the interval.
    ///
    /// # Panics
    /// Panics if the interval becomes empty.
    #[must_use]
    pub fn upper_exclusive(self) -> Self {
        let (lower, upper) = self.interval;
        Self::over(self.harness, (lower, upper - 1))
    }

    /// Sets a value of the operator's `config`.
    #[must_use]
    pub fn with_config(self, name: &str, value: &str) -> Self {
        self.harness.configure(name, value);
        self
    }

    /// Pushes one record of the first input: its key, its value, and its event timestamp. It is joined with the records of the second
    /// input that were pushed before.
    ///
    /// # Errors
    /// Returns an error if the record has no timestamp or the function fails a pair. The record changes nothing then.
    pub fn push_first<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F::First: Encode<V>,
    {
        self.push(0, Pushed::new::<F::First, V>(key, value, timestamp)?)
    }

    /// Pushes one record of the second input. It is joined with the records of the first input that were pushed before.
    ///
    /// # Errors
    /// The same as of [`IntervalJoinHarness::push_first`].
    pub fn push_second<V>(
        &mut self,
        key: impl EncodeKey,
        value: V,
        timestamp: impl Into<Timestamp>,
    ) -> Result<(), FunctionError>
    where
        F::Second: Encode<V>,
    {
        self.push(1, Pushed::new::<F::Second, V>(key, value, timestamp)?)
    }

    fn push(&mut self, input: usize, pushed: Pushed) -> Result<(), FunctionError> {
        let Pushed { key, value, timestamp, .. } = pushed;
        timed(timestamp)?;
        if timestamp < self.memory.with(|memory| memory.watermark) {
            let timestamp = Some(timestamp.into());
            self.late[input].push(Emitted { value, timestamp, key: Some(key), headers: Vec::new() });
            return Ok(());
        }
        let record = Kept { key: key.clone(), timestamp, value };
        let (lower, upper) = self.interval;
        let meets = |other: &&Kept| {
            let (first, second) = if input == 0 { (timestamp, other.timestamp) } else { (other.timestamp, timestamp) };
            let distance = i128::from(second) - i128::from(first);
            other.key == key && (lower.into()..=upper.into()).contains(&distance)
        };
        let others: Vec<_> = self.kept[1 - input].iter().filter(meets).cloned().collect();
        if !others.is_empty() {
            let of_record = Side { value_of: vec![0; others.len()], ..side(std::slice::from_ref(&record)) };
            let (left, right) = if input == 0 { (of_record, side(&others)) } else { (side(&others), of_record) };
            let times = others.iter().map(|other| other.timestamp.max(timestamp)).collect();
            let pairs = Pairs { keys: column_of(&[key]), key_of: vec![0; others.len()], left, right };
            self.emitting_turn(Items::keyless(ItemStream::Windows, times), |runner| runner.join(pairs))?;
        }
        let kept = &mut self.kept[input];
        kept.insert(kept.partition_point(|other| other.timestamp <= timestamp), record);
        Ok(())
    }

    /// Advances the watermark, and drops the records that cannot be joined any more.
    pub fn advance_watermark(&mut self, watermark: impl Into<Timestamp>) {
        let watermark = watermark.into().as_millis();
        let watermark = self.memory.with(|memory| {
            memory.watermark = memory.watermark.max(watermark);
            memory.watermark
        });
        let (lower, upper) = self.interval;
        for (kept, reach) in self.kept.iter_mut().zip([upper, lower.saturating_neg()]) {
            kept.retain(|record| record.timestamp.saturating_add(reach.max(0)) > watermark);
        }
    }

    /// Takes the late records of the first input, with their timestamps and keys. A late record is before the watermark, and is not
    /// joined.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_late(&mut self) -> Result<Vec<Emitted<<F::First as Codec>::Owned>>, FunctionError> {
        decode::<F::First>(std::mem::take(&mut self.late[0]))
    }

    /// Takes the late records of the second input, with their timestamps and keys.
    ///
    /// # Errors
    /// Returns an error if the codec cannot read what it wrote.
    pub fn take_late_second(&mut self) -> Result<Vec<Emitted<<F::Second as Codec>::Owned>>, FunctionError> {
        decode::<F::Second>(std::mem::take(&mut self.late[1]))
    }

    /// Returns the number of records that are kept, of both inputs.
    pub fn kept(&self) -> usize {
        self.kept.iter().map(Vec::len).sum()
    }

    /// Returns everything that the next call can depend on, as bytes.
    ///
    /// # Panics
    /// Never: postcard can write every snapshot.
    pub fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&(self.save(), self.interval, &self.kept)).expect("a snapshot can be written")
    }

    /// Makes a harness from a snapshot, with the same interval. The function may be of another type, such as a newer version.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a snapshot of an interval join.
    pub fn restore(bytes: &[u8]) -> Result<Self, FunctionError> {
        let (saved, interval, kept): (Vec<u8>, (i64, i64), [Vec<Kept>; 2]) = postcard::from_bytes(bytes)?;
        Ok(IntervalJoinHarness { kept, ..Self::over(Harness::load(&saved)?, interval) })
    }
}

/// Makes one side of pairs: each record is the value of one pair.
fn side(records: &[Kept]) -> Side {
    let values: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
    let timestamps = Timestamps::Every(records.iter().map(|record| record.timestamp).collect());
    Side { values: RecordValues::Packed(column_of(&values)), timestamps, value_of: (0..records.len() as u32).collect() }
}

impl<F> Deref for IntervalJoinHarness<F> {
    type Target = Harness<F>;

    fn deref(&self) -> &Harness<F> {
        &self.harness
    }
}

impl<F> DerefMut for IntervalJoinHarness<F> {
    fn deref_mut(&mut self) -> &mut Harness<F> {
        &mut self.harness
    }
}
