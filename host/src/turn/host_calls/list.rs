//! The host calls `state.list-*`. Each element of a list with a time to live has its own update time.

use crate::error::Error;
use crate::model::Column;
use crate::state::{StateId, StateKind, list, ttl};
use crate::turn::error::{HostCallError, invalid};
use crate::turn::staged::writes::StagedWrites;
use crate::turn::transaction::{TtlStamp, Turn};

const LISTS: &[StateKind] = &[StateKind::List];

/// Bytes that a list stores for each element in addition to its own.
const ELEMENT_OVERHEAD_BYTES: usize = 4;

impl Turn {
    /// `state.list-load`: returns the elements of all keys of the turn, and for each key the end of its elements.
    pub fn list_load(&mut self, state: u32) -> Result<(Column, Vec<u32>), HostCallError> {
        let state = self.check_state(state, LISTS)?;
        let entries = self.load(state)?;
        let mut elements = Column::with_capacity(entries.values.len() * 2, entries.values.bytes().len());
        let mut ends = Vec::with_capacity(entries.values.len());
        for (key, stored) in entries.values.iter().enumerate() {
            // Expired elements stay: the call loads all keys, so the function may never look at this one.
            self.read_list(state, key as u32, stored, &mut elements, false)?;
            ends.push(elements.len() as u32);
        }
        Ok((elements, ends))
    }

    /// `state.list-append`: appends `elements[i]` to the list of `keys[i]`, for each `i`.
    pub fn list_append(&mut self, state: u32, keys: &[u32], elements: &Column) -> Result<(), HostCallError> {
        let state = self.check_state(state, LISTS)?;
        self.check_keys(keys, elements.len())?;
        if !self.admit_write(elements.bytes().len() + 16 * keys.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        for (&key, element) in keys.iter().zip(elements.iter()) {
            list::push_element(staged.append(key), stamp.bytes(), element);
        }
        let overhead = ELEMENT_OVERHEAD_BYTES + stamp.bytes().len();
        let mut written = keys.iter().zip(elements.iter());
        written.try_for_each(|(&key, element)| self.check_key_size(state, key, (element.len() + overhead, 1)))
    }

    /// `state.list-replace`: replaces the list of each of `keys`. The new list of `keys[i]` ends before `elements[ends[i]]`.
    pub fn list_replace(
        &mut self,
        state: u32,
        keys: &[u32],
        elements: &Column,
        ends: &[u32],
    ) -> Result<(), HostCallError> {
        let state = self.check_state(state, LISTS)?;
        self.check_keys(keys, ends.len())?;
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != elements.len() {
            return Err(invalid("the ends of the lists do not match their elements"));
        }
        if !self.admit_write(elements.bytes().len() + 4 * elements.len() + 16 * keys.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        let staged = &mut self.staged[usize::from(state)];
        let mut start = 0;
        for (&key, &end) in keys.iter().zip(ends) {
            replace_list(staged, key, &stamp, (start..end).map(|index| elements.value(index as usize)));
            start = end;
        }
        keys.iter().try_for_each(|&key| self.check_key_size(state, key, (0, 0)))
    }

    /// `state.list-get`: returns the elements of one key.
    pub fn list_get(&mut self, state: u32, key: u32) -> Result<Column, HostCallError> {
        let state = self.check_state(state, LISTS)?;
        let mut elements = Column::new();
        if let Some(stored) = self.load_one(state, key)? {
            self.read_list(state, key, &stored, &mut elements, true)?;
        }
        Ok(elements)
    }

    /// `state.list-add`: appends an element to the list of one key.
    pub fn list_add(&mut self, state: u32, key: u32, element: &[u8]) -> Result<(), HostCallError> {
        let state = self.check_state(state, LISTS)?;
        self.check_key(key)?;
        if !self.admit_write(element.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        list::push_element(self.staged[usize::from(state)].append(key), stamp.bytes(), element);
        let bytes = element.len() + ELEMENT_OVERHEAD_BYTES + stamp.bytes().len();
        self.check_key_size(state, key, (bytes, 1))
    }

    /// `state.list-set`: replaces the list of one key.
    pub fn list_set(&mut self, state: u32, key: u32, elements: &Column) -> Result<(), HostCallError> {
        let state = self.check_state(state, LISTS)?;
        self.check_key(key)?;
        if !self.admit_write(elements.bytes().len() + 4 * elements.len())? {
            return Ok(());
        }
        let stamp = self.stamp(state);
        replace_list(&mut self.staged[usize::from(state)], key, &stamp, elements.iter());
        self.check_key_size(state, key, (0, 0))
    }

    /// Appends the visible elements of a stored list to `elements`. With `removes_returned`, expired elements that are
    /// returned are removed, so that they are returned only once.
    fn read_list(
        &mut self,
        state: StateId,
        key: u32,
        stored: &[u8],
        elements: &mut Column,
        removes_returned: bool,
    ) -> Result<(), Error> {
        let Some(lifetime) = self.ttl(state) else { return list::decode(stored, elements) };
        let now_ms = self.context.processing_time;
        let (mut restarts_ttl, mut expired_bytes, mut returns_expired) = (false, 0, false);
        list::decode_with(stored, elements, |element, elements| {
            let read = lifetime.read(element, now_ms)?;
            restarts_ttl |= read.restarts_ttl;
            returns_expired |= read.is_expired_but_returned();
            expired_bytes += if read.is_expired { element.len() } else { 0 };
            read.value.into_iter().for_each(|value| elements.push(value));
            Ok(())
        })?;
        // Rewrites the list without its expired elements in two cases: if the read restarts the time to live, because it must
        // not revive them, and if they make up most of the list. Elements that may still be returned stay until then.
        let is_mostly_expired = 2 * expired_bytes > stored.len() && !lifetime.return_expired;
        if restarts_ttl || is_mostly_expired || (removes_returned && returns_expired) {
            let staged = &mut self.staged[usize::from(state)];
            staged.delete(key);
            list::decode_with(stored, &mut Column::new(), |element, _| {
                if let Some((updated_ms, value)) = ttl::split(element)
                    && !lifetime.is_expired(updated_ms, now_ms)
                {
                    let stamp = ttl::stamp(if restarts_ttl { now_ms } else { updated_ms });
                    list::push_element(staged.append(key), &stamp, value);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn replace_list<'a>(staged: &mut StagedWrites, key: u32, stamp: &TtlStamp, elements: impl Iterator<Item = &'a [u8]>) {
    staged.delete(key);
    for element in elements {
        list::push_element(staged.append(key), stamp.bytes(), element);
    }
}
