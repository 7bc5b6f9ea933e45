//! Metadata files of every format, and damaged ones.

use super::checkpoint_metadata::{CheckpointKind, CheckpointMetadata};
use super::operator_version::OperatorVersion;
use crate::checkpoint::testing::metadata;
use crate::model::TurnPositions;
use crate::state::{FileRef, StateKind, TimeToLive, TtlUpdate};

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

/// Returns the metadata that the fixture of format 3 contains.
fn metadata_of_format_3() -> CheckpointMetadata {
    let (_, mut metadata) = fixture();
    metadata.seed = Some(300);
    let track = &mut metadata.operators[1].subtasks[0];
    (track.counters.records_late, track.watermark) = (70_000, Some(-5));
    let ttl = TimeToLive { milliseconds: 5000, update: TtlUpdate::ReadAndWrite, return_expired: true };
    let count = &mut track.state.as_mut().unwrap().layout[0];
    (count.kind, count.map_key, count.ttl) = (StateKind::Map, "ordered:u64".into(), Some(ttl));
    metadata
}

#[test]
fn metadata_of_format_3_still_loads() {
    let bytes = include_bytes!("../../../fixtures/checkpoint-manifest-v3.bin");
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), metadata_of_format_3());
}

/// Returns the metadata that the fixture of format 4 contains.
fn metadata_of_format_4() -> CheckpointMetadata {
    let mut metadata = metadata_of_format_3();
    metadata.operators[1].subtasks[0].positions = TurnPositions { records: [998, 300], events: 7 };
    metadata.schemas = vec!["{a:string}".into(), "{b:i64?}".into()];
    metadata.operators[1].versions.push(OperatorVersion {
        component: Some("ab".repeat(32)),
        function: "track".into(),
        settings_hash: u64::MAX,
        generation: 3,
        key_groups: vec![0..100, 110..128],
        key_type: "(string, i64)".into(),
        inputs: vec![Some(1), None],
    });
    metadata.operators[1].subtasks[0].state.as_mut().unwrap().layout[0].generation = 2;
    metadata
}

#[test]
fn metadata_of_format_4_still_loads() {
    let bytes = include_bytes!("../../../fixtures/checkpoint-manifest-v4.bin");
    assert_eq!(CheckpointMetadata::decode("m", bytes).unwrap(), metadata_of_format_4());
}

fn current() -> CheckpointMetadata {
    let mut metadata = metadata_of_format_4();
    let path = "job-1/shared/7-00000000000000bb-part".into();
    metadata.operators[2].subtasks[0].output =
        vec![FileRef { name: "part".into(), path, bytes: 70_000, crc32c: 0x1234_5678 }];
    metadata
}

#[test]
fn all_of_the_metadata_survives_encoding() {
    let metadata = current();
    let file = metadata.encode().unwrap();
    assert_eq!(CheckpointMetadata::decode("m", &file).unwrap(), metadata);
    assert_eq!(format!("{:08x}", crc32c::crc32c(&file)), "44a9871c", "the bytes of format 5");
    let version = metadata.operators[1].version().unwrap();
    assert_eq!(metadata.input_schemas(version).collect::<Vec<_>>(), [Some("{b:i64?}"), None]);
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
    newer[8] = 6;
    assert!(rejected(&newer).contains("a newer version of Cofferdam"));
}

#[test]
fn malformed_metadata_with_a_valid_checksum_is_rejected() {
    let good = current();
    let encode_unchecked = |metadata: &CheckpointMetadata| {
        let payload = postcard::to_stdvec(metadata).unwrap();
        let header =
            [&b"COFFCKPT"[..], &CheckpointMetadata::FORMAT.to_le_bytes(), &crc32c::crc32c(&payload).to_le_bytes()]
                .concat();
        [&header[..], &(payload.len() as u64).to_le_bytes(), &payload].concat()
    };
    assert!(CheckpointMetadata::decode("m", &encode_unchecked(&good)).is_ok());
    let changes: [fn(&mut CheckpointMetadata); 7] = [
        |metadata| metadata.max_parallelism = 0,
        |metadata| metadata.max_parallelism = u32::MAX,
        |metadata| metadata.operators[1].parallelism = 2,
        |metadata| metadata.operators[1].id = "flights".into(),
        |metadata| metadata.format = 1,
        |metadata| metadata.schemas[0] = "{a:strings}".into(),
        |metadata| metadata.schemas.truncate(1),
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
