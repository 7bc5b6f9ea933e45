//! Reads one field out of a JSON document, by path. The document may be any bytes: what is not JSON up to the field has
//! no such field. What comes behind the field is not looked at.

use memchr::{memchr, memchr2_iter};
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How many opening brackets a document may have for sonic-rs, which skips nested values by recursion and knows no
/// limit. Documents with more of them go through serde_json, which skips without recursion.
const BRACKETS_MAX: usize = 256;

/// The scalar at `path`: the unescaped text of a string, the text of a number or a boolean as it is written. None for
/// null, for objects and arrays, and where there is nothing.
#[inline]
pub(super) fn field<'a>(document: &'a [u8], path: &[String], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let flat = document.len() <= BRACKETS_MAX || memchr2_iter(b'[', b'{', document).nth(BRACKETS_MAX).is_none();
    let raw = if flat { shallow(document, path)? } else { deep(document, path)? };
    match raw.first()? {
        b'"' => text(raw, scratch),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(raw),
        _ => None,
    }
}

fn shallow<'a>(document: &'a [u8], path: &[String]) -> Option<&'a [u8]> {
    match sonic_rs::get(document, path).ok()?.as_raw_cow() {
        std::borrow::Cow::Borrowed(raw) => Some(raw.as_bytes()),
        // Only documents that are reference-counted strings give these.
        std::borrow::Cow::Owned(_) => None,
    }
}

fn deep<'a>(document: &'a [u8], path: &[String]) -> Option<&'a [u8]> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    let raw = At(path).deserialize(&mut reader).ok()??;
    Some(raw.get().as_bytes())
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

/// Finds the value at a path below where the reader stands.
struct At<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(reader).map(Some),
            _ => reader.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [name, below @ ..] if found.is_none() && *name == key => {
                    found = Some(map.next_value_seed(At(below))?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found.flatten())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(document: impl AsRef<[u8]>, path: &str) -> Option<String> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let mut scratch = Vec::new();
        let shallow =
            field(document.as_ref(), &path, &mut scratch).map(|field| String::from_utf8(field.to_vec()).unwrap());
        shallow
    }

    #[test]
    fn scalars_are_fields_and_nothing_else_is() {
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
    fn what_is_not_json_has_no_fields() {
        let broken: [&[u8]; 8] =
            [b"", b"{", b"[]", b"{\"k\":", b"{\"k\":\"a", b"{\"k\":\"\xff\"}", b"{\"k\":\"\\ud800\"}", b"{\"k\":tru}"];
        for document in broken {
            assert_eq!(get(document, "k"), None, "{}", String::from_utf8_lossy(document));
        }
    }

    #[test]
    fn nesting_does_not_reach_the_end_of_the_stack() {
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
        fn no_bytes_make_it_panic(
            document in prop::collection::vec(prop::sample::select(b"{}[]\"\"\"::,,\\kla01-.eutrfn \xff\xc3\x00".to_vec()), 0..600),
        ) {
            let path = ["k".to_owned(), "l".to_owned()];
            let mut scratch = Vec::new();
            for document in [document.clone(), [b"{\"k\":", &document[..]].concat()] {
                for path in [&path[..], &path[..1]] {
                    let _ = field(&document, path, &mut scratch);
                    let _ = deep(&document, path);
                }
            }
        }

        #[test]
        fn both_readers_find_the_same(name in "[a-c]", values in prop::collection::vec(("[a-c]", "[^\\pC]{0,40}"), 0..8)) {
            let fields: Vec<String> =
                values.iter().map(|(name, value)| format!("\"{name}\": {}", serde_json::json!(value))).collect();
            let document = format!("{{{}}}", fields.join(" , "));
            let expected = values.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
            prop_assert_eq!(get(&document, &name), expected);
            let padded = format!("{{\"pad\":[{}0],{}", "[],".repeat(BRACKETS_MAX), &document[1..]);
            if !values.is_empty() {
                prop_assert_eq!(get(&padded, &name), get(&document, &name));
            }
        }
    }
}
