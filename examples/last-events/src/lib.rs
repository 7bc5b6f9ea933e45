//! The function of the last-events example. It emits the last few events of a user after every event.

use cofferdam_sdk::prelude::*;

/// An event of a user.
#[derive(Record)]
struct Event {
    user: String,
    event: String,
}

/// The last events of a user.
#[derive(Debug, PartialEq, Record)]
struct LastEvents {
    user: String,
    /// Oldest first, separated by ` > `.
    events: String,
}

/// Emits the last events of a user. The config's `keep` says how many.
#[derive(Function)]
struct Remember {
    /// The newest events of a user, oldest first.
    last: ListState<String>,
    keep: usize,
}

#[function]
impl KeyedProcessFunction for Remember {
    type Key = String;
    type In = Event;
    type Out = LastEvents;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.keep = ctx.config_as("keep")?.unwrap_or(3);
        Ok(())
    }

    fn process_element(
        &mut self,
        Event { user, event }: Event,
        _ctx: &mut KeyedContext<String>,
        out: &mut Collector<LastEvents>,
    ) -> Result {
        let events = self.last.update(|last| {
            last.push(event);
            last.drain(..last.len().saturating_sub(self.keep));
            last.join(" > ")
        });
        out.emit(LastEvents { user, events });
        Ok(())
    }
}

cofferdam_sdk::export!(Remember);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn push(harness: &mut Harness<Remember>, user: &str, events: &[&str]) -> Result {
        let event = |event: &&str| Event { user: user.to_owned(), event: (*event).to_owned() };
        events.iter().map(event).try_for_each(|event| harness.push(user, event, 0))
    }

    fn last(user: &str, events: &str) -> LastEvents {
        LastEvents { user: user.to_owned(), events: events.to_owned() }
    }

    #[test]
    fn the_oldest_event_is_dropped() -> Result {
        let mut harness = Harness::<Remember>::new();
        push(&mut harness, "ada", &["open", "search", "view", "buy"])?;
        push(&mut harness, "bob", &["open"])?;
        let of_ada = ["open", "open > search", "open > search > view", "search > view > buy"];
        let emitted = harness.take_output()?;
        assert_eq!(emitted[..4], of_ada.map(|events| last("ada", events)));
        assert_eq!(emitted[4..], [last("bob", "open")]);
        assert_eq!(harness.read_state("ada", |remember| remember.last.get().to_vec()), ["search", "view", "buy"]);
        Ok(())
    }

    #[test]
    fn the_number_of_events_is_configurable() -> Result {
        let mut harness = Harness::<Remember>::new().with_config("keep", "1");
        push(&mut harness, "ada", &["open", "search"])?;
        assert_eq!(harness.take_output()?, [last("ada", "open"), last("ada", "search")]);
        let mut harness = Harness::<Remember>::new().with_config("keep", "few");
        assert!(push(&mut harness, "ada", &["open"]).is_err());
        Ok(())
    }
}
