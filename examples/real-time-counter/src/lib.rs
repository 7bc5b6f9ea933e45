//! The function of the real-time-counter example. It adds up the views of each page.

use cofferdam_sdk::prelude::*;

/// The views of a page.
#[derive(Debug, PartialEq, Record)]
struct Views {
    page: String,
    views: u64,
}

/// Emits the total views of a page after each record.
#[derive(Function)]
struct Count {
    /// The total views of a page.
    views: ReducingState<u64, Sum>,
}

#[function]
impl KeyedProcessFunction for Count {
    type Key = String;
    type In = Views;
    type Out = Views;

    fn process_element(
        &mut self,
        Views { page, views }: Views,
        _ctx: &mut KeyedContext<String>,
        out: &mut Collector<Views>,
    ) -> Result {
        self.views.add(views);
        out.emit(Views { page, views: self.views.get().unwrap_or_default() });
        Ok(())
    }
}

cofferdam_sdk::export!(Count);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn views(page: &str, views: u64) -> Views {
        Views { page: page.to_owned(), views }
    }

    #[test]
    fn each_page_has_its_own_sum() -> Result {
        let mut harness = Harness::<Count>::new();
        for (page, number) in [("/home", 3), ("/docs", 5), ("/home", 4)] {
            harness.push(page, views(page, number), 0)?;
        }
        assert_eq!(harness.take_output()?, [views("/home", 3), views("/docs", 5), views("/home", 7)]);
        assert_eq!(harness.read_state("/home", |count| count.views.get()), Some(7));
        Ok(())
    }

    #[test]
    fn the_sums_continue_after_a_restore() -> Result {
        let mut harness = Harness::<Count>::new();
        harness.push("/home", views("/home", 3), 0)?;
        let mut restored = Harness::<Count>::restore(&harness.snapshot())?;
        restored.push("/home", views("/home", 1), 0)?;
        assert_eq!(restored.take_output()?, [views("/home", 4)]);
        Ok(())
    }
}
