use super::*;
use crate::StateCodec;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flight {
    carrier: String,
    number: u32,
    delay: Option<f64>,
    status: Status,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Status {
    Landed,
    Cancelled,
}

fn flight() -> Flight {
    Flight { carrier: "U\"A, Inc".into(), number: 1545, delay: Some(-2.5), status: Status::Landed }
}

fn encode<C: Encode<V>, V>(value: V) -> Vec<u8> {
    let mut bytes = Vec::new();
    C::encode(value, &mut bytes).expect("the value can be written");
    bytes
}

fn error<C: Decode>(bytes: &[u8]) -> String {
    C::decode_owned(bytes).map(drop).expect_err("the bytes are bad").to_string()
}

#[test]
fn every_codec_reads_what_it_writes() {
    assert_eq!(Json::<Flight>::decode(&encode::<Json<Flight>, _>(flight())), Ok(flight()));
    assert_eq!(Text::decode(&encode::<Text, _>("grün")), Ok("grün"));
    assert_eq!(Bytes::decode(&encode::<Bytes, _>([0, 255])), Ok(&[0, 255][..]));
    let mut stored = Vec::new();
    let cancelled = Flight { status: Status::Cancelled, ..flight() };
    Postcard::<Flight>::write(&cancelled, &mut stored).expect("the value can be written");
    assert_eq!(Postcard::<Flight>::read(&stored).expect("it can be read"), cancelled);
}

#[test]
fn an_error_names_codec_and_position() {
    assert_eq!(error::<Json<u64>>(b"{"), "json: invalid type: map, expected u64 at line 1 column 0");
    assert_eq!(error::<Text>(b"ab\xff"), "text: not UTF-8 at byte 2");
    let read = |bytes| Postcard::<u64>::read(bytes).expect_err("the bytes are bad").to_string();
    assert_eq!(read(&[1, 2]), "postcard: 1 bytes too many at byte 1");
    assert!(read(&[]).ends_with("(a value of 0 bytes)"));
}

#[test]
fn the_last_of_two_equal_json_names_counts() {
    let twice = br#"{"carrier":"AA","number":1,"delay":null,"status":"Landed","carrier":"UA","number":2}"#;
    let read = Json::<Flight>::decode(twice).expect("the last names make a flight");
    assert_eq!((read.carrier.as_str(), read.number), ("UA", 2));
    let map = Json::<std::collections::BTreeMap<String, u32>>::decode(br#"{"k":1,"k":2}"#);
    assert_eq!(map.expect("a map").get("k"), Some(&2));
    assert!(error::<Json<Flight>>(br#"{"carrier":"AA","carrier":7}"#).starts_with("json: invalid type"));
}
