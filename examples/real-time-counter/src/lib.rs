//! The function of the real-time-counter example. It adds up the views of each page.

use cofferdam_sdk::prelude::*;

/// Takes rows `page,views` and emits the page with its total views.
#[derive(Function)]
struct Count {
    /// The total views of a page.
    views: ReducingState<u64, Sum>,
}

#[function]
impl KeyedProcessFunction for Count {
    type Key = String;
    type In = Csv<(String, u64)>;
    type Out = Csv<(String, u64)>;

    fn process_element(
        &mut self,
        (page, views): (String, u64),
        _ctx: &mut KeyedContext<String>,
        out: &mut Collector<Self::Out>,
    ) -> Result {
        self.views.add(views);
        let all = self.views.get().unwrap_or_default();
        out.emit((page, all));
        Ok(())
    }
}

cofferdam_sdk::export!(Count);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    #[test]
    fn each_page_has_its_own_sum() -> Result {
        let mut harness = Harness::<Count>::new();
        for (page, views) in [("/home", 3), ("/docs", 5), ("/home", 4)] {
            harness.push(page, (page.to_owned(), views), 0)?;
        }
        assert_eq!(harness.take_text()?, ["/home,3", "/docs,5", "/home,7"]);
        assert_eq!(harness.read_state("/home", |count| count.views.get()), Some(7));
        Ok(())
    }

    #[test]
    fn the_sums_continue_after_a_restore() -> Result {
        let mut harness = Harness::<Count>::new();
        harness.push("/home", ("/home".to_owned(), 3), 0)?;
        let mut restored = Harness::<Count>::restore(&harness.snapshot())?;
        restored.push("/home", ("/home".to_owned(), 1), 0)?;
        assert_eq!(restored.take_text()?, ["/home,4"]);
        Ok(())
    }

    #[test]
    fn a_row_without_a_number_is_an_error() {
        assert!(Harness::<Count>::new().push_raw("/home", "/home,many", 0).is_err());
    }
}
