//! The guest of `tests/tests/rescaling.rs`: sums per key, and the subtask that holds each.

use cofferdam_sdk::prelude::*;

/// Records are numbers. A number goes to the key that is its remainder by this, and becomes the key's value.
const KEYS: u64 = 42;

/// Turns a number into a record whose key and value are its remainder.
#[derive(Default)]
struct Spread;

#[function(name = "spread")]
impl FlatMapFunction for Spread {
    type In = Bytes;
    type Out = Bytes;

    fn flat_map(&mut self, record: &[u8], _ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        let key = (number(record)? % KEYS).to_string();
        out.emit_keyed(&key, key.as_bytes());
        Ok(())
    }
}

const SUM: ValueState<u64> = ValueState::new("sum");

/// Adds each record to the sum of its key. Emits `key,sum,subtask`.
#[derive(Default)]
struct Sum;

#[function(name = "sum", states(SUM))]
impl KeyedProcessFunction for Sum {
    type In = Bytes;
    type Out = Bytes;

    fn process_element(&mut self, record: &[u8], ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        let number = number(record)?;
        let mut state = ctx.state(SUM);
        let sum = state.get_or_default() + number;
        state.set(sum);
        let line = format!("{},{sum},{}", ctx.key_str()?, ctx.turn().subtask);
        out.emit(line.as_bytes());
        Ok(())
    }
}

fn number(record: &[u8]) -> Result<u64, FunctionError> {
    let text = std::str::from_utf8(record).map_err(|error| FunctionError::from(error.to_string()))?;
    text.parse().map_err(|error| FunctionError::from(format!("`{text}`: {error}")))
}

cofferdam_sdk::export!(Spread, Sum);
