//! Functions of pairs of records whose timestamps are close to each other.

use super::{Run, Stage, check_keys, failure};
use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Column, Failure, Output};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::join::{Pairs, Side};
use crate::codec::Decode;
use crate::column;
use crate::context::{JoinContext, some_timestamp};
use crate::function::{IntervalJoinFunction, Kind};
use crate::host::Host;
use crate::panic::in_record;
use crate::times::{self, ItemTimes};
use crate::turn_cursor::ItemStream;
use std::marker::PhantomData;
use std::rc::Rc;

/// Runs a function of kind `K`.
pub(crate) struct PairRunner<F: IntervalJoinFunction, K> {
    stage: Stage<F>,
    kind: PhantomData<K>,
}

impl<F: IntervalJoinFunction, K: Kind<F>> PairRunner<F, K> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        PairRunner { stage: Stage::new(host), kind: PhantomData }
    }
}

impl<F: IntervalJoinFunction, K: Kind<F>> Run for PairRunner<F, K> {
    fn name_and_kind(&self) -> (&'static str, FunctionKind) {
        (F::NAME, K::KIND)
    }

    fn join(&mut self, pairs: Pairs) -> Result<Vec<Output>, Failure> {
        let Pairs { keys, key_of, left, right } = pairs;
        let stage = &mut self.stage;
        check_keys::<F>(&keys, &key_of)?;
        // A join has no state, so there are no places for it.
        stage.begin(0, column::empty())?;
        let (left, right) = (Decoded::new(left)?, Decoded::new(right)?);
        let firsts = left.decode::<F::First>("input")?;
        let seconds = right.decode::<F::Second>("second input")?;
        let times = |index| left.timestamp(index).max(right.timestamp(index));
        stage.cursor.set_items(ItemStream::Windows, ItemTimes::inheritable((0..key_of.len()).map(times).collect()));
        for (index, &key) in key_of.iter().enumerate() {
            let (first, second) = (left.value_of[index] as usize, right.value_of[index] as usize);
            let timestamps = [left.timestamp(index), right.timestamp(index)];
            let record = Some(index as u32);
            in_record(record);
            stage.set_item(index as u32);
            let key = column::value(&keys, key as usize);
            let mut ctx = JoinContext::new(&mut stage.context, key, timestamps.map(some_timestamp));
            let joined = stage.function.join(&firsts[first], &seconds[second], &mut ctx, &mut stage.out);
            let joined = joined.and_then(|()| stage.emitted());
            in_record(None);
            joined.map_err(|error| failure(&error, record))?;
        }
        stage.finish()
    }
}

/// One side of the pairs.
struct Decoded {
    values: Column,
    timestamps: Vec<i64>,
    value_of: Vec<u32>,
}

impl Decoded {
    fn new(side: Side) -> Result<Self, Failure> {
        let values = column::packed(side.values)?;
        let timestamps = times::of_input(side.timestamps, column::len(&values))?;
        Ok(Decoded { values, timestamps, value_of: side.value_of })
    }

    /// The timestamp of a pair's value.
    fn timestamp(&self, pair: usize) -> i64 {
        self.timestamps[self.value_of[pair] as usize]
    }

    /// Reads the values. A value that cannot be read fails the first pair that contains it.
    fn decode<C: Decode>(&self, input: &str) -> Result<Vec<C::Value<'_>>, Failure> {
        let value = |index| {
            C::decode(column::value(&self.values, index)).map_err(|error| {
                let record = self.value_of.iter().position(|&value| value as usize == index);
                let error: FunctionError = format!("{input} is not {error}").into();
                failure(&error, record.map(|record| record as u32))
            })
        };
        (0..column::len(&self.values)).map(value).collect()
    }
}
