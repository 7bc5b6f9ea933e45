//! The stored form of a window's element: its input, its number, its timestamp and its value.
//!
//! Part of the durable format. The input and the number share an integer of 7 bits per byte. The timestamp takes 8 bytes,
//! little-endian, and the value the rest.

use crate::error::{self, Result};
use crate::model::{Column, WindowElements};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWindowElement<'a> {
    pub input: u32,
    /// Orders the elements of a window that is merged from panes. Otherwise 0.
    pub number: u64,
    pub timestamp: i64,
    pub value: &'a [u8],
}

impl<'a> StoredWindowElement<'a> {
    /// Appends the stored form to a buffer.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let mut integer = (self.number << 1) | u64::from(self.input & 1);
        while integer >= 0x80 {
            buffer.push((integer as u8) | 0x80);
            integer >>= 7;
        }
        buffer.push(integer as u8);
        buffer.extend_from_slice(&self.timestamp.to_le_bytes());
        buffer.extend_from_slice(self.value);
    }

    /// Error: `state-failed` if [`StoredWindowElement::encode`] cannot have written the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<StoredWindowElement<'a>> {
        let decode = || {
            let last = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)?;
            let (integer, rest) = bytes.split_at_checked(last + 1)?;
            let integer = integer.iter().rev().fold(0, |integer, byte| (integer << 7) | u64::from(byte & 0x7f));
            let (timestamp, value) = rest.split_first_chunk()?;
            let (input, timestamp) = ((integer & 1) as u32, i64::from_le_bytes(*timestamp));
            Some(StoredWindowElement { input, number: integer >> 1, timestamp, value })
        };
        decode().ok_or_else(|| error::state_failed("an element of a window cannot be decoded"))
    }

    /// Decodes the elements of a list.
    pub fn decode_all(list: &'a Column) -> Result<Vec<StoredWindowElement<'a>>> {
        list.iter().map(StoredWindowElement::decode).collect()
    }
}

/// The elements of several windows, by input.
pub struct ElementsByInput {
    pub inputs: Vec<WindowElements>,
}

impl ElementsByInput {
    /// `inputs` is the number of inputs.
    pub fn new(inputs: usize) -> ElementsByInput {
        ElementsByInput { inputs: vec![WindowElements::default(); inputs] }
    }

    /// Adds a window with these elements.
    pub fn push_window(&mut self, list: &[StoredWindowElement<'_>]) {
        for element in list {
            if let Some(elements) = self.inputs.get_mut(element.input as usize) {
                elements.values.push(element.value);
                elements.timestamps.push(element.timestamp);
            }
        }
        self.inputs.iter_mut().for_each(|elements| elements.ends.push(elements.values.len() as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_round_trips_through_its_stored_form() {
        for (input, number) in [(0, 0), (1, 0), (0, 63), (1, 64), (0, 1 << 40), (1, (1 << 62) - 1)] {
            let element = StoredWindowElement { input, number, timestamp: -5, value: b"value" };
            let mut bytes = Vec::new();
            element.encode(&mut bytes);
            assert_eq!(StoredWindowElement::decode(&bytes).unwrap(), element);
            assert!(StoredWindowElement::decode(&bytes[..8]).is_err());
        }
        assert!(StoredWindowElement::decode(&[0xff; 20]).is_err());
    }
}
