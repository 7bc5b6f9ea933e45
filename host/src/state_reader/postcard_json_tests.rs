//! Compares postcard values as JSON with what `postcard` and `serde_json` write, and checks generated shapes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::postcard_json::{decode, encode, float32, float64, signed, unsigned};
use super::value_shape::ValueShape;

#[derive(Clone, Serialize)]
struct Aircraft {
    tailnum: String,
    flights: u64,
    delay: i32,
    last: Vec<Option<i64>>,
    status: Vec<AircraftStatus>,
    by_airport: BTreeMap<String, f64>,
    seats: (u8, char, bool),
    rows: [i16; 3],
    nothing: (),
    total: TotalFlights,
    weight: f32,
    wide: (u128, i128, i8),
}

#[derive(Clone, Serialize)]
struct TotalFlights(u64);

#[derive(Clone, Serialize)]
enum AircraftStatus {
    Grounded,
    Late(i32),
    Seen(String, u16),
    At { airport: String },
}

const AIRCRAFT: &str = "{tailnum:string,flights:u64,delay:i32,last:list<option<i64,>,>,\
    status:list<enum<Grounded|Late(i32,)|Seen(string,u16,)|At{airport:string,}|>,>,by_airport:map<string,f64,>,\
    seats:(u8,char,bool,),rows:[i16;3],nothing:(),total:(u64,),weight:f32,wide:(u128,i128,i8,),}";

fn aircraft() -> Aircraft {
    Aircraft {
        tailnum: "N14228 ✈".into(),
        flights: u64::MAX,
        delay: -300,
        last: vec![Some(i64::MIN), None, Some(63)],
        status: vec![
            AircraftStatus::Grounded,
            AircraftStatus::Late(-1),
            AircraftStatus::Seen("EWR".into(), 65_535),
            AircraftStatus::At { airport: "JFK".into() },
        ],
        by_airport: BTreeMap::from([("EWR".into(), 0.1), ("JFK".into(), -1e300)]),
        seats: (255, 'ß', true),
        rows: [i16::MIN, 0, i16::MAX],
        nothing: (),
        total: TotalFlights(300),
        weight: 0.5,
        wide: (7, -7, -128),
    }
}

#[test]
fn a_value_of_every_type_is_what_serde_writes() {
    let shape = ValueShape::parse(AIRCRAFT).unwrap();
    let bytes = postcard::to_stdvec(&aircraft()).unwrap();
    let json = serde_json::to_value(aircraft()).unwrap();
    assert_eq!(decode(&shape, &bytes), Some(json.clone()));
    assert_eq!(encode(&shape, &json), Ok(bytes));
}

#[test]
fn numbers_that_json_cannot_represent_are_text() {
    let of = |shape: &str, bytes: &[u8]| decode(&ValueShape::parse(shape).unwrap(), bytes).unwrap();
    assert_eq!(of("u128", &postcard::to_stdvec(&u128::MAX).unwrap()), json!(u128::MAX.to_string()));
    assert_eq!(of("i128", &postcard::to_stdvec(&i128::MIN).unwrap()), json!(i128::MIN.to_string()));
    assert_eq!(of("f64", &f64::NEG_INFINITY.to_le_bytes()), json!("-inf"));
    assert_eq!(of("f32", &0.1_f32.to_le_bytes()), json!(0.1));
    assert_eq!(of("map<u8,bool,>", &[2, 7, 1, 8, 0]), json!([[7, true], [8, false]]));
}

#[test]
fn the_error_says_where_a_value_does_not_fit() {
    let misfit = |shape: &str, value: Value| encode(&ValueShape::parse(shape).unwrap(), &value).unwrap_err();
    assert_eq!(misfit("u8", json!(256)), "expected an unsigned integer of 8 bits");
    assert_eq!(misfit("u64", json!("1")), "expected an unsigned integer of 64 bits");
    assert_eq!(misfit("i16", json!(1.5)), "expected an integer of 16 bits");
    assert_eq!(
        misfit("{a:list<(bool,u8,),>,}", json!({"a": [[true, 1], [1, 1]]})),
        "at `a.1.0`: expected true or false"
    );
    assert_eq!(misfit("{a:u8,}", json!({})), "at `a`: expected a value, but it is missing");
    assert_eq!(misfit("{a:u8,}", json!({"a": 1, "b": 2})), "at `b`: expected no field of this name");
    assert_eq!(misfit("enum<On|Off|>", json!("Of")), "expected one of On, Off");
    assert_eq!(misfit("enum<On|At(u8,)|>", json!("At")), "expected {\"At\": ...}");
    assert_eq!(misfit("[u8;2]", json!([1])), "expected a list of 2 elements");
}

#[test]
fn a_shape_with_more_values_than_bytes_is_rejected() {
    for (shape, bytes) in
        [("[();1000000000000]", &[][..]), ("list<(),>", &[255, 255, 255, 255, 255, 255, 255, 255, 127])]
    {
        assert_eq!(decode(&ValueShape::parse(shape).unwrap(), bytes), None, "{shape}");
    }
}

#[test]
fn a_value_that_would_take_many_times_its_bytes_as_json_is_rejected() {
    let units = ValueShape::parse("list<list<(),>,>").unwrap();
    // 3 MiB: lists of 15 units each, which take one byte together.
    let mut bytes = vec![0x80, 0x80, 0xc0, 0x01];
    bytes.resize(4 + (3 << 20), 15);
    assert_eq!(decode(&units, &bytes), None);
    let numbers = ValueShape::parse("list<u8,>").unwrap();
    for (count, is_shown) in [(100_000_u32, true), (1 << 20, false)] {
        let mut bytes = postcard::to_stdvec(&count).unwrap();
        bytes.resize(bytes.len() + count as usize, 7);
        assert_eq!(decode(&numbers, &bytes).is_some(), is_shown, "{count} numbers");
    }
}

fn shapes() -> impl Strategy<Value = ValueShape> {
    let leaf = prop_oneof![
        (any::<bool>(), prop_oneof![Just(8_u32), Just(16), Just(32), Just(64), Just(128)])
            .prop_map(|(signed, bits)| ValueShape::Integer { signed, bits }),
        Just(ValueShape::F32),
        Just(ValueShape::F64),
        Just(ValueShape::Bool),
        Just(ValueShape::Char),
        Just(ValueShape::String),
        Just(ValueShape::Tuple(Vec::new())),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        let named = |inner: BoxedStrategy<ValueShape>| proptest::collection::btree_map("[a-z]{1,3}", inner, 1..4);
        let inner = inner.boxed();
        prop_oneof![
            inner.clone().prop_map(|shape| ValueShape::List(shape.into())),
            inner.clone().prop_map(|shape| ValueShape::Option(shape.into())),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| ValueShape::Map(key.into(), value.into())),
            (inner.clone(), 0..4_usize).prop_map(|(shape, length)| ValueShape::Array(shape.into(), length)),
            proptest::collection::vec(inner.clone(), 1..4).prop_map(ValueShape::Tuple),
            named(inner.clone()).prop_map(|fields| ValueShape::Struct(fields.into_iter().collect())),
            named(inner).prop_map(|variants| {
                let variant = |(place, (name, shape)): (usize, (String, ValueShape))| {
                    (name, (place % 2 == 0).then(|| ValueShape::Tuple(vec![shape])))
                };
                ValueShape::Enum(variants.into_iter().enumerate().map(variant).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_decoded_value_encodes_to_an_equal_value(shape in shapes(), bytes: Vec<u8>) {
        if let Some(value) = decode(&shape, &bytes) {
            let text = value.to_string();
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            if let Ok(again) = encode(&shape, &value) {
                prop_assert_eq!(decode(&shape, &again), Some(value));
            }
        }
    }

    #[test]
    fn an_encoded_value_decodes_to_an_equal_value((shape, value) in shapes().prop_flat_map(|shape| (Just(shape.clone()), values(&shape)))) {
        let bytes = encode(&shape, &value).unwrap();
        prop_assert_eq!(decode(&shape, &bytes), Some(value.clone()), "{:?}", shape);
    }

    #[test]
    fn floats_keep_every_bit(bits: u64, short: u32) {
        for (shape, bytes) in [(ValueShape::F64, bits.to_le_bytes().to_vec()), (ValueShape::F32, short.to_le_bytes().to_vec())] {
            let value = decode(&shape, &bytes).unwrap();
            if value != json!("NaN") {
                let read: Value = serde_json::from_str(&value.to_string()).unwrap();
                prop_assert_eq!(encode(&shape, &read).unwrap(), bytes);
            }
        }
    }
}

/// Generates values of a shape, as `decode` returns them. Options are never empty, since JSON has only one `null`.
fn values(shape: &ValueShape) -> BoxedStrategy<Value> {
    match shape {
        ValueShape::Integer { signed: false, bits } => {
            let unused = 128 - bits;
            any::<u128>().prop_map(move |number| unsigned(number >> unused)).boxed()
        }
        ValueShape::Integer { signed: true, bits } => {
            let unused = 128 - bits;
            let zigzag = |number: i128| ((number << 1) ^ (number >> 127)) as u128;
            any::<i128>().prop_map(move |number| signed(zigzag(number >> unused))).boxed()
        }
        ValueShape::F32 => any::<f32>().prop_map(float32).boxed(),
        ValueShape::F64 => any::<f64>().prop_map(float64).boxed(),
        ValueShape::Bool => any::<bool>().prop_map(Value::from).boxed(),
        ValueShape::Char => any::<char>().prop_map(|c| c.to_string().into()).boxed(),
        ValueShape::String => any::<String>().prop_map(Value::from).boxed(),
        ValueShape::Option(inner) => values(inner).boxed(),
        ValueShape::List(element) => proptest::collection::vec(values(element), 0..3).prop_map(Value::from).boxed(),
        ValueShape::Array(element, length) => {
            proptest::collection::vec(values(element), *length).prop_map(Value::from).boxed()
        }
        ValueShape::Map(key, value) if **key == ValueShape::String => {
            proptest::collection::btree_map(any::<String>(), values(value), 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
                .boxed()
        }
        ValueShape::Map(key, value) => proptest::collection::vec((values(key), values(value)), 0..3)
            .prop_map(|entries| entries.into_iter().map(|(key, value)| json!([key, value])).collect())
            .boxed(),
        ValueShape::Tuple(parts) => match &parts[..] {
            [] => Just(Value::Null).boxed(),
            [one] => values(one),
            parts => parts.iter().map(values).collect::<Vec<_>>().prop_map(Value::from).boxed(),
        },
        ValueShape::Struct(fields) => {
            let (names, shapes): (Vec<String>, Vec<&ValueShape>) =
                fields.iter().map(|(name, shape)| (name.clone(), shape)).unzip();
            let values = shapes.into_iter().map(values).collect::<Vec<_>>();
            values.prop_map(move |values| Value::Object(names.iter().cloned().zip(values).collect())).boxed()
        }
        ValueShape::Enum(variants) => {
            let variant = |(name, fields): &(String, Option<ValueShape>)| match fields {
                None => Just(Value::from(name.clone())).boxed(),
                Some(fields) => {
                    let name = name.clone();
                    values(fields).prop_map(move |content| json!({ name.clone(): content })).boxed()
                }
            };
            proptest::strategy::Union::new(variants.iter().map(variant)).boxed()
        }
    }
}
