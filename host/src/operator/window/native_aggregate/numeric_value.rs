//! A number in a record or an accumulator.

use std::cmp::Ordering;

/// Which numbers a field holds, and thereby what a sum of them may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// Whole numbers that `i64` holds.
    Signed,
    /// Whole numbers that `u64` holds.
    Unsigned,
    Float,
    /// Numbers in text: whole as long as `i64` holds them, else floating-point.
    Untyped,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumericValue {
    /// A number that `i64` or `u64` holds.
    Whole(i128),
    Float(f64),
}

impl NumericValue {
    /// Parses a number in text. Returns `None` for text that is not a finite number.
    pub fn parse(text: &[u8]) -> Option<NumericValue> {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        let float = || text.parse().ok().filter(|float: &f64| float.is_finite()).map(NumericValue::Float);
        text.parse::<i64>().ok().map(|whole| NumericValue::Whole(whole.into())).or_else(float)
    }

    pub fn to_float(self) -> f64 {
        match self {
            NumericValue::Whole(whole) => whole as f64,
            NumericValue::Float(float) => float,
        }
    }

    /// Returns the whole number, if it is one.
    pub fn to_whole(self) -> Option<i128> {
        match self {
            NumericValue::Whole(whole) => Some(whole),
            // Larger floating-point numbers are no numbers of 64 bits.
            NumericValue::Float(float) if float.fract() == 0.0 && float.abs() < 2e19 => Some(float as i128),
            NumericValue::Float(_) => None,
        }
    }

    /// Returns the sum. `None` if it is not a number of this kind.
    pub fn plus(self, other: NumericValue, kind: NumberKind) -> Option<NumericValue> {
        let float = || Some(NumericValue::Float(self.to_float() + other.to_float())).filter(|sum| sum.is_finite());
        let (NumericValue::Whole(a), NumericValue::Whole(b)) = (self, other) else { return float() };
        let sum = a + b;
        let fits = match kind {
            NumberKind::Unsigned => u64::try_from(sum).is_ok(),
            NumberKind::Signed | NumberKind::Float | NumberKind::Untyped => i64::try_from(sum).is_ok(),
        };
        match kind {
            _ if fits => Some(NumericValue::Whole(sum)),
            NumberKind::Signed | NumberKind::Unsigned => None,
            NumberKind::Float | NumberKind::Untyped => float(),
        }
    }

    pub fn is_finite(self) -> bool {
        self.to_float().is_finite()
    }

    pub fn compare(self, other: NumericValue) -> Ordering {
        match (self, other) {
            (NumericValue::Whole(a), NumericValue::Whole(b)) => a.cmp(&b),
            _ => self.to_float().total_cmp(&other.to_float()),
        }
    }

    /// Appends the stored form: a byte for the variant, and 8 bytes. The variants are `i64`, `f64`, and `u64` for larger whole numbers.
    pub fn encode(self, bytes: &mut Vec<u8>) {
        let (variant, number) = match self {
            NumericValue::Whole(whole) => match i64::try_from(whole) {
                Ok(whole) => (0, whole.to_le_bytes()),
                Err(_) => (2, (whole as u64).to_le_bytes()),
            },
            NumericValue::Float(float) => (1, float.to_le_bytes()),
        };
        bytes.push(variant);
        bytes.extend_from_slice(&number);
    }

    /// Decodes a number, and returns it with the bytes after it.
    pub fn decode(bytes: &[u8]) -> Option<(NumericValue, &[u8])> {
        let (variant, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        match variant {
            0 => Some((NumericValue::Whole(i64::from_le_bytes(*number).into()), rest)),
            1 => Some((NumericValue::Float(f64::from_le_bytes(*number)), rest)),
            2 => Some((NumericValue::Whole(u64::from_le_bytes(*number).into()), rest)),
            _ => None,
        }
    }
}
