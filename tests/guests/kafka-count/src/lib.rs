//! The guest of `cargo xtask crash --pipeline kafka`: `number` numbers the records of each key. And of `cargo xtask bench kafka`: `parse`
//! finds the key of a line, `count` counts the records of each key. `host/benches/peer/flink/KafkaCount.java` is the same job in
//! Flink. Change both together.

use cofferdam_sdk::prelude::*;

/// A record of the crash rounds: its key, and its number among all records.
#[derive(Record)]
struct Numbered {
    k: String,
    n: u64,
}

/// A record with its number among those of its key, from 1.
#[derive(Record)]
struct Counted {
    k: String,
    n: u64,
    count: u64,
}

/// Numbers the records of each key.
#[derive(Function)]
struct Number {
    count: ValueState<u64>,
}

#[function(name = "number")]
impl KeyedProcessFunction for Number {
    type Key = String;
    type In = Numbered;
    type Out = Counted;

    fn process_element(
        &mut self,
        record: Numbered,
        _: &mut KeyedContext<String>,
        out: &mut Collector<Counted>,
    ) -> Result {
        let count = self.count.get_or_default() + 1;
        self.count.set(count);
        out.emit(Counted { k: record.k, n: record.n, count });
        Ok(())
    }
}

/// The number of records of a key.
#[derive(Record)]
struct KeyCount<'a> {
    key: &'a str,
    count: u64,
}

/// A record of the benchmark, of which only the key matters.
#[derive(Record)]
struct Event<'a> {
    key: &'a str,
}

/// Finds the key of `KEY,PAYLOAD`.
#[derive(Default)]
struct Parse;

#[function(name = "parse")]
impl FlatMapFunction for Parse {
    type In = Bytes;
    type Out = Event<'static>;

    fn flat_map(&mut self, line: &[u8], _ctx: &mut Context, out: &mut Collector<Event<'static>>) -> Result {
        let key = memchr::memchr(b',', line).map_or(line, |comma| &line[..comma]);
        let key = std::str::from_utf8(key).map_err(|error| error.to_string())?;
        out.emit(Event { key });
        Ok(())
    }
}

/// Adds every record to the count of its key, and emits the count with the key.
#[derive(Function)]
struct Count {
    count: ValueState<u64>,
}

#[function(name = "count")]
impl KeyedProcessFunction for Count {
    type Key = String;
    type In = Event<'static>;
    type Out = KeyCount<'static>;

    fn process_element(
        &mut self,
        event: Event<'_>,
        _: &mut KeyedContext<String>,
        out: &mut Collector<KeyCount<'static>>,
    ) -> Result {
        let count = self.count.update(|count| {
            *count += 1;
            *count
        });
        out.emit(KeyCount { key: event.key, count });
        Ok(())
    }
}

cofferdam_sdk::export!(Number, Parse, Count);
