//! The guest of `cargo xtask bench keyed-count`: `parse` finds the key of a line, `count` counts the records of each key.
//! `host/benches/peer/flink/KeyedCount.java` is the same job in Flink. Change both together.

use cofferdam_sdk::prelude::*;

/// Turns `KEY,PAYLOAD` into 1 with that key.
#[derive(Default)]
struct Parse;

#[function(name = "parse")]
impl FlatMapFunction for Parse {
    type In = Bytes;
    type Out = Postcard<u64>;

    fn flat_map(&mut self, line: &[u8], _ctx: &mut Context, out: &mut Collector<Postcard<u64>>) -> Result {
        let key = memchr::memchr(b',', line).map_or(line, |comma| &line[..comma]);
        out.emit_keyed(key, 1);
        Ok(())
    }
}

/// Adds every record to the count of its key, and emits the count.
#[derive(Function)]
struct Count {
    count: ValueState<u64>,
}

#[function(name = "count")]
impl KeyedProcessFunction for Count {
    type Key = Vec<u8>;
    type In = Postcard<u64>;
    type Out = Postcard<u64>;

    fn process_element(
        &mut self,
        records: u64,
        _: &mut KeyedContext<Vec<u8>>,
        out: &mut Collector<Postcard<u64>>,
    ) -> Result {
        let count = self.count.update(|count| {
            *count += records;
            *count
        });
        out.emit(count);
        Ok(())
    }
}

cofferdam_sdk::export!(Parse, Count);
