//! Functions of pairs of records whose timestamps are close to each other.

use super::{Run, Stage, check_keys, failure};
use crate::FunctionError;
use crate::bindings::cofferdam::function::types::{Failure, Output};
use crate::bindings::exports::cofferdam::function::function::FunctionKind;
use crate::bindings::exports::cofferdam::function::join::{Pairs, Side};
use crate::codec::Decode;
use crate::column;
use crate::context::{JoinContext, some_timestamp};
use crate::function::{IntervalJoinFunction, Kind};
use crate::host::Host;
use crate::panic::in_record;
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
        let (firsts, seconds) = (decode::<F::First>(&left, "input")?, decode::<F::Second>(&right, "second input")?);
        for (index, &key) in key_of.iter().enumerate() {
            let (first, second) = (left.value_of[index] as usize, right.value_of[index] as usize);
            let timestamps = [left.timestamps[first], right.timestamps[second]];
            let record = Some(index as u32);
            in_record(record);
            stage.cursor.record.set(record);
            stage.set_timestamp(timestamps[0].max(timestamps[1]));
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

/// Reads the values of one side. A value that cannot be read fails the first pair that contains it.
fn decode<'a, C: Decode>(side: &'a Side, input: &str) -> Result<Vec<C::Value<'a>>, Failure> {
    let value = |index| {
        C::decode(column::value(&side.values, index)).map_err(|error| {
            let record = side.value_of.iter().position(|&value| value as usize == index);
            let error: FunctionError = format!("{input} is not {error}").into();
            failure(&error, record.map(|record| record as u32))
        })
    };
    (0..column::len(&side.values)).map(value).collect()
}
