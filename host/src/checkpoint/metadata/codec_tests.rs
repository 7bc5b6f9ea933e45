//! Metadata files of every format, and damaged ones.

use super::checkpoint_metadata::{CheckpointKind, CheckpointMetadata};
use crate::checkpoint::testing::metadata;
use crate::state::FileRef;

/// Returns the fixture of format 1 and the metadata that both fixtures contain. The fixtures were written byte by byte from
/// the descriptions of the formats.
fn fixture() -> (&'static [u8], CheckpointMetadata) {
    let path = "job-1/shared/7-00000000000000aa-state".into();
    let file = FileRef { name: "state".into(), path, bytes: 300, crc32c: 0xdead_beef };
    let bytes = include_bytes!("../../../fixtures/checkpoint-manifest-v1.bin");
    (bytes, metadata(7, CheckpointKind::Checkpoint, &[file]))
}

#[test]
fn metadata_of_format_1_still_loads() {
    let (bytes, expected) = fixture();
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), expected);
    assert_eq!(CheckpointMetadata::decode("m", &expected.encode().unwrap()).unwrap(), expected);
    assert_eq!(expected.bytes(), 300);
    assert_eq!(expected.subtask("delays", 0).unwrap().counters.records_in, 998);
    assert_eq!(expected.subtask("delays", 1), None);
}

#[test]
fn metadata_of_format_2_still_loads() {
    let (_, mut expected) = fixture();
    expected.seed = Some(300);
    let bytes = include_bytes!("../../../fixtures/checkpoint-manifest-v2.bin");
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), expected);
}

#[test]
fn late_records_and_watermarks_survive_encoding() {
    let (_, mut metadata) = fixture();
    let track = &mut metadata.operators[1].subtasks[0];
    (track.counters.records_late, track.watermark) = (70_000, Some(-5));
    assert_eq!(CheckpointMetadata::decode("m", &metadata.encode().unwrap()).unwrap(), metadata);
}

#[test]
fn the_error_for_damaged_metadata_names_its_file() {
    let (bytes, _) = fixture();
    let rejected = |bytes: &[u8]| {
        let error = CheckpointMetadata::decode("some/path", bytes).unwrap_err();
        assert_eq!(error.code, "checkpoint-corrupt");
        assert!(error.message.starts_with("some/path: "), "{}", error.message);
        error.message
    };
    for offset in 0..bytes.len() {
        rejected(&bytes[..offset]);
        let mut flipped = bytes.to_vec();
        flipped[offset] ^= 1;
        rejected(&flipped);
    }
    rejected(&[bytes, b"x"].concat());
    let mut newer = bytes.to_vec();
    newer[8] = 4;
    assert!(rejected(&newer).contains("a newer version of Cofferdam"));
}

#[test]
fn malformed_metadata_with_a_valid_checksum_is_rejected() {
    let (_, good) = fixture();
    let encode_unchecked = |metadata: &CheckpointMetadata| {
        let payload = postcard::to_stdvec(metadata).unwrap();
        let header =
            [&b"COFFCKPT"[..], &CheckpointMetadata::FORMAT.to_le_bytes(), &crc32c::crc32c(&payload).to_le_bytes()]
                .concat();
        [&header[..], &(payload.len() as u64).to_le_bytes(), &payload].concat()
    };
    assert!(CheckpointMetadata::decode("m", &encode_unchecked(&good)).is_ok());
    let changes: [fn(&mut CheckpointMetadata); 5] = [
        |metadata| metadata.max_parallelism = 0,
        |metadata| metadata.max_parallelism = u32::MAX,
        |metadata| metadata.operators[1].parallelism = 2,
        |metadata| metadata.operators[1].id = "flights".into(),
        |metadata| metadata.format = 1,
    ];
    for make_malformed in changes {
        let mut metadata = good.clone();
        make_malformed(&mut metadata);
        assert_eq!(
            CheckpointMetadata::decode("m", &encode_unchecked(&metadata)).unwrap_err().code,
            "checkpoint-corrupt"
        );
        assert_eq!(metadata.encode().unwrap_err().code, "internal");
    }
}
