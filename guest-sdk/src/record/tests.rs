use super::*;
use crate::codec::{Codec, Decode, Encode};
use crate::shape::Shape;
use crate::{Record, StateCodec, StateType, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

/// A value of every type. Serde reads and writes it too, as an oracle.
#[derive(Debug, Clone, PartialEq, Record, Serialize, Deserialize)]
struct Every {
    flag: bool,
    tiny: i8,
    short: i16,
    int: i32,
    long: i64,
    byte: u8,
    word: u16,
    natural: u32,
    large: u64,
    single: f32,
    double: f64,
    text: String,
    bytes: Vec<u8>,
    time: Timestamp,
    date: Date,
    json: JsonText,
    maybe: Option<String>,
    list: Vec<Option<i32>>,
    lists: Vec<Vec<u16>>,
    map: BTreeMap<String, u64>,
    part: Part,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Record, Serialize, Deserialize)]
struct Part {
    name: String,
    weight: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Record)]
struct Flight<'a> {
    tailnum: &'a str,
    dep_delay: Option<i32>,
    raw: &'a [u8],
    details: JsonText<&'a str>,
    leg: Option<Leg<'a>>,
    stops: Vec<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Record)]
struct Leg<'a> {
    origin: &'a str,
    distance: u16,
}

fn part(name: &str, weight: Option<f64>) -> Part {
    Part { name: name.to_owned(), weight }
}

fn every(sign: i64) -> Every {
    Every {
        flag: sign > 0,
        tiny: (i8::MAX as i64 * sign) as i8,
        short: (i16::MAX as i64 * sign) as i16,
        int: (i32::MAX as i64 * sign) as i32,
        long: i64::MAX.wrapping_mul(sign),
        byte: u8::MAX,
        word: if sign > 0 { u16::MAX } else { 127 },
        natural: if sign > 0 { u32::MAX } else { 128 },
        large: if sign > 0 { u64::MAX } else { 16_384 },
        single: -0.5,
        double: f64::MIN_POSITIVE,
        text: "grün".repeat(40),
        bytes: vec![0, 255],
        time: Timestamp::MIN,
        date: Date::from_days(-1),
        json: JsonText::new("{\"a\": [1, null]}").unwrap(),
        maybe: (sign > 0).then(String::new),
        list: vec![Some(-1), None],
        lists: vec![vec![], vec![1, 300]],
        map: BTreeMap::from([("a".to_owned(), 1), (String::new(), u64::MAX)]),
        part: part("p", None),
        parts: vec![part("", Some(-1.5)), part("q", None)],
    }
}

fn flight<'a>(tailnum: &'a str, bytes: &'a [u8]) -> Flight<'a> {
    Flight {
        tailnum,
        dep_delay: Some(-70),
        raw: bytes,
        details: JsonText::new("[1]").unwrap(),
        leg: Some(Leg { origin: tailnum, distance: 1000 }),
        stops: vec!["a", tailnum],
    }
}

fn encode<C: Encode<V>, V>(value: V) -> Vec<u8> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes).expect("a record can be written");
    bytes
}

fn error<C: Decode>(bytes: &[u8]) -> String {
    C::decode_owned(bytes).map(drop).expect_err("the bytes are bad").to_string()
}

#[test]
fn a_row_is_what_postcard_writes() {
    for record in [every(1), every(-1)] {
        let bytes = encode::<Every, _>(&record);
        assert_eq!(bytes, postcard::to_stdvec(&record).unwrap());
        assert_eq!(Every::decode(&bytes), Ok(record.clone()));
        assert_eq!(Every::decode_owned(&bytes), Ok(record));
    }
    let mut bytes = Vec::new();
    for value in (0..64).flat_map(|shift| [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift]) {
        for signed in [value as i64, (value as i64).wrapping_neg()] {
            bytes.clear();
            signed.write(&mut bytes);
            assert_eq!(bytes, postcard::to_stdvec(&signed).unwrap());
            assert_eq!(decode(&bytes), Ok(signed));
        }
        bytes.clear();
        value.write(&mut bytes);
        assert_eq!((&bytes, decode(&bytes)), (&postcard::to_stdvec(&value).unwrap(), Ok(value)));
    }
}

#[test]
fn a_record_borrows_from_the_row() {
    let name = "N14228".to_owned();
    let bytes = encode::<Flight<'static>, _>(flight(&name, &[1, 2]));
    assert_eq!(encode::<Flight<'static>, _>(&flight(&name, &[1, 2])), bytes);
    let read = Flight::decode(&bytes).expect("the row is good");
    assert_eq!(read, flight("N14228", &[1, 2]));
    let within = bytes.as_ptr_range();
    assert!(within.contains(&read.tailnum.as_ptr()) && within.contains(&read.raw.as_ptr()));
    assert!(within.contains(&read.details.as_str().as_ptr()) && within.contains(&read.stops[0].as_ptr()));
}

#[test]
fn the_owned_twin_has_the_same_rows() {
    let bytes = encode::<Flight<'static>, _>(flight("N1", b"x"));
    let owned = <Flight<'static> as Decode>::decode_owned(&bytes).expect("the row is good");
    assert_eq!(owned, OwnedFlight::from(flight("N1", b"x")));
    assert_eq!((owned.tailnum.as_str(), owned.stops.len()), ("N1", 2));
    assert_eq!(owned.leg, Some(OwnedLeg { origin: "N1".to_owned(), distance: 1000 }));
    for written in [
        encode::<Flight<'static>, _>(&owned),
        encode::<Flight<'static>, _>(owned.clone()),
        encode::<OwnedFlight, _>(&owned),
        encode::<OwnedFlight, _>(owned.clone()),
    ] {
        assert_eq!(written, bytes);
    }
    assert_eq!(OwnedFlight::decode(&bytes), Ok(owned));
    assert_eq!(OwnedFlight::row().map(|row| row.text()), Flight::row().map(|row| row.text()));
}

#[test]
fn a_hash_map_is_written_in_the_order_of_its_keys() {
    let names = ["b", "", "a", "ü", "aa"];
    let hashed: HashMap<String, u8> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
    let sorted: BTreeMap<String, u8> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    hashed.write(&mut one);
    sorted.write(&mut other);
    assert_eq!(one, other);
    assert_eq!(decode(&one), Ok(hashed));
}

#[test]
fn malformed_bytes_are_an_error() {
    assert_eq!(error::<Part>(&[1, 255, 0]), "row: a string is not UTF-8 at byte 2 of 3");
    assert_eq!(error::<Part>(b"\x02a"), "row: the row ends too early at byte 1 of 2");
    assert_eq!(error::<Part>(&[0, 2]), "row: a flag is neither 0 nor 1 at byte 2 of 2");
    assert_eq!(error::<Part>(&[0, 0, 0]), "row: the row is longer than its fields at byte 2 of 3");
    assert!(decode::<bool>(&[2]).is_err() && decode::<u16>(&[0x80, 0x80, 0x04]).is_err());
    assert!(decode::<i32>(&[0x80, 0x80, 0x80, 0x80, 0x10]).is_err(), "one more than an i32 holds");
    assert!(decode::<u64>(&[0xff; 11]).is_err() && decode::<u64>(&[0x80; 9]).is_err());
    assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
    assert!(decode::<u64>(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
    let endless = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(decode::<Vec<Vec<String>>>(&endless).is_err() && decode::<BTreeMap<String, u8>>(&endless).is_err());
    assert!(decode::<Vec<u8>>(&endless).is_err() && decode::<&str>(&endless).is_err());
}

/// Changes a good row at every place, and cuts it there.
fn damage<C: Decode>(good: &[u8])
where
    C::Owned: Debug,
{
    for at in 0..good.len() {
        assert!(C::decode(&good[..at]).is_err(), "a row without its last bytes");
        for bits in [1, 0x55, 0x80, 0xff] {
            let mut bad = good.to_vec();
            bad[at] ^= bits;
            // It is another record, or an error; it does not panic.
            let _ = (C::decode(&bad).is_ok(), C::decode_owned(&bad));
        }
    }
}

#[test]
fn damaged_rows_do_not_panic() {
    damage::<Every>(&encode::<Every, _>(&every(1)));
    damage::<Flight<'static>>(&encode::<Flight<'static>, _>(flight("N14228", &[1, 2])));
}

#[derive(Record)]
#[allow(dead_code)]
struct Described {
    #[record(rename = "dep delay", alias = "delay", alias = "d")]
    dep_delay: Option<i32>,
    #[record(default = -1)]
    seats: i64,
    #[record(default = "a\"b")]
    r#type: String,
    parts: BTreeMap<String, Vec<Option<Part>>>,
}

#[test]
fn a_record_describes_its_fields() {
    let row = Described::row().expect("it is a record");
    assert_eq!(row.text(), "{\"dep delay\":i32?,seats:i64,type:string,parts:map<list<{name:string,weight:f64?}?>>}");
    let fields: Vec<_> = row.fields().iter().map(RowField::describe).collect();
    let delay = &fields[0];
    assert_eq!((delay.name.as_str(), delay.field_type.as_str(), delay.nullable), ("dep delay", "i32", true));
    assert_eq!((&delay.aliases[..], delay.default_value.as_deref()), (&["delay".to_owned(), "d".to_owned()][..], None));
    assert_eq!(
        (fields[1].default_value.as_deref(), fields[2].default_value.as_deref()),
        (Some("-1"), Some("\"a\\\"b\""))
    );
    assert!(!fields[3].nullable && fields[3].field_type.starts_with("map<list<"));
    assert_eq!((Described::NAME, crate::codec::Text::row()), ("row", None));
}

#[test]
fn a_record_is_stored_as_a_row() {
    fn form<T: StateType<Codec: StateCodec<T>>>() -> (String, String) {
        let form = T::Codec::form();
        (form.codec, form.schema)
    }
    assert_eq!(form::<Part>(), ("row".to_owned(), "{name:string,weight:f64?}".to_owned()));
    assert_eq!(form::<OwnedLeg>(), ("row".to_owned(), "{origin:string,distance:u16}".to_owned()));
    assert_eq!(form::<u64>(), ("postcard".to_owned(), "postcard:u64".to_owned()));
    let listed = form::<Vec<Part>>();
    assert_eq!(listed.1, "postcard:list<{name:string,weight:option<f64,>,},>");
    let shape = Shape::fingerprint::<Every>("postcard");
    assert!(shape.contains("bytes:list<u8,>,time:i64,date:i32,json:string,maybe:option<string,>"), "{shape}");
    let mut stored = Vec::new();
    <Part as StateCodec<Part>>::write(&part("a", None), &mut stored).expect("it can be written");
    assert_eq!(<Part as StateCodec<Part>>::read(&stored).expect("it can be read"), part("a", None));
}

#[test]
#[should_panic(expected = "a record contains itself")]
fn a_record_that_contains_itself_has_no_description() {
    #[derive(Record)]
    struct Tree {
        parts: Vec<Tree>,
    }
    let _ = Tree::decode(&[0]).map(|tree| tree.parts.len());
    Tree::row();
}

#[test]
fn json_text_is_one_value() {
    assert!(JsonText::<String>::new("{\"a\": 1").is_err() && JsonText::<&str>::new("1 2").is_err());
    let text = JsonText::of(&part("a", None)).unwrap();
    assert_eq!(text.as_str(), r#"{"name":"a","weight":null}"#);
    assert_eq!(text.parse::<Part>().unwrap(), part("a", None));
    assert!(text.parse::<u64>().unwrap_err().to_string().starts_with("json: "));
    let nested: serde_json::Value = serde_json::from_str(&serde_json::to_string(&text).unwrap()).unwrap();
    assert_eq!(nested["name"], "a");
    assert_eq!(serde_json::from_value::<JsonText>(nested).unwrap().to_string(), text.to_string());
}
