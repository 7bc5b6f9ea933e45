//! A number in a record or an accumulator: whole as long as 64 bits can hold it, else floating-point.

use std::cmp::Ordering;

#[derive(Clone, Copy, Debug)]
pub enum NumericValue {
    Whole(i64),
    Float(f64),
}

impl NumericValue {
    /// Parses a number in text. Returns `None` for text that is not a finite number.
    pub fn parse(text: &[u8]) -> Option<NumericValue> {
        let text = std::str::from_utf8(text.trim_ascii()).ok()?;
        let float = || text.parse().ok().filter(|float: &f64| float.is_finite()).map(NumericValue::Float);
        text.parse().ok().map(NumericValue::Whole).or_else(float)
    }

    pub fn to_float(self) -> f64 {
        match self {
            NumericValue::Whole(whole) => whole as f64,
            NumericValue::Float(float) => float,
        }
    }

    pub fn plus(self, other: NumericValue) -> NumericValue {
        if let (NumericValue::Whole(a), NumericValue::Whole(b)) = (self, other)
            && let Some(sum) = a.checked_add(b)
        {
            return NumericValue::Whole(sum);
        }
        NumericValue::Float(self.to_float() + other.to_float())
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

    /// Appends the stored form: a byte for the variant, and 8 bytes.
    pub fn encode(self, bytes: &mut Vec<u8>) {
        let (variant, number) = match self {
            NumericValue::Whole(whole) => (0, whole.to_le_bytes()),
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
            0 => Some((NumericValue::Whole(i64::from_le_bytes(*number)), rest)),
            1 => Some((NumericValue::Float(f64::from_le_bytes(*number)), rest)),
            _ => None,
        }
    }
}
