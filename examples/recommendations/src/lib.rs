//! The function of the recommendations example. It recommends products by those that the user looked at in one visit.

use std::collections::BTreeMap;

use cofferdam_sdk::prelude::*;

/// The shop's products, the best first, with their categories.
const CATALOGUE: &[(&str, &str)] = &[
    ("kettle", "kitchen"),
    ("tent", "camping"),
    ("teapot", "kitchen"),
    ("lantern", "camping"),
    ("novel", "books"),
    ("pan", "kitchen"),
    ("rope", "camping"),
    ("atlas", "books"),
];
/// The largest number of recommended products.
const RECOMMENDED: usize = 2;

/// A user, who is the key, looks at a product.
#[derive(Record)]
struct Look<'a> {
    product: &'a str,
}

/// The result of a visit.
#[derive(Debug, PartialEq, Record)]
struct Visit {
    user: String,
    /// The time of the first look, in seconds.
    from: i64,
    looks: u64,
    /// The category with the most looks.
    category: String,
    recommended: Vec<String>,
}

/// Emits for each visit the best products of the category with the most looks, without the products that were seen.
#[derive(Default)]
struct Recommend;

fn category(product: &str) -> Option<&'static str> {
    CATALOGUE.iter().find(|(name, _)| *name == product).map(|(_, category)| *category)
}

#[function]
impl ProcessWindowFunction for Recommend {
    type Key = String;
    type In = Look<'static>;
    type Out = Visit;

    fn process(
        &mut self,
        window: &Window<String>,
        looks: Elements<Look<'static>>,
        _ctx: &mut Context,
        out: &mut Collector<Visit>,
    ) -> Result {
        let products: Vec<&str> = looks.values().map(|look| look.product).collect();
        let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
        for category in products.iter().filter_map(|product| category(product)) {
            *categories.entry(category).or_default() += 1;
        }
        // If several categories have the most looks, the last in the alphabet wins.
        let Some((favourite, _)) = categories.into_iter().max_by_key(|(_, looks)| *looks) else { return Ok(()) };
        let new = |(name, category): &&(&str, &str)| {
            *category == favourite && !products.iter().any(|product| product == name)
        };
        out.emit(Visit {
            user: window.key().to_owned(),
            from: window.start.as_secs(),
            looks: products.len() as u64,
            category: favourite.to_owned(),
            recommended: CATALOGUE.iter().filter(new).take(RECOMMENDED).map(|(name, _)| (*name).to_owned()).collect(),
        });
        Ok(())
    }
}

cofferdam_sdk::export!(Recommend);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::{WindowHarness, Windows};

    /// Returns the visits of ada's looks. A visit ends ten minutes after its last look.
    fn visits(looks: &[(i64, &str)]) -> Result<Vec<Visit>> {
        let mut harness = WindowHarness::<Recommend>::new(Windows::session(Duration::from_mins(10)));
        for &(time, product) in looks {
            harness.push("ada", Look { product }, time * 1000)?;
        }
        harness.advance_watermark(Timestamp::MAX)?;
        harness.take_output()
    }

    #[test]
    fn the_best_unseen_products_of_the_category_are_recommended() -> Result {
        let visits = visits(&[(5, "kettle"), (60, "tent"), (90, "kettle")])?;
        assert_eq!(visits.len(), 1);
        assert_eq!((visits[0].from, visits[0].looks, visits[0].category.as_str()), (5, 3, "kitchen"));
        assert_eq!(visits[0].recommended, ["teapot", "pan"]);
        Ok(())
    }

    #[test]
    fn ten_quiet_minutes_end_a_visit() -> Result {
        let categories = |looks: &[(i64, &str)]| -> Result<Vec<String>> {
            Ok(visits(looks)?.into_iter().map(|visit| visit.category).collect())
        };
        assert_eq!(categories(&[(0, "novel"), (599, "novel"), (1198, "rope")])?, ["books"]);
        assert_eq!(categories(&[(0, "novel"), (601, "rope")])?, ["books", "camping"]);
        assert_eq!(categories(&[(0, "novel"), (1000, "novel"), (500, "rope")])?, ["books"], "one visit, out of order");
        Ok(())
    }

    #[test]
    fn a_product_that_is_not_in_the_catalogue_is_ignored() -> Result {
        assert!(visits(&[(0, "unicorn")])?.is_empty());
        assert_eq!(visits(&[(0, "unicorn"), (1, "novel"), (2, "atlas")])?[0].recommended, [""; 0]);
        Ok(())
    }
}
