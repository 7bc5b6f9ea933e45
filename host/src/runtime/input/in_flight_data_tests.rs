//! In-flight data: its file format, damaged files, and redistribution.

use std::sync::Arc;

use super::in_flight_data::InFlightData;
use crate::model::{Batch, Column, Fault, FaultCode, Keys};
use crate::operator::RejectedRecord;
use crate::pipeline::InputRole;
use crate::runtime::stream_element::StreamElement;

/// Returns the records a, b, c of two keys in a batch with all optional columns.
fn batch() -> Batch {
    let column = |values: &[&str]| values.iter().copied().collect::<Column>();
    let keys = Keys { distinct: column(&["x", "y"]), groups: vec![3, 90], key_of: vec![0, 1, 1] };
    Batch {
        values: column(&["a", "b", "c"]),
        timestamps: vec![-1, 2, 3],
        chosen_keys: Some(column(&["k", "", "l"])),
        keys: Some(Arc::new(keys)),
        attributes: Some(column(&["\x01\x01n\x01v", "\0", "\0"])),
        schema: Some(Arc::new("{a:string}".parse().unwrap())),
    }
}

fn in_flight() -> InFlightData {
    let mut fault = Fault::new(FaultCode::KeyMissing, "no key");
    fault.backtrace.push("frame".to_owned());
    let rejected = RejectedRecord { value: b"r".to_vec(), schema: batch().schema, timestamp: 7, fault };
    let mut plain = Batch::default();
    plain.push(b"plain", 5);
    let mut in_flight = InFlightData::default();
    in_flight.push(0, &StreamElement::Batch(InputRole::First, batch()));
    in_flight.push(300, &StreamElement::Rejected(Box::new(rejected)));
    in_flight.push(1, &StreamElement::Watermark(-9));
    in_flight.push(1, &StreamElement::Batch(InputRole::First, plain));
    in_flight
}

fn shown(in_flight: &InFlightData) -> String {
    format!("{:?}", in_flight.elements)
}

#[test]
fn decoding_returns_the_encoded_elements() {
    let file = in_flight().encode().unwrap();
    let read = InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read), shown(&in_flight()));
}

#[test]
fn the_file_format_does_not_change() {
    let mut one = InFlightData::default();
    one.push(2, &StreamElement::Watermark(1));
    assert_eq!(hex::encode(one.encode().unwrap()), "434f4646464c4f57030000000001020202");
    let file = in_flight().encode().unwrap();
    assert_eq!(format!("{:08x}", crc32c::crc32c(&file)), "33600684");
}

/// Version 1 has no second input and is otherwise equal to version 2.
#[test]
fn files_of_versions_1_and_2_are_decoded() {
    let mut expected = in_flight();
    for (_, element) in &mut expected.elements {
        match element {
            StreamElement::Batch(_, batch) => (batch.attributes, batch.schema) = (None, None),
            StreamElement::Rejected(rejected) => rejected.schema = None,
            _ => {}
        }
    }
    let mut file = include_bytes!("../../../fixtures/in-flight-v2.bin").to_vec();
    assert_eq!(shown(&InFlightData::decode("f", &file, 128).unwrap()), shown(&expected));
    file[8] = 1;
    assert_eq!(shown(&InFlightData::decode("f", &file, 128).unwrap()), shown(&expected));
    file[8] = 4;
    assert!(InFlightData::decode("f", &file, 128).is_err_and(|error| error.message.contains("version 4")));
}

#[test]
fn records_keep_their_input() {
    let mut in_flight = InFlightData::default();
    in_flight.push(1, &StreamElement::Batch(InputRole::Second, batch()));
    in_flight.push(0, &StreamElement::Batch(InputRole::First, batch()));
    let file = in_flight.encode().unwrap();
    let read = || InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read()), shown(&in_flight));
    // Also after a change of parallelism, when each record goes to the owner of its key.
    for (to, groups, values) in [(0, 0..64, &["a"][..]), (1, 64..128, &["b", "c"])] {
        let share = read().redistribute(0, 1, to, 2, &groups);
        let parts: Vec<_> = share.into_elements().collect();
        let [(1, StreamElement::Batch(InputRole::Second, second)), (0, StreamElement::Batch(InputRole::First, first))] =
            &parts[..]
        else {
            panic!("{parts:?}")
        };
        assert_eq!(first, second);
        assert!(first.values.iter().eq(values.iter().map(|value| value.as_bytes())));
    }
}

#[test]
fn damaged_bytes_are_refused_or_decode_to_valid_elements() {
    let file = in_flight().encode().unwrap();
    let refused = |file: &[u8]| match InFlightData::decode("the-file", file, 128) {
        Err(error) => {
            assert_eq!(error.code, "checkpoint-corrupt");
            assert!(error.message.starts_with("the-file: "), "{}", error.message);
            true
        }
        Ok(_) => false,
    };
    for length in 0..file.len() {
        assert!(refused(&file[..length]), "truncated to {length} bytes");
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x41;
        // The storage checks the checksum. Here nothing may panic, and a damaged header must be refused.
        assert!(refused(&damaged) || at >= 12, "byte {at}");
    }
    assert!(refused(&[file.as_slice(), b"more"].concat()));
    assert!(InFlightData::decode("f", &file, 91).is_ok() && refused_groups(&file));
}

fn refused_groups(file: &[u8]) -> bool {
    InFlightData::decode("f", file, 90).is_err_and(|error| error.message.contains("group 90"))
}

#[test]
fn after_a_change_of_parallelism_each_record_goes_to_the_owner_of_its_key() {
    let mut by_subtask = Vec::new();
    for (to, groups) in [(0, 0..64), (1, 64..128)] {
        let share = in_flight().redistribute(3, 4, to, 2, &groups);
        let name = |element: &StreamElement| match element {
            StreamElement::Batch(_, batch) => batch.values.iter().map(|value| String::from_utf8_lossy(value)).collect(),
            StreamElement::Rejected(_) => "rejected".to_owned(),
            other => format!("{other:?}"),
        };
        by_subtask.push(share.elements.iter().map(|(_, element)| name(element)).collect::<Vec<_>>());
        for (_, element) in &share.elements {
            let StreamElement::Batch(_, Batch { keys: Some(keys), .. }) = element else { continue };
            assert!(keys.groups.iter().all(|group| groups.contains(&u32::from(*group))));
        }
    }
    assert_eq!(by_subtask, [vec!["a"], vec!["bc", "rejected", "plain"]]);
}

#[test]
fn broadcast_records_follow_the_broadcast_state() {
    let mut rules = Batch::default();
    rules.push(b"rule", 5);
    let mut in_flight = InFlightData::default();
    in_flight.push(1, &StreamElement::Batch(InputRole::Broadcast, rules));
    let file = in_flight.encode().unwrap();
    let read = || InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read()), shown(&in_flight));
    // Of two old subtasks, the copy of the second one goes to subtasks 1 and 3 of five.
    let takes = |to: &u32| !read().redistribute(1, 2, *to, 5, &(0..128)).is_empty();
    assert_eq!((0..5).filter(takes).collect::<Vec<_>>(), [1, 3]);
}
