//! What the headers of a request say about its records: the idempotency key, the event time and the attributes.

use axum::http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::connector::ingest::RequestKey;
use crate::error::{Result, request_invalid};

/// Largest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The header with the idempotency key.
pub(super) const KEY_HEADER: &str = "idempotency-key";

/// The header with the event time of the records.
const EVENT_TIME_HEADER: &str = "x-event-time";

/// Returns the value of a header that may occur once. Error: `request-invalid`.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        _ => Err(request_invalid(format!("the request has several headers `{name}`"))),
    }
}

/// Returns the hash of the idempotency key. Error: `request-invalid`.
pub(super) fn key_hash(headers: &HeaderMap) -> Result<Option<u128>> {
    let Some(value) = single(headers, KEY_HEADER)? else { return Ok(None) };
    // The draft standard has the key in quotes.
    let key = value.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or(value);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(request_invalid(format!("the header `{KEY_HEADER}` must have 1 to {KEY_BYTES_MAX} bytes")));
    }
    // Clients choose keys, so that the hash must not have collisions that can be computed.
    let digest = Sha256::digest(key);
    let hash = digest.first_chunk().map_or(1, |first| u128::from_le_bytes(*first));
    Ok(Some(hash.max(1)))
}

/// Returns the key of a request with this decompressed body.
pub(super) fn request_key(hash: Option<u128>, body: &[u8]) -> Option<RequestKey> {
    hash.map(|hash| RequestKey { hash, body: xxh3_64(body) })
}

/// Returns the event time in milliseconds since the Unix epoch. Error: `request-invalid`.
pub(super) fn event_time(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = single(headers, EVENT_TIME_HEADER)? else { return Ok(None) };
    let text = std::str::from_utf8(value).unwrap_or_default().trim();
    let ms = text.parse::<i64>().ok().filter(|ms| Timestamp::from_millisecond(*ms).is_ok());
    let parsed = ms.or_else(|| text.parse::<Timestamp>().ok().map(|time| time.as_millisecond()));
    match parsed {
        Some(ms) => Ok(Some(ms)),
        None => Err(request_invalid(format!(
            "the header `{EVENT_TIME_HEADER}` is neither milliseconds since 1970 nor a time as in RFC 3339"
        ))),
    }
}

/// Returns the headers of these names as attributes, in the encoding of the contract. Empty if there are none.
pub(super) fn attributes(headers: &HeaderMap, names: &[String]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut count = 0;
    for name in names {
        for value in headers.get_all(name) {
            for bytes in [name.as_bytes(), value.as_bytes()] {
                length(&mut encoded, bytes.len());
                encoded.extend_from_slice(bytes);
            }
            count += 1;
        }
    }
    if count == 0 {
        return Vec::new();
    }
    let mut all = Vec::with_capacity(encoded.len() + 2);
    length(&mut all, count);
    all.append(&mut encoded);
    all
}

/// Writes a length in LEB128.
fn length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push((length as u8 & 0x7f) | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn keys_are_texts_with_or_without_quotes() {
        let hash = |value: &str| key_hash(&headers(&[("idempotency-key", value)])).unwrap().unwrap();
        assert_eq!(hash("\"a b\""), hash("a b"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(key_hash(&HeaderMap::new()).unwrap(), None);
        let long = "x".repeat(256);
        for list in [
            &[("idempotency-key", "")][..],
            &[("idempotency-key", "\"\"")],
            &[("idempotency-key", &long)],
            &[("idempotency-key", "a"), ("idempotency-key", "a")],
        ] {
            assert_eq!(key_hash(&headers(list)).unwrap_err().code, "request-invalid");
        }
        assert_ne!(request_key(Some(1), b"a"), request_key(Some(1), b"b"));
        assert_eq!(request_key(None, b"a"), None);
    }

    #[test]
    fn event_times_are_milliseconds_or_rfc_3339() {
        let time = |value: &str| event_time(&headers(&[("x-event-time", value)])).map_err(|error| error.code);
        assert_eq!(time("1500"), Ok(Some(1500)));
        assert_eq!(time("-1500"), Ok(Some(-1500)));
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(Some(1500)));
        assert_eq!(time("1970-01-01T02:00:01.500+02:00"), Ok(Some(1500)));
        for wrong in ["", "yesterday", "1.5", "9223372036854775807", "1970-01-01"] {
            assert_eq!(time(wrong), Err("request-invalid"), "{wrong}");
        }
    }

    #[test]
    fn chosen_headers_become_attributes() {
        let headers = headers(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3")]);
        assert_eq!(attributes(&headers, &["x-a".into(), "x-c".into()]), b"\x02\x03x-a\x011\x03x-a\x013");
        assert!(attributes(&headers, &["x-c".into()]).is_empty());
    }
}
