//! What a function failed on under `on_fault = "fail"`: enough for a person to find it, and to tell it from others.

use xxhash_rust::xxh3::Xxh3;

use super::dead_letter::RecordPosition;

/// A record, a timer or a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRecord {
    pub position: RecordPosition,
    /// Whether it is a record, and not a timer or a window.
    pub is_record: bool,
    /// The record's index in the batch that the operator was given, where it came in one.
    pub index: Option<usize>,
    /// Event time in milliseconds, or [`crate::model::NO_TIMESTAMP`].
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    /// Empty for a timer.
    pub value: Vec<u8>,
}

impl FailedRecord {
    /// The same for the same record in another attempt, wherever it is read then.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for part in [self.key.as_deref().unwrap_or_default(), &self.value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
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
    fn a_fingerprint_tells_records_apart_and_not_their_positions() {
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
