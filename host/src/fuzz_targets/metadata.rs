//! The metadata of a checkpoint: the first byte chooses the format, the rest is the payload. With the first byte 0 the rest is
//! the whole file.

use crate::checkpoint::CheckpointMetadata;

/// What is decoded can be encoded, and then decoded to the same.
pub(super) fn run(data: &[u8]) {
    let Some((format, payload)) = data.split_first() else { return };
    let file = match format {
        0 => payload.to_vec(),
        format => {
            let mut file = b"COFFCKPT".to_vec();
            file.extend_from_slice(&u32::from(*format).to_le_bytes());
            file.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
            file.extend_from_slice(&(payload.len() as u64).to_le_bytes());
            file.extend_from_slice(payload);
            file
        }
    };
    match CheckpointMetadata::decode("fuzz", &file) {
        Ok(metadata) => {
            let encoded = metadata.encode().unwrap();
            let again = CheckpointMetadata::decode("fuzz", &encoded).unwrap();
            assert_eq!(again, metadata);
            for operator in &metadata.operators {
                assert_eq!(metadata.subtasks(&operator.id).len(), operator.subtasks.len());
            }
        }
        Err(error) => assert_eq!(error.code, "checkpoint-corrupt", "{error}"),
    }
}
