//! The record that failed a job under `on_fault = "fail"`, with what a user needs to find it.
//!
//! Its fingerprint identifies the record across attempts, so that repeated failures of one record are recognised.

use xxhash_rust::xxh3::Xxh3;

use super::dead_letter::RecordPosition;

/// A record, a timer or a window that a function failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRecord {
    pub position: RecordPosition,
    /// False for a timer or a window.
    pub is_record: bool,
    /// Index in the batch that the operator received, if the record was part of one.
    pub index: Option<usize>,
    /// Event time in milliseconds, or [`crate::model::NO_TIMESTAMP`].
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    /// Empty for a timer. For a window, a JSON object with its bounds. A row is shown as JSON.
    pub value: Vec<u8>,
}

impl FailedRecord {
    /// A hash that is equal for the same record in every attempt, at whatever position it is read.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for bytes in [self.key.as_deref().unwrap_or_default(), &self.value] {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.update(&self.timestamp.to_le_bytes());
        hash.update(&[u8::from(self.key.is_some()), u8::from(self.is_record)]);
        hash.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_record_and_not_on_its_position() {
        let position = |record| RecordPosition { subtask: 0, record };
        let record = FailedRecord {
            position: position(5),
            is_record: true,
            index: Some(5),
            timestamp: 7,
            key: Some(b"a".to_vec()),
            value: b"bc".to_vec(),
        };
        let moved = FailedRecord { position: position(900), index: Some(1), ..record.clone() };
        assert_eq!(record.fingerprint(), moved.fingerprint());
        let others = [
            FailedRecord { key: Some(b"ab".to_vec()), value: b"c".to_vec(), ..record.clone() },
            FailedRecord { key: None, ..record.clone() },
            FailedRecord { timestamp: 8, ..record.clone() },
            FailedRecord { is_record: false, ..record.clone() },
        ];
        assert!(others.iter().all(|other| other.fingerprint() != record.fingerprint()));
    }
}
