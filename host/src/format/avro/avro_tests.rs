//! Records of Avro against the crate `apache-avro`, which is independent of this decoder.

use std::sync::Arc;

use apache_avro::Decimal;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;

use super::*;
use crate::format::{DecodeDefect, EventTime, RecordDecoder, RecordEncoder, SourceDecoding};
use crate::model::Column;
use crate::model::row::{RowSchema, write_json};
use crate::pipeline::{
    DecodingSettings, EncodingSettings, FileFormat, KeySelector, SinkFormat, TimestampFormat, TimestampSelector,
};

const EVENT: &str = r#"{
  "type": "record", "name": "Event", "namespace": "shop",
  "fields": [
    {"name": "id", "type": "long"},
    {"name": "user", "type": "string"},
    {"name": "small", "type": "int"},
    {"name": "ok", "type": "boolean"},
    {"name": "ratio", "type": "float"},
    {"name": "amount", "type": "double"},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "count", "type": ["int", "null"], "default": 0},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
    {"name": "raw", "type": "bytes"},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
    {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["red", "green"]}},
    {"name": "tags", "type": {"type": "array", "items": "string"}},
    {"name": "extra", "type": {"type": "map", "values": "long"}},
    {"name": "place", "type": {"type": "record", "name": "Place", "fields": [
      {"name": "x", "type": "int"}, {"name": "label", "type": ["null", "string"]}]}},
    {"name": "mixed", "type": ["null", "long", "string"]}
  ]
}"#;

const EVENT_ROW: &str = "{id:i64,user:string,small:i32,ok:bool,ratio:f32,amount:f64,note:string?,count:i32?,at:timestamp,\
    day:date,price:string,raw:bytes,hash:bytes,color:string,tags:list<string>,extra:map<i64>,place:{x:i32,label:string?},\
    mixed:json?}";

fn reading(schema: &str) -> AvroReading {
    AvroReading { schema: Arc::new(AvroSchema::parse(schema).unwrap()), writers: None }
}

fn decoding(schema: &str, rows: &[&str]) -> SourceDecoding {
    let rows = rows.iter().map(|row| Arc::new(row.parse::<RowSchema>().unwrap())).collect();
    let raw = SourceDecoding::raw(FileFormat::Avro, DecodingSettings::default(), None);
    SourceDecoding { avro: Some(reading(schema)), rows, ..raw }
}

fn decoder(schema: &str, rows: &[&str]) -> Result<RecordDecoder, String> {
    RecordDecoder::compile(&decoding(schema, rows), false)
}

/// Decodes a record as one row. Returns it as JSON.
fn decoded(schema: &str, row: &str, record: &[u8]) -> Result<String, String> {
    let mut decoder = decoder(schema, &[row])?;
    let mut rows = [Column::new()];
    decoder.decode(record, &mut rows).map_err(|defect| defect.to_string())?;
    let mut json = Vec::new();
    write_json(&row.parse().unwrap(), rows[0].value(0), &mut json).unwrap();
    Ok(String::from_utf8(json).unwrap())
}

fn encoder(schema: Option<&str>) -> RecordEncoder {
    let schema = schema.map(|schema| Arc::new(AvroSchema::parse(schema).unwrap()));
    let settings = EncodingSettings { format: Some(SinkFormat::Avro), ..EncodingSettings::default() };
    RecordEncoder::new(settings).with_avro(AvroWriting { schema, name: "orders-out".into(), ids: None })
}

fn datum(schema: &str, value: Value) -> Vec<u8> {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn read_datum(schema: &str, record: &[u8]) -> Value {
    let schema = Schema::parse_str(schema).unwrap();
    GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut &record[..]).unwrap()
}

fn event(id: i64, text: &str, number: f64, present: bool, list: &[String]) -> Value {
    let optional = |value: Value| match present {
        true => Value::Union(1, Box::new(value)),
        false => Value::Union(0, Box::new(Value::Null)),
    };
    let fields = vec![
        ("id", Value::Long(id)),
        ("user", Value::String(text.to_owned())),
        ("small", Value::Int(id as i32)),
        ("ok", Value::Boolean(present)),
        ("ratio", Value::Float(number as f32)),
        ("amount", Value::Double(number)),
        ("note", optional(Value::String(text.to_owned()))),
        (
            "count",
            if present { Value::Union(0, Box::new(Value::Int(7))) } else { Value::Union(1, Box::new(Value::Null)) },
        ),
        ("at", Value::TimestampMicros(id.rem_euclid(4_000_000_000_000_000))),
        ("day", Value::Date((id % 10_000) as i32)),
        ("price", Value::Decimal(Decimal::from(&id.to_be_bytes()))),
        ("raw", Value::Bytes(text.as_bytes().to_vec())),
        ("hash", Value::Fixed(4, vec![1, 2, 0xff, id as u8])),
        ("color", if present { Value::Enum(0, "red".into()) } else { Value::Enum(1, "green".into()) }),
        ("tags", Value::Array(list.iter().cloned().map(Value::String).collect())),
        ("extra", Value::Map(list.iter().take(1).map(|name| (name.clone(), Value::Long(id))).collect())),
        (
            "place",
            Value::Record(vec![("x".into(), Value::Int(-1)), ("label".into(), optional(Value::String("l".into())))]),
        ),
        (
            "mixed",
            if present {
                Value::Union(2, Box::new(Value::String("m".into())))
            } else {
                Value::Union(1, Box::new(Value::Long(id)))
            },
        ),
    ];
    Value::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn every_type_becomes_a_field() {
    let schema = AvroSchema::parse(EVENT).unwrap();
    assert_eq!(RowSchema::new(schema.row_fields()).unwrap().to_string(), EVENT_ROW);
    let record = datum(EVENT, event(-1_234_567, "ann", 1.5, true, &["a".into(), "b".into()]));
    assert_eq!(
        decoded(EVENT, EVENT_ROW, &record).unwrap(),
        r#"{"id":-1234567,"user":"ann","small":-1234567,"ok":true,"ratio":1.5,"amount":1.5,"note":"ann","count":7,"#
            .to_owned()
            + r#""at":"2096-10-02T07:06:38.765Z","day":"1957-07-01","price":"-12345.67","raw":"YW5u","hash":"AQL/eQ==","#
            + r#""color":"red","tags":["a","b"],"extra":{"a":-1234567},"place":{"x":-1,"label":"l"},"mixed":"m"}"#
    );
    let nulls = datum(EVENT, event(3, "", 0.0, false, &[]));
    assert_eq!(
        decoded(EVENT, "{note:string?,mixed:json?,count:i32?}", &nulls).unwrap(),
        r#"{"note":null,"mixed":3,"count":null}"#
    );
}

#[test]
fn only_needed_fields_are_read_and_integers_have_any_size_that_fits() {
    let record = datum(EVENT, event(200, "ann", 1.5, true, &[]));
    assert_eq!(
        decoded(EVENT, "{place:{label:string?},id:u8}", &record).unwrap(),
        r#"{"place":{"label":"l"},"id":200}"#
    );
    assert_eq!(decoded(EVENT, "{id:i8}", &record).unwrap_err(), "the field `id` is out of the range of the field");
    assert_eq!(
        decoded(EVENT, "{small:i64,id:f64,ratio:f64}", &record).unwrap(),
        r#"{"small":200,"id":200.0,"ratio":1.5}"#
    );
    assert_eq!(
        decoded(EVENT, "{place:json,tags:json}", &record).unwrap(),
        r#"{"place":{"x":-1,"label":"l"},"tags":[]}"#
    );
}

#[test]
fn a_field_that_does_not_fit_is_refused_by_name() {
    let error = |row: &str| decoder(EVENT, &[row]).err().unwrap();
    assert_eq!(
        error("{note:string}"),
        "the field `note` may be null in the schema, and is read as `string`; make it optional"
    );
    assert_eq!(error("{user:i32}"), "the field `user` is `string` in the schema, which cannot be read as `i32`");
    assert_eq!(error("{usr:string}"), "there is no field `usr`; did you mean `user`?");
    assert_eq!(error("{mixed:string?}"), "the field `mixed` is `long` in the schema, which cannot be read as `string`");
    assert_eq!(
        error("{place:{label2:i32}}"),
        "the field `place` has other fields: there is no field `label2`; did you mean `label`?"
    );
}

#[test]
fn a_timestamp_is_a_logical_one_or_a_number_in_its_format() {
    let at = |field: &str, format: TimestampFormat, id: i64| {
        let timestamp = TimestampSelector { at: KeySelector::Field(field.into()), format, zone: None };
        let decoding = SourceDecoding { timestamp: Some(timestamp), ..decoding(EVENT, &[]) };
        let mut decoder = RecordDecoder::compile(&decoding, false)?;
        let record = datum(EVENT, event(id, "2013-01-01", 1.5, true, &[]));
        decoder.decode(&record, &mut []).map_err(|defect| defect.to_string())
    };
    assert_eq!(at("at", TimestampFormat::UnixS, 5_000_000), Ok(EventTime::At(5_000)));
    assert_eq!(at("day", TimestampFormat::UnixMs, 2), Ok(EventTime::At(172_800_000)));
    assert_eq!(at("id", TimestampFormat::UnixS, 7), Ok(EventTime::At(7_000)));
    assert_eq!(at("id", TimestampFormat::UnixUs, -1), Ok(EventTime::At(-1)));
    assert_eq!(at("place.x", TimestampFormat::UnixMs, 0), Ok(EventTime::At(-1)));
    assert_eq!(at("user", TimestampFormat::Rfc3339, 0), Ok(EventTime::At(1_356_998_400_000)));
    assert!(at("id", TimestampFormat::Rfc3339, 7).unwrap_err().contains("is not a timestamp"));
    assert_eq!(
        at("amount", TimestampFormat::UnixMs, 7),
        Err("the field `amount` is `double`, which is no timestamp".into())
    );
    assert_eq!(
        at("place.zzz", TimestampFormat::UnixMs, 7),
        Err("there is no field `zzz`; the fields are `x`, `label`".into())
    );
}

#[test]
fn a_record_of_another_schema_or_a_part_of_one_is_undecodable() {
    let record = datum(EVENT, event(5, "ann", 1.5, true, &["tag".into()]));
    let mut decoder = decoder(EVENT, &[EVENT_ROW, "{id:i64}"]).unwrap();
    let mut rows = [Column::new(), Column::new()];
    for end in 0..record.len() {
        let defect = decoder.decode(&record[..end], &mut rows).unwrap_err();
        assert!(matches!(defect, DecodeDefect::Field(_)), "{defect}");
    }
    let longer = [&record[..], &[0]].concat();
    assert!(decoder.decode(&longer, &mut rows).unwrap_err().to_string().contains("bytes follow the last field"));
    assert!(rows.iter().all(Column::is_empty));
}

#[test]
fn claims_of_hostile_records_cost_nothing() {
    let list = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"string"}}]}"#;
    // A block of 2^60 strings; one of a negative number; a length below zero.
    for record in
        [&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20][..], &[0xff; 12], &[2, 1], &[1, 1], &[1, 2, 2]]
    {
        assert!(decoded(list, "{a:list<string>}", record).is_err(), "{record:?}");
    }
    let nulls = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    assert_eq!(AvroSchema::parse(nulls).unwrap_err(), "it has a list of values without bytes, such as null");
    let mut doubling = String::from(r#"{"type":"record","name":"R0","fields":[{"name":"a","type":"null"}]}"#);
    for level in 1..40 {
        doubling = format!(
            r#"{{"type":"record","name":"R{level}","fields":[{{"name":"a","type":{doubling}}},{{"name":"b","type":"R{}"}}]}}"#,
            level - 1
        );
    }
    assert!(AvroSchema::parse(&doubling).is_err_and(|why| why.contains("values without bytes")));
}

#[test]
fn a_schema_that_contains_itself_is_read_to_a_limited_depth() {
    let tree = r#"{"type":"record","name":"Tree","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","Tree"]}]}"#;
    assert_eq!(
        RowSchema::new(AvroSchema::parse(tree).unwrap().row_fields()).unwrap().to_string(),
        "{v:i32,next:json?}"
    );
    let row = "{v:i32,next:json?}";
    let chain = |length: usize| [[2, 2].repeat(length), vec![4, 0]].concat();
    assert_eq!(decoded(tree, row, &chain(1)).unwrap(), r#"{"v":1,"next":{"v":2,"next":null}}"#);
    assert!(decoded(tree, row, &chain(20)).is_ok());
    assert!(decoded(tree, row, &chain(100_000)).unwrap_err().contains("more than 128 deep"));
    let endless = r#"{"type":"record","name":"E","fields":[{"name":"a","type":"E"},{"name":"b","type":"E"}]}"#;
    assert!(decoded(endless, "{a:json}", &[]).is_err());
}

#[test]
fn rows_are_written_by_a_schema_or_by_their_own() {
    let out = r#"{"type":"record","name":"Out","fields":[
        {"name":"b","type":["null","long"]},{"name":"c","type":"string","default":"none"},{"name":"a","type":"int"},
        {"name":"d","type":["null","string"]},{"name":"e","type":{"type":"enum","name":"E","symbols":["x","y"]}},
        {"name":"p","type":{"type":"fixed","name":"P","size":5,"logicalType":"decimal","precision":9,"scale":2}},
        {"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
    let row: Arc<RowSchema> = Arc::new("{a:u8,b:u32?,e:string,p:string,t:timestamp}".parse().unwrap());
    let mut bytes = Vec::new();
    crate::model::row::read_json(&row, br#"{"a":200,"b":4000000000,"e":"y","p":"-1.50","t":12}"#, &mut bytes).unwrap();
    let mut record = Vec::new();
    encoder(Some(out)).encode_message(Some(&row), &bytes, &mut record).unwrap();
    let value = read_datum(out, &record);
    let Value::Record(fields) = &value else { panic!("{value:?}") };
    assert_eq!(fields[0].1, Value::Union(1, Box::new(Value::Long(4_000_000_000))));
    assert_eq!(fields[1].1, Value::String("none".into()));
    assert_eq!(fields[2].1, Value::Int(200));
    assert_eq!(fields[3].1, Value::Union(0, Box::new(Value::Null)));
    assert_eq!(fields[4].1, Value::Enum(1, "y".into()));
    assert_eq!(fields[6].1, Value::TimestampMicros(12_000));
    assert_eq!(
        decoded(out, "{p:string,b:i64?}", &record).unwrap(),
        r#"{"p":"-1.50","b":4000000000}"#,
        "a decimal number keeps its scale"
    );

    let mut wrong = Vec::new();
    crate::model::row::read_json(&row, br#"{"a":1,"b":null,"e":"z","p":"1.5","t":12}"#, &mut wrong).unwrap();
    let error = encoder(Some(out)).encode_message(Some(&row), &wrong, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "a record cannot be written as Avro: the field `e` is no symbol of the `enum`");

    let check = |row: &str| {
        let schema = Some(Arc::new(AvroSchema::parse(out).unwrap()));
        check_row(&AvroWriting { schema, name: String::new(), ids: None }, &row.parse().unwrap()).map(drop)
    };
    assert_eq!(
        check("{a:u8,e:string,p:string,t:timestamp,zzz:i32}").unwrap_err(),
        "the schema has no field `zzz`; the fields are `b`, `c`, `a`, `d`, `e`, `p`, `t`"
    );
    assert_eq!(
        check("{a:u8,e:string,p:string}").unwrap_err(),
        "the schema has the field `t`, which has no default and is not in the row"
    );
    assert_eq!(
        check("{a:u8?,e:string,p:string,t:timestamp}").unwrap_err(),
        "the field `a` may be null in the row, and is `int` in the schema"
    );
    assert_eq!(
        check("{a:string,e:string,p:string,t:timestamp}").unwrap_err(),
        "the field `a` is `string` in the row, which cannot be written as `int`"
    );
}

#[test]
fn a_schema_made_from_rows_is_one_of_avro() {
    let row: RowSchema =
        "{a:u8,b:u64?,c:list<{d:date,e:bytes?}>,f:map<json>,g:{h:{i:f32}},t:timestamp?,s:string}".parse().unwrap();
    let writing = AvroWriting { schema: None, name: "1 out".into(), ids: None };
    let schema = check_row(&writing, &row).unwrap();
    Schema::parse_str(schema.text()).unwrap();
    let back = RowSchema::new(schema.row_fields()).unwrap().to_string();
    assert_eq!(back, "{a:i32,b:i64?,c:list<{d:date,e:bytes?}>,f:map<string>,g:{h:{i:f32}},t:timestamp?,s:string}");
    let invalid = check_row(&writing, &"{\"a b\":i32}".parse().unwrap()).unwrap_err();
    assert!(invalid.contains("`a b` is not a name of Avro"), "{invalid}");
}

proptest! {
    #[test]
    fn a_record_becomes_a_row_and_the_same_record_again(
        id in any::<i64>(),
        text in ".{0,40}",
        number in any::<f64>(),
        present in any::<bool>(),
        list in prop::collection::vec(".{0,9}", 0..6),
    ) {
        let value = event(id, &text, number, present, &list);
        let record = datum(EVENT, value);
        // Without `mixed`, which rows hold as JSON, and with times in whole milliseconds.
        let row = EVENT_ROW.replace(",mixed:json?", "");
        let schema: Arc<RowSchema> = Arc::new(row.parse().unwrap());
        let mut decoder = decoder(EVENT, &[&row]).unwrap();
        let mut rows = [Column::new()];
        decoder.decode(&record, &mut rows).unwrap();
        let mut again = Vec::new();
        encoder(Some(EVENT)).encode_message(Some(&schema), rows[0].value(0), &mut again).unwrap();
        let (before, after) = (read_datum(EVENT, &record), read_datum(EVENT, &again));
        let (Value::Record(mut before), Value::Record(mut after)) = (before, after) else { panic!() };
        for fields in [&mut before, &mut after] {
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::TimestampMicros(us) => *us = us.div_euclid(1_000) * 1_000,
                    Value::Float(float) if float.is_nan() => *value = Value::Null,
                    Value::Double(float) if float.is_nan() => *value = Value::Null,
                    // Its shortest form.
                    Value::Decimal(_) => *value = Value::Null,
                    _ if name == "mixed" => *value = Value::Null,
                    _ => {}
                }
            }
        }
        prop_assert_eq!(before, after);
        // A second decoding gives the same row, whatever the form of numbers.
        let mut rows_again = [Column::new()];
        decoder.decode(&again, &mut rows_again).unwrap();
        prop_assert_eq!(rows[0].value(0), rows_again[0].value(0));
    }

    #[test]
    fn hostile_bytes_give_a_valid_row_or_none(
        mut record in prop::collection::vec(any::<u8>(), 0..200),
        prefix in any::<bool>(),
    ) {
        if prefix {
            let mut whole = datum(EVENT, event(9, "ann", 1.5, true, &["a".into()]));
            let at = record.len() % whole.len();
            for (to, from) in whole[at..].iter_mut().zip(&record) {
                *to ^= from & 0x11;
            }
            record = whole;
        }
        let row = EVENT_ROW.replace("tags:list<string>", "tags:json");
        let mut decoder = decoder(EVENT, &[&row, "{id:i64?}"]).unwrap();
        let mut rows = [Column::new(), Column::new()];
        let added = usize::from(decoder.decode(&record, &mut rows).is_ok());
        prop_assert!(rows.iter().all(|rows| rows.len() == added));
        if added == 1 {
            prop_assert!(write_json(&row.parse().unwrap(), rows[0].value(0), &mut Vec::new()).is_ok());
        }
    }
}
