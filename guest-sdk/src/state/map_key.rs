//! Keys of maps, written as bytes that sort in the order of the keys.
//!
//! The bytes are part of the stored state, so they never change. Each form has a name, which the component describes:
//!
//! | key | name | bytes |
//! |---|---|---|
//! | unsigned integers | `ordered:u64` | big endian |
//! | signed integers | `ordered:i64` | big endian, with the sign bit flipped |
//! | `bool` | `ordered:bool` | 0 or 1 |
//! | `char` | `ordered:char` | its code point as a `u32` |
//! | `String`, `str` | `ordered:string` | UTF-8 |
//! | `Vec<u8>`, `[u8]` | `ordered:bytes` | as they are |
//! | [`Timestamp`] | `ordered:i64` | as the `i64` of its milliseconds |
//! | tuples | `ordered:(u64,string)` | their parts, one after the other; in text and bytes within a tuple each 0 is written as 0 255, and 0 0 ends them |

use crate::{FunctionError, Timestamp};

/// A value by which a map can be searched: a key, or what a key borrows as (`str` for `String`).
pub trait OrderedKey {
    /// Appends the bytes of the whole key.
    fn write(&self, to: &mut Vec<u8>);

    /// Appends the bytes of the key as a part of a tuple. A reader can find their end, and the bytes after them do not change the order.
    fn write_part(&self, to: &mut Vec<u8>) {
        self.write(to);
    }
}

/// A key of a [`MapState`](crate::MapState) or a [`BroadcastState`](crate::BroadcastState): an integer, `bool`, `char`, `String`, `Vec<u8>`,
/// [`Timestamp`], or a tuple of these. A map is iterated in the order of its keys.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a map in state",
    note = "keys are integers, `bool`, `char`, `String`, `Vec<u8>`, `Timestamp`, and tuples of these"
)]
pub trait MapKey: OrderedKey + Sized + 'static {
    /// Appends the name of the form in which keys are written, such as `u64`.
    fn name(to: &mut String);

    /// Reads the bytes of [`OrderedKey::write`].
    ///
    /// # Errors
    /// Returns an error if it does not write such bytes.
    fn read(bytes: &[u8]) -> Result<Self, FunctionError> {
        let mut rest = bytes;
        let key = Self::read_part(&mut rest)?;
        if rest.is_empty() { Ok(key) } else { Err(format!("{} bytes after a map's key", rest.len()).into()) }
    }

    /// Reads the bytes of [`OrderedKey::write_part`], and leaves the bytes after them.
    ///
    /// # Errors
    /// The same as of [`MapKey::read`].
    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError>;
}

/// Returns the name of the form for the function's description.
pub(super) fn described<K: MapKey>() -> String {
    let mut name = "ordered:".to_owned();
    K::name(&mut name);
    name
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], FunctionError> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or("a map's key ends too early")?;
    *bytes = rest;
    Ok(*taken)
}

macro_rules! integers {
    ($($unsigned:ident $signed:ident),*) => {$(
        impl OrderedKey for $unsigned {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl MapKey for $unsigned {
            fn name(to: &mut String) {
                to.push_str(stringify!($unsigned));
            }

            fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
                Ok($unsigned::from_be_bytes(take(bytes)?))
            }
        }

        impl OrderedKey for $signed {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&(self ^ $signed::MIN).to_be_bytes());
            }
        }

        impl MapKey for $signed {
            fn name(to: &mut String) {
                to.push_str(stringify!($signed));
            }

            fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
                Ok($signed::from_be_bytes(take(bytes)?) ^ $signed::MIN)
            }
        }
    )*};
}

integers!(u8 i8, u16 i16, u32 i32, u64 i64, u128 i128);

impl OrderedKey for Timestamp {
    fn write(&self, to: &mut Vec<u8>) {
        self.as_millis().write(to);
    }
}

/// Written as the `i64` of its milliseconds.
impl MapKey for Timestamp {
    fn name(to: &mut String) {
        i64::name(to);
    }

    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
        i64::read_part(bytes).map(Timestamp::from_millis)
    }
}

impl OrderedKey for bool {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
}

impl MapKey for bool {
    fn name(to: &mut String) {
        to.push_str("bool");
    }

    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
        match take(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{other} is not a bool").into()),
        }
    }
}

impl OrderedKey for char {
    fn write(&self, to: &mut Vec<u8>) {
        u32::from(*self).write(to);
    }
}

impl MapKey for char {
    fn name(to: &mut String) {
        to.push_str("char");
    }

    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
        Ok(char::try_from(u32::read_part(bytes)?)?)
    }
}

impl OrderedKey for [u8] {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }

    fn write_part(&self, to: &mut Vec<u8>) {
        for &byte in self {
            to.push(byte);
            if byte == 0 {
                to.push(255);
            }
        }
        to.extend_from_slice(&[0, 0]);
    }
}

impl OrderedKey for Vec<u8> {
    fn write(&self, to: &mut Vec<u8>) {
        self.as_slice().write(to);
    }

    fn write_part(&self, to: &mut Vec<u8>) {
        self.as_slice().write_part(to);
    }
}

impl MapKey for Vec<u8> {
    fn name(to: &mut String) {
        to.push_str("bytes");
    }

    fn read(bytes: &[u8]) -> Result<Self, FunctionError> {
        Ok(bytes.to_vec())
    }

    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
        let mut read = Vec::new();
        loop {
            match take(bytes)? {
                [0] => match take(bytes)? {
                    [0] => return Ok(read),
                    [255] => read.push(0),
                    [other] => return Err(format!("0 {other} within a map's key").into()),
                },
                [byte] => read.push(byte),
            }
        }
    }
}

impl OrderedKey for str {
    fn write(&self, to: &mut Vec<u8>) {
        self.as_bytes().write(to);
    }

    fn write_part(&self, to: &mut Vec<u8>) {
        self.as_bytes().write_part(to);
    }
}

impl OrderedKey for String {
    fn write(&self, to: &mut Vec<u8>) {
        self.as_str().write(to);
    }

    fn write_part(&self, to: &mut Vec<u8>) {
        self.as_str().write_part(to);
    }
}

impl MapKey for String {
    fn name(to: &mut String) {
        to.push_str("string");
    }

    fn read(bytes: &[u8]) -> Result<Self, FunctionError> {
        Ok(std::str::from_utf8(bytes)?.to_owned())
    }

    fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
        Ok(String::from_utf8(Vec::read_part(bytes)?)?)
    }
}

macro_rules! tuples {
    ($(($($part:ident $place:tt),+))*) => {$(
        impl<$($part: OrderedKey),+> OrderedKey for ($($part,)+) {
            fn write(&self, to: &mut Vec<u8>) {
                $(self.$place.write_part(to);)+
            }
        }

        impl<$($part: MapKey),+> MapKey for ($($part,)+) {
            fn name(to: &mut String) {
                to.push('(');
                $(
                    if $place > 0 {
                        to.push(',');
                    }
                    $part::name(to);
                )+
                to.push(')');
            }

            fn read_part(bytes: &mut &[u8]) -> Result<Self, FunctionError> {
                Ok(($($part::read_part(bytes)?,)+))
            }
        }
    )*};
}

tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn bytes(key: &(impl OrderedKey + ?Sized)) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.write(&mut bytes);
        bytes
    }

    /// Checks that keys in ascending order are read back, and that their bytes ascend.
    fn ascend<K: MapKey + PartialEq + Debug>(name: &str, keys: &[K]) {
        assert_eq!(described::<K>(), format!("ordered:{name}"));
        for key in keys {
            let written = bytes(key);
            assert_eq!(&K::read(&written).unwrap(), key);
            assert!(K::read(&[&written[..], &[7, 0]].concat()).map_or(true, |other| other != *key));
        }
        for pair in keys.windows(2) {
            assert!(bytes(&pair[0]) < bytes(&pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn bytes_sort_as_the_keys_do() {
        ascend("u8", &[0_u8, 1, 127, 128, 255]);
        ascend("u64", &[0_u64, 255, 256, u64::MAX]);
        ascend("i8", &[i8::MIN, -1, 0, 1, i8::MAX]);
        ascend("i64", &[i64::MIN, -256, -255, -1, 0, 1, i64::MAX]);
        ascend("i128", &[i128::MIN, -1, 0, i128::MAX]);
        ascend("bool", &[false, true]);
        ascend("char", &['\0', 'a', 'ß', '漢', char::MAX]);
        ascend("string", &["", "\0", "\0\0", "a", "a\0", "ab", "b"].map(str::to_owned));
        ascend("bytes", &[vec![], vec![0], vec![0, 255], vec![1], vec![255]]);
        let text = |text: &str, number: i32| (text.to_owned(), number);
        let pairs = [text("", 0), text("\0", -1), text("a", 0), text("a", 1), text("a\0", 0), text("ab", -5)];
        ascend("(string,i32)", &pairs);
        ascend("((u8,bytes),bool)", &[((1_u8, vec![]), true), ((1, vec![0]), false), ((2, vec![]), false)]);
    }

    #[test]
    fn the_bytes_of_map_keys_do_not_change() {
        assert_eq!(bytes(&1_u32), [0, 0, 0, 1]);
        assert_eq!(bytes(&-1_i16), [127, 255]);
        assert_eq!(bytes("a\0"), [97, 0]);
        assert_eq!(bytes(&("a\0".to_owned(), true)), [97, 0, 255, 0, 0, 1]);
        assert_eq!(bytes(&'a'), [0, 0, 0, 97]);
    }

    #[test]
    fn bytes_that_are_not_a_key_are_refused() {
        assert!(u32::read(&[0, 0, 0]).is_err());
        assert!(bool::read(&[2]).is_err());
        assert!(char::read(&[0, 0, 0xd8, 0]).is_err());
        assert!(String::read(&[0xff]).is_err());
        assert!(<(String, u8)>::read(&[b'a', 0, 7, 1]).is_err());
        assert!(<(String,)>::read(b"a").is_err());
    }
}
