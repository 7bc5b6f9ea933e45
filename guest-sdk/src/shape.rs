//! The fingerprint of a state's type, which a restore compares with the one in the checkpoint.
//!
//! Invariant: a shape consists of names of primitive types, names of fields and structure. It contains nothing that a compiler
//! chooses, so the same source gives the same fingerprint with every compiler and on every target.
//!
//! The fingerprint is `codec:shape`, such as `postcard:u64` or `postcard:{count:u64,total:i64}`. A shape longer than 1000 bytes is
//! replaced by its 64-bit FNV-1a hash, `postcard:#0123456789abcdef`. The name of a struct is not part of its shape, so the struct may be
//! renamed. Names of fields are part of it, because a field with another name usually has another meaning. The host parses shapes to
//! show state as JSON, so a shape must be unambiguous. The fingerprint of a record that is stored as a row is the text of its fields, without a
//! codec in front: `{count:u64,total:i64?}`.

use crate::codec::Postcard;
use crate::record::RecordField;
use std::fmt::Write;

/// A longer shape is replaced by its hash. The host accepts schemas of up to 1024 bytes.
const READABLE_BYTES: usize = 1000;
/// The depth at which a type that contains itself is cut off.
const DEPTH_MAX: usize = 24;
/// The length at which a shape is cut off.
const BYTES_MAX: usize = 1 << 16;

/// A type that can be kept in state. [`derive(Record)`](derive@crate::Record) implements it. Derive it for other structs and for enums:
/// `#[derive(StateType)]`.
///
/// The derive reads the names and types of fields, but no `#[serde(...)]` attributes: a type keeps its fingerprint if only such an attribute
/// changes. Implement it by hand for a type with parameters or of another crate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in state",
    note = "derive `#[derive(Clone, Record)]` for a struct, or `#[derive(Clone, serde::Serialize, serde::Deserialize, cofferdam_sdk::StateType)]`"
)]
pub trait StateType: Sized + 'static {
    /// How values are written if the state does not say otherwise: [`Postcard<Self>`](crate::codec::Postcard), or `Self` for a record.
    type Codec;

    /// Appends the shape of the type to `shape`.
    fn shape(shape: &mut Shape);
}

/// The shape of a type, while it is being written.
#[derive(Debug, Default)]
pub struct Shape {
    text: String,
    depth: usize,
}

impl Shape {
    /// Returns the fingerprint of `T` if it is written by the codec with this name.
    pub(crate) fn fingerprint<T: StateType>(codec: &str) -> String {
        let mut shape = Shape::default();
        shape.inner::<T>();
        format!("{codec}:{}", Shape::readable(shape.text))
    }

    /// Replaces a long text by its hash.
    pub(crate) fn readable(text: String) -> String {
        if text.len() <= READABLE_BYTES {
            return text;
        }
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("#{hash:016x}")
    }

    /// Appends a word, such as the name of a primitive type.
    pub fn word(&mut self, word: &str) {
        self.text.push_str(word);
    }

    /// Appends the shape of a type that this one contains.
    pub fn inner<T: StateType>(&mut self) {
        if self.depth == DEPTH_MAX || self.text.len() > BYTES_MAX {
            self.text.push('^');
            return;
        }
        self.depth += 1;
        T::shape(self);
        self.depth -= 1;
    }

    /// Appends the shape of a record.
    #[doc(hidden)]
    pub fn record<T: RecordField<'static>>(&mut self) {
        self.word(&T::row_type(0).shape());
    }

    /// Appends the name of a field and the shape of its type.
    pub fn field<T: StateType>(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{name}:");
        self.inner::<T>();
        self.text.push(',');
    }
}

macro_rules! primitives {
    ($($type:ty),*) => {$(
        impl StateType for $type {
            type Codec = Postcard<Self>;

            fn shape(shape: &mut Shape) {
                shape.word(stringify!($type));
            }
        }
    )*};
}

primitives!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char);

macro_rules! containers {
    ($($word:literal => [$($parameter:ident),*] $type:ty;)*) => {$(
        impl<$($parameter: StateType),*> StateType for $type {
            type Codec = Postcard<Self>;

            fn shape(shape: &mut Shape) {
                shape.word(concat!($word, "<"));
                $(shape.inner::<$parameter>(); shape.word(",");)*
                shape.word(">");
            }
        }
    )*};
}

containers! {
    "list" => [T] Vec<T>;
    "list" => [T] std::collections::VecDeque<T>;
    "option" => [T] Option<T>;
    "map" => [K, V] std::collections::BTreeMap<K, V>;
    "list" => [T] std::collections::BTreeSet<T>;
}

impl<T: StateType> StateType for Box<T> {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.inner::<T>();
    }
}

/// A date is stored in the same form as the `i32` of its days.
impl StateType for crate::Date {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.inner::<i32>();
    }
}

/// JSON is stored in the same form as its text.
impl StateType for crate::JsonText {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.inner::<String>();
    }
}

/// A timestamp is stored in the same form as the `i64` of its milliseconds.
impl StateType for crate::Timestamp {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.inner::<i64>();
    }
}

impl StateType for String {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.word("string");
    }
}

impl<T: StateType, const N: usize> StateType for [T; N] {
    type Codec = Postcard<Self>;

    fn shape(shape: &mut Shape) {
        shape.word("[");
        shape.inner::<T>();
        shape.word(&format!(";{N}]"));
    }
}

macro_rules! tuples {
    ($(($($part:ident),*))*) => {$(
        impl<$($part: StateType),*> StateType for ($($part,)*) {
            type Codec = Postcard<Self>;

            fn shape(shape: &mut Shape) {
                shape.word("(");
                $(shape.inner::<$part>(); shape.word(",");)*
                shape.word(")");
            }
        }
    )*};
}

tuples! { () (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) (A, B, C, D, E, F, G) (A, B, C, D, E, F, G, H) }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_names_the_types_and_their_structure() {
        assert_eq!(Shape::fingerprint::<u64>("postcard"), "postcard:u64");
        assert_eq!(Shape::fingerprint::<(u64, i64)>("postcard"), "postcard:(u64,i64,)");
        assert_eq!(Shape::fingerprint::<Vec<Option<String>>>("json"), "json:list<option<string,>,>");
    }

    #[test]
    fn a_long_shape_is_hashed() {
        type Row = [(String, String, String, String); 3];
        type Long = (Row, Row, Row, Row);
        assert_eq!(Shape::fingerprint::<Long>("postcard").len(), 151);
        type Longer = (Long, Long, Long, Long, Long, Long, Long, Long);
        assert_eq!(Shape::fingerprint::<Longer>("postcard"), "postcard:#0a4a9e45e7b8a982");
    }

    #[test]
    fn the_shape_of_a_type_that_contains_itself_is_finite() {
        struct Tree(#[allow(dead_code)] Vec<(Tree, Tree)>);
        impl StateType for Tree {
            type Codec = Postcard<Self>;

            fn shape(shape: &mut Shape) {
                shape.inner::<Vec<(Tree, Tree)>>();
            }
        }
        assert!(Shape::fingerprint::<Tree>("postcard").starts_with("postcard:#"));
    }
}
