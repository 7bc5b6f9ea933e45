//! Dead letters that wait for the position of their record in the input.

use crate::connector::RecordLocation;
use crate::model::Batch;
use crate::turn::OutputBatch;

/// Dead letters whose records have not been found in the input yet.
pub(crate) struct UnlocatedLetters {
    /// The letters with the nodes that emitted them.
    pub(super) letters: Vec<(usize, OutputBatch)>,
    /// Whether the indexes in the letters are those of the source's batch.
    pub(super) are_indexes_known: bool,
}

/// Returns the index of the record that a letter is about, which the fault policy stores in its attributes.
pub(super) fn record_index(letter: &Batch) -> Option<usize> {
    let index = letter.attributes.as_ref().filter(|attributes| !attributes.is_empty())?.value(0);
    usize::try_from(u64::from_le_bytes(index.try_into().ok()?)).ok()
}

/// Adds the position of the record in the input to a letter.
pub(super) fn located(json: &[u8], location: &RecordLocation) -> Vec<u8> {
    let RecordLocation { file, byte, line } = location;
    let source = serde_json::json!({ "file": file, "line": line, "byte": byte });
    match json.strip_suffix(b"}") {
        Some(members) => [members, b",\"source\":", source.to_string().as_bytes(), b"}"].concat(),
        None => json.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_gets_the_position_of_its_record() {
        let location = RecordLocation { file: "a \"b\".csv".into(), byte: 7, line: Some(2) };
        let letter: serde_json::Value = serde_json::from_slice(&located(b"{\"code\":\"c\"}", &location)).unwrap();
        let source = serde_json::json!({ "file": "a \"b\".csv", "line": 2, "byte": 7 });
        assert_eq!(letter, serde_json::json!({ "code": "c", "source": source }));
        let mut batch = Batch::default();
        batch.push(b"{}", 0);
        assert_eq!(record_index(&batch), None);
        batch.attributes = Some([9u64.to_le_bytes()].iter().collect());
        assert_eq!(record_index(&batch), Some(9));
    }
}
