//! Reads the states of a harness as the function would read them.

use super::Harness;
use crate::declaration::Declaration;
use crate::fields::Binder;
use crate::function::Function;
use crate::key::{EncodeKey, encoded};
use std::rc::Rc;

impl<F: Function> Harness<F> {
    /// Calls `read` with a new instance of the function that has the states of `key`, and returns the result. Changes are not kept, and
    /// an expired entry is not used up.
    ///
    /// ```
    /// # use cofferdam_sdk::prelude::*;
    /// # use cofferdam_sdk::testing::Harness;
    /// # #[derive(Function)] struct Counter { count: ValueState<u64> }
    /// # #[function] impl KeyedProcessFunction for Counter {
    /// #     type Key = String; type In = Bytes; type Out = Bytes;
    /// #     fn process_element(&mut self, _: &[u8], _: &mut KeyedContext<String>, _: &mut Collector<Bytes>) -> Result {
    /// #         self.count.update(|count| *count += 1);
    /// #         Ok(())
    /// #     }
    /// # }
    /// let mut harness = Harness::<Counter>::new();
    /// harness.push("tea", "", 0)?;
    /// assert_eq!(harness.read_state("tea", |counter| counter.count.get()), Some(1));
    /// # Ok::<(), FunctionError>(())
    /// ```
    ///
    /// Broadcast state can be read with any key. The states of a window have the key [`window_key`](super::window_key).
    pub fn read_state<R>(&self, key: impl EncodeKey, read: impl FnOnce(&mut F) -> R) -> R {
        let (committed, calls) = self.memory.with(|memory| {
            memory.keys = vec![encoded(key)];
            (memory.before_turn(), memory.calls.clone())
        });
        let binder = Binder::new(F::NAME, Declaration::of::<F>(), Rc::new(self.memory.clone()));
        let mut function = F::create(&binder);
        binder.cursor.begin(1);
        let returned = read(&mut function);
        self.memory.with(|memory| {
            memory.roll_back(committed);
            memory.calls = calls;
        });
        returned
    }

    /// Returns the index of a declared state.
    pub(super) fn state_index(&self, name: &str) -> Result<u32, crate::FunctionError> {
        let index = self.description.states.iter().position(|state| state.name == name);
        Ok(index.ok_or_else(|| format!("state `{name}` is not declared"))? as u32)
    }
}
