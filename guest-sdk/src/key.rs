//! Keys of records and their canonical bytes.
//!
//! Invariant: two equal keys have the same bytes, and two different keys have different bytes. Reading is therefore strict: a
//! form that [`EncodeKey`] does not write, such as `007` for a number, is refused. The bytes are part of every stored state, so
//! they never change. They are the bytes that the host makes from a record by the pipeline's `key`:
//!
//! | type | bytes |
//! |---|---|
//! | `String` | UTF-8 |
//! | `Vec<u8>` | as they are |
//! | integers | decimal text: `7`, `-3` |
//! | `bool` | `true` or `false` |
//! | [`Timestamp`] | milliseconds as decimal text |
//! | tuples | each part with its length in front: `("ann", 42)` is `3:ann2:42` |

use crate::Timestamp;
use crate::bindings::cofferdam::function::types::Column;
use crate::column;
use std::str::from_utf8;

/// A value that can be written as a key: a [`Key`], the type that it borrows as (`str`, `[u8]`), or a reference to one.
///
/// [`Collector::emit_keyed`](crate::Collector::emit_keyed) and the test harnesses take one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as a key",
    note = "keys are text, bytes, integers, `bool`, `Timestamp`, and tuples of these"
)]
pub trait EncodeKey {
    /// Appends the canonical bytes of the key to `to`.
    fn encode_key(&self, to: &mut Vec<u8>);
}

/// The type of a function's keys: `type Key = String;`.
///
/// Keys are `String`, `Vec<u8>`, integers of up to 64 bits, `bool`, [`Timestamp`], and tuples of two to four of these. `Vec<u8>` takes every key as
/// it is and costs nothing. For the others the SDK checks the keys of each batch before the function sees a record; a key of
/// another form fails its record.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// /// Counts the flights of an airline to an airport.
/// #[derive(Function)]
/// struct Flights {
///     count: ValueState<u64>,
/// }
///
/// #[function]
/// impl KeyedProcessFunction for Flights {
///     type Key = (String, u32);
///     type In = Bytes;
///     type Out = Text;
///
///     fn process_element(
///         &mut self,
///         _: &[u8],
///         ctx: &mut KeyedContext<(String, u32)>,
///         out: &mut Collector<Text>,
///     ) -> Result {
///         let count = self.count.get_or_default() + 1;
///         self.count.set(count);
///         let (airline, airport) = ctx.key();
///         out.emit(format!("{airline} to {airport}: {count}"));
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Flights>::new();
/// harness.push(("UA", 17), "", 0)?;
/// assert_eq!(harness.take_output()?, ["UA to 17: 1"]);
/// let error = harness.push("UA", "", 0).unwrap_err().to_string();
/// assert!(error.contains("the key `UA` is not a `(string, u32)`"), "{error}");
/// # Ok::<(), FunctionError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of records",
    note = "keys are `String`, `Vec<u8>`, integers, `bool`, `Timestamp`, and tuples of these"
)]
pub trait Key: EncodeKey + 'static {
    /// The type that [`KeyedContext::key`](crate::KeyedContext::key) returns: `&str` for `String`, `&[u8]` for `Vec<u8>`, a copy for the
    /// others.
    type Ref<'a>: EncodeKey;

    /// Returns the name of the type, such as `(string, u32)`.
    fn type_name() -> String;

    /// Reads a key without copying it.
    ///
    /// # Errors
    /// Returns an error if [`EncodeKey::encode_key`] does not write such bytes.
    fn decode(bytes: &[u8]) -> Result<Self::Ref<'_>, KeyError>;

    /// Reads every key of a column. Returns the index of the first one that cannot be read.
    #[doc(hidden)]
    fn check(keys: &Column) -> Result<(), (usize, KeyError)> {
        let read = |index| Self::decode(column::value(keys, index)).map(drop).map_err(|error| (index, error));
        (0..column::len(keys)).try_for_each(read)
    }
}

/// A key that a function can choose for the records that it emits: see [`Collector::emit_keyed`](crate::Collector::emit_keyed).
#[diagnostic::on_unimplemented(
    message = "the function does not say which type the keys have that it chooses",
    note = "name the type in the `impl`, such as `type OutKey = String;`, and in the collector: `out: &mut Collector<Self::Out, String>`"
)]
pub trait ChosenKey: Key {}

/// A key that can be a part of a tuple: any but a tuple.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a key",
    note = "parts are `String`, `Vec<u8>`, `i8` to `i64`, `u8` to `u64`, `bool` and `Timestamp`"
)]
pub trait KeyPart: ChosenKey {}

macro_rules! parts {
    ($($part:ty)*) => {$(
        impl ChosenKey for $part {}
        impl KeyPart for $part {}
    )*};
}

parts! { String Vec<u8> bool Timestamp u8 u16 u32 u64 i8 i16 i32 i64 }

/// Why bytes are not a key of the expected type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyError(&'static str);

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for KeyError {}

/// Reads a key that [`Key::check`] has accepted.
#[inline]
pub(crate) fn checked<K: Key>(bytes: &[u8]) -> K::Ref<'_> {
    match K::decode(bytes) {
        Ok(key) => key,
        Err(error) => unchecked(error),
    }
}

#[cold]
fn unchecked(error: KeyError) -> ! {
    panic!("a key was not checked before the function was called: {error}")
}

/// Shows a key in a message: as text, or in hexadecimal if it is not UTF-8.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

/// Returns the canonical bytes of a key.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn encoded(key: impl EncodeKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode_key(&mut bytes);
    bytes
}

impl<T: EncodeKey + ?Sized> EncodeKey for &T {
    #[inline]
    fn encode_key(&self, to: &mut Vec<u8>) {
        (**self).encode_key(to);
    }
}

impl EncodeKey for [u8] {
    #[inline]
    fn encode_key(&self, to: &mut Vec<u8>) {
        column::append(to, self);
    }
}

impl<const N: usize> EncodeKey for [u8; N] {
    fn encode_key(&self, to: &mut Vec<u8>) {
        column::append(to, self);
    }
}

impl EncodeKey for Vec<u8> {
    #[inline]
    fn encode_key(&self, to: &mut Vec<u8>) {
        column::append(to, self);
    }
}

impl Key for Vec<u8> {
    type Ref<'a> = &'a [u8];

    fn type_name() -> String {
        "bytes".to_owned()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&[u8], KeyError> {
        Ok(bytes)
    }

    #[inline]
    fn check(_: &Column) -> Result<(), (usize, KeyError)> {
        Ok(())
    }
}

impl EncodeKey for str {
    #[inline]
    fn encode_key(&self, to: &mut Vec<u8>) {
        column::append(to, self.as_bytes());
    }
}

impl EncodeKey for String {
    #[inline]
    fn encode_key(&self, to: &mut Vec<u8>) {
        column::append(to, self.as_bytes());
    }
}

impl Key for String {
    type Ref<'a> = &'a str;

    fn type_name() -> String {
        "string".to_owned()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<&str, KeyError> {
        from_utf8(bytes).map_err(|_| KeyError("it is not UTF-8"))
    }

    fn check(keys: &Column) -> Result<(), (usize, KeyError)> {
        // ASCII is the common case, and one pass over all keys is much cheaper than a call for each.
        if keys.bytes.is_ascii() {
            return Ok(());
        }
        let read = |index| Self::decode(column::value(keys, index)).map(drop).map_err(|error| (index, error));
        (0..column::len(keys)).try_for_each(read)
    }
}

macro_rules! integers {
    ($($integer:ident)*) => {$(
        impl EncodeKey for $integer {
            fn encode_key(&self, to: &mut Vec<u8>) {
                use std::io::Write;
                // Writing to a Vec cannot fail.
                let _ = write!(to, "{self}");
            }
        }

        impl Key for $integer {
            type Ref<'a> = $integer;

            fn type_name() -> String {
                stringify!($integer).to_owned()
            }

            fn decode(bytes: &[u8]) -> Result<$integer, KeyError> {
                match bytes {
                    [b'+', ..] | [b'0', _, ..] | [b'-', b'0', ..] => {
                        Err(KeyError("a number has neither leading zeros nor a plus sign"))
                    }
                    _ => from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(KeyError("it is not a number in range")),
                }
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i8 i16 i32 i64);

impl EncodeKey for bool {
    fn encode_key(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Key for bool {
    type Ref<'a> = bool;

    fn type_name() -> String {
        "bool".to_owned()
    }

    fn decode(bytes: &[u8]) -> Result<bool, KeyError> {
        match bytes {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(KeyError("it is neither `true` nor `false`")),
        }
    }
}

impl EncodeKey for Timestamp {
    fn encode_key(&self, to: &mut Vec<u8>) {
        self.as_millis().encode_key(to);
    }
}

impl Key for Timestamp {
    type Ref<'a> = Timestamp;

    fn type_name() -> String {
        "timestamp".to_owned()
    }

    fn decode(bytes: &[u8]) -> Result<Timestamp, KeyError> {
        i64::decode(bytes).map(Timestamp::from_millis)
    }
}

/// No key, for functions without keys: it has no bytes.
impl EncodeKey for () {
    fn encode_key(&self, _: &mut Vec<u8>) {}
}

/// The key of a function that does not see keys.
#[doc(hidden)]
pub enum NoKey {}

impl EncodeKey for NoKey {
    fn encode_key(&self, _: &mut Vec<u8>) {}
}

impl Key for NoKey {
    type Ref<'a> = ();

    fn type_name() -> String {
        String::new()
    }

    fn decode(_: &[u8]) -> Result<(), KeyError> {
        Ok(())
    }

    fn check(_: &Column) -> Result<(), (usize, KeyError)> {
        Ok(())
    }
}

/// Appends a part of a tuple: its length in bytes as decimal text, a colon, its bytes.
fn encode_part(part: &impl EncodeKey, to: &mut Vec<u8>) {
    let start = to.len();
    part.encode_key(to);
    let prefix = format!("{}:", to.len() - start);
    to.splice(start..start, prefix.into_bytes());
}

/// Takes the bytes of the next part of a tuple.
fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], KeyError> {
    const MALFORMED: KeyError = KeyError("a tuple is written as the length of each part, a colon and the part");
    let colon = rest.iter().position(|&byte| byte == b':').ok_or(MALFORMED)?;
    let length = u32::decode(&rest[..colon]).map_err(|_| MALFORMED)? as usize;
    let (part, behind) = rest[colon + 1..].split_at_checked(length).ok_or(MALFORMED)?;
    *rest = behind;
    Ok(part)
}

macro_rules! tuples {
    ($(($($part:ident $place:tt),+))*) => {$(
        impl<$($part: EncodeKey),+> EncodeKey for ($($part,)+) {
            fn encode_key(&self, to: &mut Vec<u8>) {
                $(encode_part(&self.$place, to);)+
            }
        }

        impl<$($part: KeyPart),+> ChosenKey for ($($part,)+) {}

        impl<$($part: KeyPart),+> Key for ($($part,)+) {
            type Ref<'a> = ($($part::Ref<'a>,)+);

            fn type_name() -> String {
                format!("({})", [$($part::type_name()),+].join(", "))
            }

            fn decode(bytes: &[u8]) -> Result<Self::Ref<'_>, KeyError> {
                let mut rest = bytes;
                let key = ($($part::decode(take_part(&mut rest)?)?,)+);
                if rest.is_empty() { Ok(key) } else { Err(KeyError("a tuple has more parts than the type")) }
            }
        }
    )*};
}

tuples! { (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_keys_do_not_change() {
        assert_eq!(encoded("grün"), "grün".as_bytes());
        assert_eq!(encoded([0, 255]), [0, 255]);
        assert_eq!((encoded(7_u8), encoded(-3_i64), encoded(true)), (b"7".into(), b"-3".into(), b"true".into()));
        assert_eq!(encoded(Timestamp::from_secs(1)), b"1000");
        assert_eq!(encoded(("ann", 42)), b"3:ann2:42");
        assert_eq!(encoded(("", true, i8::MIN)), b"0:4:true4:-128");
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        assert_eq!(u64::decode(&encoded(u64::MAX)), Ok(u64::MAX));
        assert_eq!(i64::decode(&encoded(i64::MIN)), Ok(i64::MIN));
        assert_eq!(<(String, u8, Vec<u8>)>::decode(&encoded(("1:a", 0, b"2:"))), Ok(("1:a", 0, &b"2:"[..])));
        assert_eq!(Timestamp::decode(b"-1"), Ok(Timestamp::from(-1)));
    }

    #[test]
    fn a_form_that_is_not_canonical_is_refused() {
        for bytes in ["", "007", "+7", "-0", "-07", "00", "1.0", "256", "7 "] {
            assert!(u8::decode(bytes.as_bytes()).is_err() && i8::decode(bytes.as_bytes()).is_err(), "{bytes}");
        }
        assert_eq!((u8::decode(b"0"), i8::decode(b"-1")), (Ok(0), Ok(-1)));
        for bytes in ["", "True", "1"] {
            assert!(bool::decode(bytes.as_bytes()).is_err());
        }
        for bytes in ["", "ann", "03:ann2:42", "3:ann2:42x", "3:ann", "4:ann2:42", "3:ann2:xy", ":ann2:42"] {
            assert!(<(String, u32)>::decode(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn the_first_key_of_another_form_is_found() {
        let column = |keys: &[&[u8]]| {
            let mut column = column::empty();
            for key in keys {
                column.bytes.extend_from_slice(key);
                column::end_value(&mut column);
            }
            column
        };
        assert_eq!(String::check(&column(&["a", "grün"].map(str::as_bytes))), Ok(()));
        // Each half of a character is invalid, although the bytes of both keys are valid together.
        assert_eq!(String::check(&column(&[b"a", b"\xc3", b"\xbc"])).unwrap_err().0, 1);
        assert_eq!(u32::check(&column(&[b"7", b"x", b"y"])).unwrap_err().0, 1);
        assert_eq!(Vec::<u8>::check(&column(&[b"\xff"])), Ok(()));
    }
}
