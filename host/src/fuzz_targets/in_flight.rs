//! The file of the records in flight of an unaligned checkpoint.

use crate::runtime::InFlightData;

const MAX_PARALLELISM: u32 = 128;

/// What is decoded can be encoded and decoded again, and distributed to other subtasks.
pub(super) fn run(data: &[u8]) {
    let Some(in_flight) = decoded(data) else { return };
    let encoded = in_flight.encode().unwrap();
    let again = decoded(&encoded).expect("what was encoded is decoded");
    assert_eq!(again.encode().unwrap(), encoded);
    for (subtask, groups) in [(0, 0..64), (1, 64..128)] {
        let Some(in_flight) = decoded(data) else { return };
        let moved = in_flight.redistribute(0, 3, subtask, 2, &groups);
        assert!(decoded(&moved.encode().unwrap()).is_some());
    }
}

fn decoded(file: &[u8]) -> Option<InFlightData> {
    match InFlightData::decode("fuzz", file, MAX_PARALLELISM) {
        Ok(in_flight) => Some(in_flight),
        Err(error) => {
            assert_eq!(error.code, "checkpoint-corrupt", "{error}");
            None
        }
    }
}
