//! Dead letters that wait for the position of their record in the input.

use std::io::Write;

use crate::connector::RecordLocation;
use crate::model::{Batch, Column};
use crate::turn::OutputBatch;

/// Dead letters whose records have not been found in the input yet.
pub(crate) struct UnlocatedLetters {
    /// The letters with the nodes that emitted them.
    pub(super) letters: Vec<(usize, OutputBatch)>,
    /// Whether the indexes in the letters are those of the source's batch.
    pub(super) are_indexes_known: bool,
}

/// Returns the indexes of the records that letters are about, as the fault policy stores them in their attributes. An index that is
/// not known is larger than that of any record.
pub(super) fn record_indexes(letters: &Batch) -> impl Iterator<Item = usize> {
    let indexes = letters.attributes.iter().flat_map(|attributes| attributes.iter());
    indexes.map(|bytes| bytes.try_into().ok().map_or(usize::MAX, |bytes| u64::from_le_bytes(bytes) as usize))
}

/// Appends a letter to `to`, with the position of its record in the input.
pub(super) fn push_located(to: &mut Column, json: &[u8], location: &RecordLocation) {
    let RecordLocation { file, byte, line } = location;
    let Some(members) = json.strip_suffix(b"}") else { return to.push(json) };
    to.push_with(|to| {
        to.extend_from_slice(members);
        to.extend_from_slice(b",\"source\":{\"file\":");
        // Writing a text to a vector never fails.
        let _ = serde_json::to_writer(&mut *to, file);
        if let Some(line) = line {
            let _ = write!(to, ",\"line\":{line}");
        }
        let _ = write!(to, ",\"byte\":{byte}}}}}");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_gets_the_position_of_its_record() {
        let mut location = RecordLocation { file: "a \"b\".csv".into(), byte: 7, line: Some(2) };
        let mut letters = Column::new();
        push_located(&mut letters, b"{\"code\":\"c\"}", &location);
        location.line = None;
        push_located(&mut letters, b"{\"code\":\"c\"}", &location);
        push_located(&mut letters, b"what is no letter", &location);
        let parse = |index: usize| serde_json::from_slice::<serde_json::Value>(letters.value(index)).unwrap();
        let source = serde_json::json!({ "file": "a \"b\".csv", "line": 2, "byte": 7 });
        assert_eq!(parse(0), serde_json::json!({ "code": "c", "source": source }));
        assert_eq!(parse(1)["source"], serde_json::json!({ "file": "a \"b\".csv", "byte": 7 }));
        assert_eq!(letters.value(2), b"what is no letter");
    }

    #[test]
    fn letters_name_their_records_by_index() {
        let mut batch = Batch::default();
        assert_eq!(record_indexes(&batch).count(), 0);
        (0..3).for_each(|_| batch.push(b"{}", 0));
        batch.attributes = Some([&9u64.to_le_bytes()[..], &u64::MAX.to_le_bytes(), b"short"].iter().collect());
        assert_eq!(record_indexes(&batch).collect::<Vec<_>>(), [9, usize::MAX, usize::MAX]);
    }
}
