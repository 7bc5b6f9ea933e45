//! The file of records in flight: what is written is read, and no bytes of others are believed.

use super::*;
use crate::model::FaultCode;

/// Records a, b, c of two keys, with everything that a batch may have.
fn batch() -> Batch {
    let column = |values: &[&str]| values.iter().copied().collect::<Column>();
    let keys = Keys { distinct: column(&["x", "y"]), groups: vec![3, 90], key_of: vec![0, 1, 1] };
    Batch {
        values: column(&["a", "b", "c"]),
        timestamps: vec![-1, 2, 3],
        chosen_keys: Some(column(&["k", "", "l"])),
        keys: Some(Arc::new(keys)),
    }
}

fn in_flight() -> InFlightData {
    let mut fault = Fault::new(FaultCode::KeyMissing, "no key");
    fault.backtrace.push("frame".to_owned());
    let rejected = RejectedRecord { value: b"r".to_vec(), timestamp: 7, fault };
    let mut plain = Batch::default();
    plain.push(b"plain", 5);
    let mut in_flight = InFlightData::default();
    in_flight.push(0, &Element::Batch(InputRole::First, batch()));
    in_flight.push(300, &Element::Rejected(Box::new(rejected)));
    in_flight.push(1, &Element::Watermark(-9));
    in_flight.push(1, &Element::Batch(InputRole::First, plain));
    in_flight
}

fn shown(in_flight: &InFlightData) -> String {
    format!("{:?}", in_flight.elements)
}

#[test]
fn what_is_written_is_read() {
    let file = in_flight().encode().unwrap();
    let read = InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read), shown(&in_flight()));
}

#[test]
fn the_durable_form_stays_what_it_is() {
    let mut one = InFlightData::default();
    one.push(2, &Element::Watermark(1));
    assert_eq!(hex::encode(one.encode().unwrap()), "434f4646464c4f570200000001020202");
    let file = in_flight().encode().unwrap();
    assert_eq!(format!("{:08x}", crc32c::crc32c(&file)), "ad8b887b");
}

/// Version 1 knew no second input, and is the same else.
#[test]
fn what_an_earlier_version_wrote_is_read() {
    let mut file = in_flight().encode().unwrap();
    file[8] = 1;
    assert_eq!(format!("{:08x}", crc32c::crc32c(&file)), "c0da489f", "the bytes of version 1 as it was");
    assert_eq!(shown(&InFlightData::decode("f", &file, 128).unwrap()), shown(&in_flight()));
    file[8] = 3;
    assert!(InFlightData::decode("f", &file, 128).is_err_and(|error| error.message.contains("version 3")));
}

#[test]
fn records_of_a_second_input_stay_records_of_it() {
    let mut in_flight = InFlightData::default();
    in_flight.push(1, &Element::Batch(InputRole::Second, batch()));
    in_flight.push(0, &Element::Batch(InputRole::First, batch()));
    let file = in_flight.encode().unwrap();
    let read = || InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read()), shown(&in_flight));
    // With another parallelism too, where each goes to the owner of its key.
    for (to, groups, values) in [(0, 0..64, &["a"][..]), (1, 64..128, &["b", "c"])] {
        let share = read().share(0, 1, to, 2, &groups);
        let parts: Vec<_> = share.into_elements().collect();
        let [(1, Element::Batch(InputRole::Second, second)), (0, Element::Batch(InputRole::First, first))] = &parts[..]
        else {
            panic!("{parts:?}")
        };
        assert_eq!(first, second);
        assert!(first.values.iter().eq(values.iter().map(|value| value.as_bytes())));
    }
}

#[test]
fn damaged_bytes_are_refused_or_well_formed() {
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
        assert!(refused(&file[..length]), "cut off at {length}");
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x41;
        // The checksum is the storage's matter: here nothing may break, and the head must be right.
        assert!(refused(&damaged) || at >= 12, "byte {at}");
    }
    assert!(refused(&[file.as_slice(), b"more"].concat()));
    assert!(InFlightData::decode("f", &file, 91).is_ok() && refused_groups(&file));
}

fn refused_groups(file: &[u8]) -> bool {
    InFlightData::decode("f", file, 90).is_err_and(|error| error.message.contains("group 90"))
}

#[test]
fn with_another_parallelism_every_record_goes_to_the_owner_of_its_key() {
    let mut by_subtask = Vec::new();
    for (to, groups) in [(0, 0..64), (1, 64..128)] {
        let share = in_flight().share(3, 4, to, 2, &groups);
        let name = |element: &Element| match element {
            Element::Batch(_, batch) => batch.values.iter().map(|value| String::from_utf8_lossy(value)).collect(),
            Element::Rejected(_) => "rejected".to_owned(),
            other => format!("{other:?}"),
        };
        by_subtask.push(share.elements.iter().map(|(_, element)| name(element)).collect::<Vec<_>>());
        for (_, element) in &share.elements {
            let Element::Batch(_, Batch { keys: Some(keys), .. }) = element else { continue };
            assert!(keys.groups.iter().all(|group| groups.contains(&u32::from(*group))));
        }
    }
    assert_eq!(by_subtask, [vec!["a"], vec!["bc", "rejected", "plain"]]);
}

#[test]
fn broadcast_records_go_where_the_state_goes_that_they_change() {
    let mut rules = Batch::default();
    rules.push(b"rule", 5);
    let mut in_flight = InFlightData::default();
    in_flight.push(1, &Element::Batch(InputRole::Broadcast, rules));
    let file = in_flight.encode().unwrap();
    let read = || InFlightData::decode("f", &file, 128).unwrap();
    assert_eq!(shown(&read()), shown(&in_flight));
    // Of two old subtasks the second one's copy goes to subtasks 1 and 3 of five.
    let takes = |to: &u32| !read().share(1, 2, *to, 5, &(0..128)).is_empty();
    assert_eq!((0..5).filter(takes).collect::<Vec<_>>(), [1, 3]);
}
