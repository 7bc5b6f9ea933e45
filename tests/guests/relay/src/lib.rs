//! The guest of `cargo xtask bench latency` and `cargo xtask bench idle`: two functions that do little, one on each side of a keyed
//! exchange. Records are lines `KEY,TEXT`.

use cofferdam_sdk::prelude::*;

/// Emits every line with its key.
#[derive(Default)]
struct Forward;

#[function(name = "forward")]
impl FlatMapFunction for Forward {
    type In = Text;
    type Out = Text;
    type OutKey = String;

    fn flat_map(&mut self, line: &str, _ctx: &mut Context, out: &mut Collector<Text, String>) -> Result {
        let key = line.split_once(',').map_or(line, |(key, _)| key);
        out.emit_keyed(key, line);
        Ok(())
    }
}

/// Counts the lines of each key, and emits each line with the count: `KEY,TEXT,COUNT`.
#[derive(Function)]
struct Count {
    count: ValueState<u64>,
}

#[function(name = "count")]
impl KeyedProcessFunction for Count {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, line: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let count = self.count.update(|count| {
            *count += 1;
            *count
        });
        out.emit(format!("{line},{count}"));
        Ok(())
    }
}

cofferdam_sdk::export!(Forward, Count);
