//! Writes to keyed state that wait for their turn's commit. Buffers are used again from turn to turn; what is left in one
//! is never seen by a key that the turn has not touched.

/// What a turn wants to write to one state: for each key of the batch a change and its bytes.
#[derive(Default)]
pub(super) struct Staged {
    changes: Vec<StagedChange>,
    bytes: Vec<Vec<u8>>,
    pub(super) touched: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StagedChange {
    #[default]
    None,
    Put,
    Append,
    Delete,
}

/// Buffers above this size are given back between turns.
const BUFFER_KEPT_BYTES: usize = 4096;

impl Staged {
    /// The change of a key and its buffer, noted as touched.
    fn touch(&mut self, key: u32) -> (&mut StagedChange, &mut Vec<u8>) {
        let at = key as usize;
        if self.changes.len() <= at {
            self.changes.resize(at + 1, StagedChange::None);
            self.bytes.resize_with(at + 1, Vec::new);
        }
        if self.changes[at] == StagedChange::None {
            self.touched.push(key);
            self.bytes[at].clear();
        }
        (&mut self.changes[at], &mut self.bytes[at])
    }

    pub(super) fn put(&mut self, key: u32, value: &[u8]) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Put;
        bytes.clear();
        bytes.extend_from_slice(value);
    }

    pub(super) fn delete(&mut self, key: u32) {
        let (change, bytes) = self.touch(key);
        *change = StagedChange::Delete;
        bytes.clear();
    }

    /// The buffer to append to.
    pub(super) fn append(&mut self, key: u32) -> &mut Vec<u8> {
        let (change, bytes) = self.touch(key);
        *change = match *change {
            StagedChange::None | StagedChange::Append => StagedChange::Append,
            StagedChange::Put | StagedChange::Delete => StagedChange::Put,
        };
        bytes
    }

    pub(super) fn get(&self, key: usize) -> (StagedChange, &[u8]) {
        match self.changes.get(key) {
            // The buffer of an untouched key holds what an earlier turn left.
            None | Some(StagedChange::None) => (StagedChange::None, &[]),
            Some(&change) => (change, &self.bytes[key]),
        }
    }

    pub(super) fn reset(&mut self) {
        for &key in &self.touched {
            self.changes[key as usize] = StagedChange::None;
            if self.bytes[key as usize].capacity() > BUFFER_KEPT_BYTES {
                self.bytes[key as usize] = Vec::new();
            }
        }
        self.touched.clear();
    }
}
