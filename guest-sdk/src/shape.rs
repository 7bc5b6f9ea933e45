//! The fingerprint of a state's type, which a restore compares with the one in the checkpoint.
//!
//! Invariant: the shape of a type is made of its own words (primitive names, field names, structure) and never of what a
//! compiler says about it, so the same source gives the same fingerprint with every compiler and on every target.
//!
//! The fingerprint is `codec:shape`, such as `postcard:u64` or `postcard:{count:u64,total:i64}`. A shape longer than 1000
//! bytes is replaced by the 64-bit FNV-1a hash of it, `postcard:#0123456789abcdef`. The name of a struct is not part of its
//! shape, so it may be renamed; field names are, since a field that changed its name has usually changed its meaning.
//! `cofferdam state` reads values by it, so what is written here can be told apart: see `host/src/inspect/shape.rs`.

use std::fmt::Write;

/// A shape longer than this is replaced by its hash. The host takes schemas of 1024 bytes.
const READABLE_BYTES: usize = 1000;
/// A type that contains itself is cut off at this depth.
const DEPTH_MAX: usize = 24;
/// A shape that grew to this length is cut off.
const BYTES_MAX: usize = 1 << 16;

/// A type that keyed state may hold. Derive it for structs and enums: `#[derive(StateType)]`.
///
/// The derive sees names and types of fields, and no `#[serde(...)]` attributes: a type that changes its form by one of
/// those alone keeps its fingerprint. A type with parameters, or of another crate, implements it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in state",
    note = "derive it: `#[derive(Clone, serde::Serialize, serde::Deserialize, cofferdam_sdk::StateType)]`"
)]
pub trait StateType: 'static {
    /// Writes down what the type is made of.
    fn shape(shape: &mut Shape);
}

/// A shape that is being written down.
#[derive(Debug, Default)]
pub struct Shape {
    text: String,
    depth: usize,
}

impl Shape {
    /// The fingerprint of `T` written by the codec of that name.
    pub(crate) fn fingerprint<T: StateType>(codec: &str) -> String {
        let mut shape = Shape::default();
        shape.inner::<T>();
        if shape.text.len() <= READABLE_BYTES {
            return format!("{codec}:{}", shape.text);
        }
        let hash = shape
            .text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{codec}:#{hash:016x}")
    }

    /// Adds words of the type's own.
    pub fn word(&mut self, word: &str) {
        self.text.push_str(word);
    }

    /// Adds the shape of a type that this one contains.
    pub fn inner<T: StateType>(&mut self) {
        if self.depth == DEPTH_MAX || self.text.len() > BYTES_MAX {
            self.text.push('^');
            return;
        }
        self.depth += 1;
        T::shape(self);
        self.depth -= 1;
    }

    /// Adds a named field and the shape of its type.
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
    fn shape(shape: &mut Shape) {
        shape.inner::<T>();
    }
}

/// A timestamp is stored in the same form as the `i64` of its milliseconds.
impl StateType for crate::Timestamp {
    fn shape(shape: &mut Shape) {
        shape.inner::<i64>();
    }
}

impl StateType for String {
    fn shape(shape: &mut Shape) {
        shape.word("string");
    }
}

impl<T: StateType, const N: usize> StateType for [T; N] {
    fn shape(shape: &mut Shape) {
        shape.word("[");
        shape.inner::<T>();
        shape.word(&format!(";{N}]"));
    }
}

macro_rules! tuples {
    ($(($($part:ident),*))*) => {$(
        impl<$($part: StateType),*> StateType for ($($part,)*) {
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
    fn shapes_are_the_words_of_the_type() {
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
    fn a_type_that_contains_itself_ends() {
        struct Tree(#[allow(dead_code)] Vec<(Tree, Tree)>);
        impl StateType for Tree {
            fn shape(shape: &mut Shape) {
                shape.inner::<Vec<(Tree, Tree)>>();
            }
        }
        assert!(Shape::fingerprint::<Tree>("postcard").starts_with("postcard:#"));
    }
}
