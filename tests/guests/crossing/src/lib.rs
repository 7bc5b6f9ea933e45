//! The guest of `cargo xtask bench crossing`: functions that do next to nothing, so that what is measured is the
//! crossing. `host/benches/crossing.rs` has the same functions natively; one is not changed without the other.

use cofferdam_sdk::prelude::*;

/// Emits every record as it is.
#[derive(Default)]
struct Echo;

#[function(name = "echo")]
impl FlatMapFunction for Echo {
    type In = Bytes;
    type Out = Bytes;

    fn flat_map(&mut self, record: &[u8], _ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        out.emit(record);
        Ok(())
    }
}

/// 8 bytes in its stored form: postcard writes a float as it is.
const TOTAL: ValueState<f64> = ValueState::new("total");

/// Adds the length of every record to the total of its key, and emits nothing.
#[derive(Default)]
struct Total;

#[function(name = "total", states(TOTAL))]
impl KeyedProcessFunction for Total {
    type In = Bytes;
    type Out = Bytes;

    fn process_element(&mut self, record: &[u8], ctx: &mut Context, _out: &mut Collector<Bytes>) -> Result {
        let mut state = ctx.state(TOTAL);
        let total = state.get_or_default();
        state.set(total + record.len() as f64);
        Ok(())
    }
}

cofferdam_sdk::export!(Echo, Total);
