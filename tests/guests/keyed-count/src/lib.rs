//! The guest of `cargo xtask bench keyed-count`: `parse` finds the key of a line, `count` counts the records of each key.
//! `host/benches/peer/flink/KeyedCount.java` is the same job in Flink. Change both together.

use cofferdam_sdk::prelude::*;

/// A number of records.
#[derive(Record)]
struct Records {
    count: u64,
}

/// Turns `KEY,PAYLOAD` into 1 with that key.
#[derive(Default)]
struct Parse;

#[function(name = "parse")]
impl FlatMapFunction for Parse {
    type In = Bytes;
    type Out = Records;
    type OutKey = Vec<u8>;

    fn flat_map(&mut self, line: &[u8], _ctx: &mut Context, out: &mut Collector<Records, Vec<u8>>) -> Result {
        let key = memchr::memchr(b',', line).map_or(line, |comma| &line[..comma]);
        out.emit_keyed(key, Records { count: 1 });
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
    type In = Records;
    type Out = Records;

    fn process_element(
        &mut self,
        records: Records,
        _: &mut KeyedContext<Vec<u8>>,
        out: &mut Collector<Records>,
    ) -> Result {
        let count = self.count.update(|count| {
            *count += records.count;
            *count
        });
        out.emit(Records { count });
        Ok(())
    }
}

cofferdam_sdk::export!(Parse, Count);
