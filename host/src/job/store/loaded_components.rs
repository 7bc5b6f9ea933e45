//! The components whose code is in memory.
//!
//! Jobs hold the components that they run. Of the others, only the most recently used ones stay loaded, so that uploads do not fill
//! the memory. An evicted component is loaded again from the cache of compiled code.

use std::collections::{HashMap, VecDeque};

use crate::sandbox::{Component, UnusedComponent};

/// Maximum number of components that stay loaded although no job may use them.
const RECENT_MAX: usize = 16;

/// Maximum size of these components together, in bytes of their WebAssembly. Their code takes a few times as much.
const RECENT_BYTES_MAX: u64 = 64 << 20;

/// Loaded components by SHA-256.
pub(super) struct LoadedComponents {
    /// All components that something still uses, and some that nothing does.
    loaded: HashMap<String, UnusedComponent>,
    /// The components that were used last, oldest first, with their sizes.
    recent: VecDeque<(String, Component, u64)>,
    bytes_max: u64,
}

impl Default for LoadedComponents {
    fn default() -> LoadedComponents {
        LoadedComponents { loaded: HashMap::new(), recent: VecDeque::new(), bytes_max: RECENT_BYTES_MAX }
    }
}

impl LoadedComponents {
    /// Returns a component that is loaded.
    pub fn get(&mut self, sha256: &str) -> Option<Component> {
        let component = self.loaded.get(sha256)?.upgrade()?;
        if let Some(at) = self.recent.iter().position(|(recent, ..)| recent == sha256)
            && let Some(used) = self.recent.remove(at)
        {
            self.recent.push_back(used);
        }
        Some(component)
    }

    /// Adds a component of `bytes` bytes, and evicts those that were used longest ago.
    pub fn insert(&mut self, sha256: &str, component: Component, bytes: u64) {
        self.recent.retain(|(recent, ..)| recent != sha256);
        self.loaded.insert(sha256.to_owned(), component.downgrade());
        self.recent.push_back((sha256.to_owned(), component, bytes));
        while self.recent.len() > RECENT_MAX || (self.recent.len() > 1 && self.recent_bytes() > self.bytes_max) {
            self.recent.pop_front();
        }
        self.loaded.retain(|_, component| component.upgrade().is_some());
    }

    fn recent_bytes(&self) -> u64 {
        self.recent.iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Forgets a component that was removed from the store.
    pub fn remove(&mut self, sha256: &str) {
        self.recent.retain(|(recent, ..)| recent != sha256);
        self.loaded.remove(sha256);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::small_component;
    use crate::sandbox::{Sandbox, SandboxOptions};

    #[test]
    fn components_that_nothing_uses_are_evicted_oldest_first() {
        let mut loaded = LoadedComponents { bytes_max: 100, ..LoadedComponents::default() };
        let sandbox = Sandbox::open(SandboxOptions::in_this_process(1)).unwrap();
        let wasm = small_component();
        let component = || sandbox.load(&wasm).unwrap();
        let used = component().downgrade();
        assert!(used.upgrade().is_none(), "nothing holds it");
        let held = component();
        loaded.insert("held", held.clone(), 60);
        loaded.insert("a", component(), 30);
        assert!(loaded.get("a").is_some() && loaded.get("held").is_some());
        // `a` was used before `held`, so it goes first.
        loaded.insert("b", component(), 30);
        assert!(loaded.get("a").is_none() && loaded.get("b").is_some());
        loaded.insert("large", component(), 1000);
        assert!(loaded.get("b").is_none() && loaded.get("large").is_some(), "the newest stays whatever its size");
        assert!(loaded.get("held").is_some(), "a job uses it");
        drop(held);
        assert!(loaded.get("held").is_none());
        for number in 0..RECENT_MAX + 4 {
            loaded.insert(&number.to_string(), component(), 1);
        }
        assert_eq!((loaded.recent.len(), loaded.loaded.len()), (RECENT_MAX, RECENT_MAX));
        loaded.remove("19");
        assert!(loaded.get("19").is_none() && loaded.get("18").is_some());
    }
}
