//! The guest of `cargo xtask bench crossing`. Its functions do almost nothing, so that the benchmark measures the crossing.
//! `host/benches/crossing.rs` has the same functions natively. Change both together.

use cofferdam_sdk::prelude::*;

/// Emits every record unchanged.
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

/// A row of two fields.
#[derive(Record)]
struct Pair<'a> {
    name: &'a str,
    number: Option<i32>,
}

/// Reads every row, and emits it again.
#[derive(Default)]
struct RowCrossing;

#[function(name = "row-crossing")]
impl FlatMapFunction for RowCrossing {
    type In = Pair<'static>;
    type Out = Pair<'static>;

    fn flat_map(&mut self, row: Pair, _ctx: &mut Context, out: &mut Collector<Pair<'static>>) -> Result {
        out.emit(row);
        Ok(())
    }
}

/// Adds the length of every record to the total of its key, and emits nothing.
#[derive(Function)]
struct Total {
    /// A stored value has 8 bytes, because postcard writes a float with a fixed length.
    total: ValueState<f64>,
}

#[function(name = "total")]
impl KeyedProcessFunction for Total {
    type Key = Vec<u8>;
    type In = Bytes;
    type Out = Bytes;

    fn process_element(&mut self, record: &[u8], _: &mut KeyedContext<Vec<u8>>, _: &mut Collector<Bytes>) -> Result {
        let total = self.total.get_or_default();
        self.total.set(total + record.len() as f64);
        Ok(())
    }
}

cofferdam_sdk::export!(Echo, Total, RowCrossing);
