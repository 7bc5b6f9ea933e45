use super::*;
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
    assert_eq!(Postcard::<Flight>::decode(&encode::<Postcard<Flight>, _>(&flight())), Ok(flight()));
    assert_eq!(Csv::<Flight>::decode(&encode::<Csv<Flight>, _>(flight())), Ok(flight()));
    assert_eq!(Text::decode(&encode::<Text, _>("grün")), Ok("grün"));
    assert_eq!(Bytes::decode(&encode::<Bytes, _>([0, 255])), Ok(&[0, 255][..]));
    assert_eq!(
        CsvRow::decode_owned(&encode::<CsvRow, _>(["a,b", "", "c"])),
        Ok(vec!["a,b".into(), "".into(), "c".into()])
    );
}

#[test]
fn a_row_is_written_as_rfc_4180_says() {
    assert_eq!(encode::<Csv<Flight>, _>(flight()), br#""U""A, Inc",1545,-2.5,Landed"#);
    let none = Flight { carrier: String::new(), delay: None, status: Status::Cancelled, ..flight() };
    assert_eq!(encode::<Csv<Flight>, _>(&none), b",1545,,Cancelled");
    assert_eq!(Csv::<Flight>::decode(b",1545,,Cancelled\r\n"), Ok(none));
    assert_eq!(encode::<Csv<(u8, [i32; 2])>, _>((1, [2, 3])), b"1,2,3");
}

#[test]
fn a_row_is_read_as_fields() {
    let row = CsvRow::decode(br#"UA,"a ""b""",,"c,d""#).expect("a good row");
    assert_eq!(row.iter().collect::<Vec<_>>(), ["UA", "a \"b\"", "", "c,d"]);
    assert_eq!((row.len(), row.get(0), row.get(4)), (4, Some("UA"), None));
    assert_eq!(Csv::<Vec<String>>::decode(b"a,b"), Ok(vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn an_error_names_codec_and_position() {
    assert_eq!(error::<Csv<Flight>>(b"UA,x,,Landed"), "csv: column 2: `x` is not an unsigned integer of 32 bits");
    assert!(error::<Csv<Flight>>(b"UA,1").starts_with("csv: invalid length 2"));
    assert_eq!(error::<Csv<Flight>>(b"UA,1,,Landed,x,y"), "csv: 2 more columns than the type has fields");
    assert!(error::<Csv<Flight>>(b"UA,1,,Lost").starts_with("csv: column 4: unknown variant `Lost`"));
    assert_eq!(error::<CsvRow>(b"a,\"b"), "csv: column 2: a quote is not closed");
    assert_eq!(error::<CsvRow>(b"\"a\"b"), "csv: column 1: text behind a closing quote");
    assert_eq!(error::<CsvRow>(b"a,b\xff"), "csv: column 2: not UTF-8 at its byte 1");
    assert_eq!(error::<Json<u64>>(b"{"), "json: invalid type: map, expected u64 at line 1 column 0");
    assert_eq!(error::<Text>(b"ab\xff"), "text: not UTF-8 at byte 2");
    assert_eq!(error::<Postcard<u64>>(&[1, 2]), "postcard: 1 bytes too many at byte 1");
    assert!(error::<Postcard<u64>>(&[]).ends_with("(a value of 0 bytes)"));
}

#[test]
fn a_value_that_csv_cannot_represent_is_an_error() {
    let mut bytes = Vec::new();
    let map = std::collections::BTreeMap::from([(1, 2)]);
    let error = Csv::encode((1, map), &mut bytes).expect_err("a map is no column");
    assert_eq!(error.to_string(), "csv: column 2: a row has no form for a map");
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
