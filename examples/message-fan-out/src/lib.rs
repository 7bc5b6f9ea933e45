//! The function of the message-fan-out example. It emits a copy of each message for every reader who follows its topic.

use std::collections::BTreeSet;

use cofferdam_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A row of the messages.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    /// In seconds.
    time: i64,
    topic: String,
    text: String,
}

/// A row of the rules.
#[derive(Debug, Serialize, Deserialize)]
struct Rule {
    /// In seconds.
    time: i64,
    topic: String,
    reader: String,
    follows: bool,
}

/// Emits `reader,time,topic,text` for each message and each of its readers, by the rules of the message's time.
///
/// Messages and rules arrive in any order. A timer at the message's time fires when both inputs have reached it. Then all rules up to
/// that time are known, and later ones are ignored.
#[derive(Function)]
struct FanOut {
    /// The waiting texts of a topic, by the time of their message.
    waiting: MapState<Timestamp, Vec<String>>,
    /// By topic, time and reader: whether the reader follows the topic from that time on.
    rules: BroadcastState<(String, Timestamp, String), bool>,
    /// Messages without a reader.
    unread: SideOutput<Csv<(i64, String, String)>>,
}

#[function(name = "fan-out", timers(event))]
impl BroadcastProcessFunction for FanOut {
    type Key = String;
    type In = Csv<Message>;
    type Broadcast = Csv<Rule>;
    type Out = Csv<(String, i64, String, String)>;

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
                out.emit((reader.clone(), time, topic.clone(), text.clone()));
            }
            if readers.is_empty() {
                self.unread.emit((time, topic.clone(), text));
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
        let rule = Rule { time, topic: topic.into(), reader: reader.into(), follows };
        harness.push_broadcast(rule, time * 1000)
    }

    fn message(harness: &mut Harness<FanOut>, time: i64, topic: &str, text: &str) -> Result {
        harness.push(topic, Message { time, topic: topic.into(), text: text.into() }, time * 1000)
    }

    #[test]
    fn every_reader_gets_a_copy() -> Result {
        let mut harness = Harness::new();
        rule(&mut harness, 0, "news", "bob", true)?;
        rule(&mut harness, 0, "news", "ada", true)?;
        rule(&mut harness, 0, "sport", "cleo", true)?;
        message(&mut harness, 5, "news", "hello")?;
        assert!(harness.take_text()?.is_empty(), "it waits");
        harness.advance_watermark(5_000)?;
        assert_eq!(harness.take_text()?, ["ada,5,news,hello", "bob,5,news,hello"]);
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
        assert_eq!(restored.take_text()?, ["ada,5,news,hello", "bob,6,news,again"]);
        Ok(())
    }

    #[test]
    fn a_message_without_readers_goes_to_the_side_output() -> Result {
        let mut harness = Harness::new();
        rule(&mut harness, 9, "news", "ada", true)?;
        message(&mut harness, 5, "news", "hello")?;
        harness.advance_watermark(9_000)?;
        assert!(harness.take_text()?.is_empty());
        assert_eq!(harness.take_side_output(|fan_out| &fan_out.unread)?, [(5, "news".to_owned(), "hello".to_owned())]);
        Ok(())
    }
}
