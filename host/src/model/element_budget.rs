//! A limit on the elements of lists that are decoded from untrusted bytes.
//!
//! An element takes many times the memory of its encoded form: a list of empty texts takes a byte each in postcard and 24
//! bytes in memory. So a limit on the bytes does not limit the memory.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

thread_local! {
    /// Elements that [`budgeted_vec`] may still decode on this thread.
    static ELEMENTS_LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Runs `decode`, in which all lists of [`budgeted_vec`] together have at most `elements` elements.
pub fn within_element_budget<T>(elements: usize, decode: impl FnOnce() -> T) -> T {
    let outer = ELEMENTS_LEFT.replace(elements);
    let decoded = decode();
    ELEMENTS_LEFT.set(outer);
    decoded
}

/// Decodes a list within the budget of [`within_element_budget`]. For `#[serde(deserialize_with = "...")]`.
pub fn budgeted_vec<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(BudgetedVec(PhantomData))
}

struct BudgetedVec<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for BudgetedVec<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            let left = ELEMENTS_LEFT.get().checked_sub(1).ok_or_else(|| A::Error::custom("too many elements"))?;
            ELEMENTS_LEFT.set(left);
            elements.push(element);
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Nested {
        #[serde(deserialize_with = "budgeted_vec")]
        names: Vec<String>,
    }

    #[derive(Serialize, Deserialize)]
    struct Lists {
        #[serde(deserialize_with = "budgeted_vec")]
        lists: Vec<Nested>,
    }

    #[test]
    fn all_lists_share_the_budget() {
        let list = || Nested { names: vec![String::new(); 3] };
        let bytes = postcard::to_stdvec(&Lists { lists: vec![list(), list()] }).unwrap();
        let decode = |budget| within_element_budget(budget, || postcard::from_bytes::<Lists>(&bytes).is_ok());
        assert!(decode(8) && !decode(7));
        assert!(postcard::from_bytes::<Lists>(&bytes).is_ok(), "without a budget");
        // A list that claims more elements than bytes follow.
        assert!(postcard::from_bytes::<Nested>(b"\xff\xff\xff\xff\x0f").is_err());
    }
}
