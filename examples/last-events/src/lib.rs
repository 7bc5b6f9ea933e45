//! The function of the last-events example. It emits the last few events of a user after every event.

use cofferdam_sdk::prelude::*;

/// Takes rows `user,event` and emits `user,events` with the last events. The config's `keep` says how many.
#[derive(Function)]
struct Remember {
    /// The newest events of a user, oldest first.
    last: ListState<String>,
    keep: usize,
}

#[function]
impl KeyedProcessFunction for Remember {
    type Key = String;
    type In = Csv<(String, String)>;
    type Out = Csv<(String, String)>;

    fn open(&mut self, ctx: &mut Context) -> Result {
        self.keep = ctx.config_as("keep")?.unwrap_or(3);
        Ok(())
    }

    fn process_element(
        &mut self,
        (user, event): (String, String),
        _ctx: &mut KeyedContext<String>,
        out: &mut Collector<Self::Out>,
    ) -> Result {
        let events = self.last.update(|last| {
            last.push(event);
            last.drain(..last.len().saturating_sub(self.keep));
            last.join(" > ")
        });
        out.emit((user, events));
        Ok(())
    }
}

cofferdam_sdk::export!(Remember);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn push(harness: &mut Harness<Remember>, user: &str, events: &[&str]) -> Result {
        events.iter().try_for_each(|event| harness.push(user, (user.to_owned(), (*event).to_owned()), 0))
    }

    #[test]
    fn the_oldest_event_is_dropped() -> Result {
        let mut harness = Harness::<Remember>::new();
        push(&mut harness, "ada", &["open", "search", "view", "buy"])?;
        push(&mut harness, "bob", &["open"])?;
        let lines =
            ["ada,open", "ada,open > search", "ada,open > search > view", "ada,search > view > buy", "bob,open"];
        assert_eq!(harness.take_text()?, lines);
        assert_eq!(harness.read_state("ada", |remember| remember.last.get().to_vec()), ["search", "view", "buy"]);
        Ok(())
    }

    #[test]
    fn the_number_of_events_is_configurable() -> Result {
        let mut harness = Harness::<Remember>::new().with_config("keep", "1");
        push(&mut harness, "ada", &["open", "search"])?;
        assert_eq!(harness.take_text()?, ["ada,open", "ada,search"]);
        let mut harness = Harness::<Remember>::new().with_config("keep", "few");
        assert!(push(&mut harness, "ada", &["open"]).is_err());
        Ok(())
    }
}
