//! The function of the message-fan-out example. It emits a copy of each message for every reader who follows its topic.

use std::collections::BTreeSet;

use cofferdam_sdk::prelude::*;

/// A message about a topic, which is its key.
#[derive(Record)]
struct Message {
    text: String,
}

/// Whether a reader follows a topic from now on.
#[derive(Record)]
struct Rule {
    topic: String,
    reader: String,
    follows: bool,
}

/// The copy of a message for a reader.
#[derive(Debug, PartialEq, Record)]
struct Delivered {
    reader: String,
    /// In seconds.
    time: i64,
    topic: String,
    text: String,
}

/// A message without a reader.
#[derive(Debug, PartialEq, Record)]
struct Unread {
    /// In seconds.
    time: i64,
    topic: String,
    text: String,
}

/// Emits a copy of each message for each of its readers, by the rules of the message's time.
///
/// Messages and rules arrive in any order. A timer at the message's time fires when both inputs have reached it. Then all rules up to
/// that time are known, and later ones are ignored.
#[derive(Function)]
struct FanOut {
    /// The waiting texts of a topic, by the time of their message.
    waiting: MapState<Timestamp, Vec<String>>,
    /// By topic, time and reader: whether the reader follows the topic from that time on.
    rules: BroadcastState<(String, Timestamp, String), bool>,
    unread: SideOutput<Unread>,
}

#[function(name = "fan-out", timers(event))]
impl BroadcastProcessFunction for FanOut {
    type Key = String;
    type In = Message;
    type Broadcast = Rule;
    type Out = Delivered;

    fn process_element(
        &mut self,
        message: Message,
        ctx: &mut KeyedContext<String>,
        _: &mut Collector<Self::Out>,
    ) -> Result {
        let time = ctx.require_timestamp()?;
        self.waiting.update(&time, |texts| texts.push(message.text));
        ctx.register_event_time_timer(time);
        Ok(())
    }

    fn process_broadcast(&mut self, rule: Rule, ctx: &mut BroadcastContext, _out: &mut Collector<Self::Out>) -> Result {
        let time = ctx.require_timestamp()?;
        self.rules.write(ctx).insert(&(rule.topic, time, rule.reader), rule.follows);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Self::Out>) -> Result {
        let topic = ctx.key().to_owned();
        let mut readers = BTreeSet::new();
        let first = |time| (topic.clone(), time, String::new());
        for ((_, _, reader), follows) in
            self.rules.range(first(Timestamp::MIN)..first(timer.time + Duration::from_millis(1)))
        {
            if follows {
                readers.insert(reader);
            } else {
                readers.remove(&reader);
            }
        }
        let texts = self.waiting.get_or_default(&timer.time);
        self.waiting.remove(&timer.time);
        let time = timer.time.as_secs();
        for text in texts {
            for reader in &readers {
                let (reader, topic, text) = (reader.clone(), topic.clone(), text.clone());
                out.emit(Delivered { reader, time, topic, text });
            }
            if readers.is_empty() {
                self.unread.emit(Unread { time, topic: topic.clone(), text });
            }
        }
        Ok(())
    }
}

cofferdam_sdk::export!(FanOut);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn rule(harness: &mut Harness<FanOut>, time: i64, topic: &str, reader: &str, follows: bool) -> Result {
        let rule = Rule { topic: topic.into(), reader: reader.into(), follows };
        harness.push_broadcast(rule, time * 1000)
    }

    fn message(harness: &mut Harness<FanOut>, time: i64, topic: &str, text: &str) -> Result {
        harness.push(topic, Message { text: text.into() }, time * 1000)
    }

    /// Returns the copies as `reader,time,topic,text`.
    fn delivered(harness: &mut Harness<FanOut>) -> Result<Vec<String>> {
        let line = |Delivered { reader, time, topic, text }| format!("{reader},{time},{topic},{text}");
        Ok(harness.take_output()?.into_iter().map(line).collect())
    }

    #[test]
    fn every_reader_gets_a_copy() -> Result {
        let mut harness = Harness::new();
        rule(&mut harness, 0, "news", "bob", true)?;
        rule(&mut harness, 0, "news", "ada", true)?;
        rule(&mut harness, 0, "sport", "cleo", true)?;
        message(&mut harness, 5, "news", "hello")?;
        assert!(delivered(&mut harness)?.is_empty(), "it waits");
        harness.advance_watermark(5_000)?;
        assert_eq!(delivered(&mut harness)?, ["ada,5,news,hello", "bob,5,news,hello"]);
        assert!(harness.read_state("news", |fan_out| fan_out.waiting.is_empty()));
        Ok(())
    }

    #[test]
    fn the_rules_of_its_time_count_in_any_order() -> Result {
        let mut harness = Harness::new();
        message(&mut harness, 5, "news", "hello")?;
        rule(&mut harness, 6, "news", "bob", true)?;
        rule(&mut harness, 5, "news", "ada", true)?;
        rule(&mut harness, 6, "news", "ada", false)?;
        message(&mut harness, 6, "news", "again")?;
        let mut restored = Harness::<FanOut>::restore(&harness.snapshot())?;
        restored.advance_watermark(6_000)?;
        assert_eq!(delivered(&mut restored)?, ["ada,5,news,hello", "bob,6,news,again"]);
        Ok(())
    }

    #[test]
    fn a_message_without_readers_goes_to_the_side_output() -> Result {
        let mut harness = Harness::new();
        rule(&mut harness, 9, "news", "ada", true)?;
        message(&mut harness, 5, "news", "hello")?;
        harness.advance_watermark(9_000)?;
        assert!(delivered(&mut harness)?.is_empty());
        let unread = Unread { time: 5, topic: "news".into(), text: "hello".into() };
        assert_eq!(harness.take_side_output(|fan_out| &fan_out.unread)?, [unread]);
        Ok(())
    }
}
