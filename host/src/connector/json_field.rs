//! Reads one field of a JSON document, by path. The document may be any bytes: invalid JSON has no fields.
//!
//! Uses serde_json because it skips nested values without recursion, so no document can overflow the stack. (sonic-rs
//! recurses without a limit and is not faster here.)

use memchr::memchr;
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns the scalar at `path`: the unescaped text of a string, or the text of a number or boolean as written. Returns
/// `None` for null, objects, arrays and missing fields. If a name occurs twice, the last one counts, as it does for
/// functions that read JSON.
#[inline]
pub(super) fn field<'a>(document: &'a [u8], path: &[String], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let mut reader = serde_json::Deserializer::from_str(std::str::from_utf8(document).ok()?);
    let found = ValueAtPath(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let raw = found?.get().as_bytes();
    match raw.first()? {
        b'"' => text(raw, scratch),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(raw),
        _ => None,
    }
}

fn text<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if memchr(b'\\', raw).is_none() {
        return raw.get(1..raw.len() - 1);
    }
    let unescaped: String = serde_json::from_slice(raw).ok()?;
    scratch.clear();
    scratch.extend_from_slice(unescaped.as_bytes());
    Some(scratch)
}

/// Deserializes the value at a path below the reader's position.
struct ValueAtPath<'p>(&'p [String]);

impl ValueAtPath<'_> {
    /// Returns the value at the path below `value`.
    fn below(self, value: &RawValue) -> Option<&RawValue> {
        match self.0 {
            [] => Some(value),
            // `value` may be something other than an object.
            _ => self.deserialize(&mut serde_json::Deserializer::from_str(value.get())).ok()?,
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueAtPath<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(reader).map(Some),
            _ => reader.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for ValueAtPath<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        let [name, below @ ..] = self.0 else {
            return Ok(None);
        };
        while let Some(is_it) = map.next_key_seed(NameMatcher(name))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.and_then(|value| ValueAtPath(below).below(value)))
    }
}

/// Deserializes a key and returns whether it equals this name.
struct NameMatcher<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for NameMatcher<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for NameMatcher<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(document: impl AsRef<[u8]>, path: &str) -> Option<String> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let mut scratch = Vec::new();
        field(document.as_ref(), &path, &mut scratch).map(|field| String::from_utf8(field.to_vec()).unwrap())
    }

    #[test]
    fn only_scalars_are_fields() {
        let document =
            r#" {"s":"a b","e":"q\"\u00e9\n","n":-1.50e3,"t":true,"z":null,"o":{"p":{"q":"deep"}},"l":[1],"":0} "#;
        assert_eq!(get(document, "s").unwrap(), "a b");
        assert_eq!(get(document, "e").unwrap(), "q\"é\n");
        assert_eq!(get(document, "n").unwrap(), "-1.50e3");
        assert_eq!(get(document, "t").unwrap(), "true");
        assert_eq!(get(document, "o.p.q").unwrap(), "deep");
        for missing in ["z", "o", "l", "o.p.r", "s.p", "x", "l.0"] {
            assert_eq!(get(document, missing), None, "{missing}");
        }
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        let document = r#"{"k":"a","ts":10,"k":"b","ts":20}"#;
        assert_eq!((get(document, "k").unwrap(), get(document, "ts").unwrap()), ("b".into(), "20".into()));
        for (document, expected) in [
            (r#"{"a":{"b":1},"a":{"b":2}}"#, Some("2")),
            (r#"{"a":7,"a":{"b":2}}"#, Some("2")),
            (r#"{"a":{"b":2},"a":7}"#, None),
            (r#"{"a":{"b":2},"a":{}}"#, None),
            (r#"{"a":{"b":1,"b":null}}"#, None),
        ] {
            assert_eq!(get(document, "a.b").as_deref(), expected, "{document}");
        }
    }

    #[test]
    fn invalid_json_has_no_fields() {
        let broken: [&[u8]; 10] = [
            b"",
            b"{",
            b"[]",
            b"{\"k\":1,",
            b"{\"k\":1}}",
            b"{\"k\":",
            b"{\"k\":\"a",
            b"{\"k\":\"\xff\"}",
            b"{\"k\":\"\\ud800\"}",
            b"{\"k\":tru}",
        ];
        for document in broken {
            assert_eq!(get(document, "k"), None, "{}", String::from_utf8_lossy(document));
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = "[".repeat(4 << 20);
        assert_eq!(get(format!("{{\"a\":{deep}"), "k"), None);
        let closed = "]".repeat(4 << 20);
        assert_eq!(get(format!("{{\"a\":{deep}{closed},\"k\":{{\"l\":\"v\\t\"}}}}"), "k.l").unwrap(), "v\t");
        let wide = format!("{{\"a\":[{}0],\"k\":17}}", "[],".repeat(1_000));
        assert_eq!(get(wide, "k").unwrap(), "17");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_bytes_never_panic(
            document in prop::collection::vec(prop::sample::select(b"{}[]\"\"\"::,,\\kla01-.eutrfn \xff\xc3\x00".to_vec()), 0..600),
        ) {
            let path = ["k".to_owned(), "l".to_owned()];
            for document in [&document[..], &[b"{\"k\":", &document[..]].concat()] {
                let mut scratch = Vec::new();
                let found = field(document, &path, &mut scratch).is_some();
                prop_assert!(!found || serde_json::from_slice::<serde_json::Value>(document).is_ok());
            }
        }

        #[test]
        fn a_written_field_is_read_back(name in "[a-c]", values in prop::collection::vec(("[a-c]", "\\PC{0,20}"), 0..8)) {
            let fields: Vec<String> =
                values.iter().map(|(name, value)| format!("\"{name}\": {}", serde_json::json!(value))).collect();
            let document = format!("{{{}}}", fields.join(" , "));
            let expected = values.iter().rfind(|(other, _)| *other == name).map(|(_, value)| value.clone());
            prop_assert_eq!(get(&document, &name), expected);
        }
    }
}
