//! An element of a window as it is stored: which input it came from, its place among others, its timestamp, its value.

use crate::error::{self, Result};
use crate::model::{Column, WindowElements};

/// Appends an element. `place` orders the elements of windows that are put together from panes; part of the durable format,
/// as all of it: input and place in a number of 7 bits per byte, the timestamp in 8 bytes, the value.
pub(super) fn write(buffer: &mut Vec<u8>, input: u32, place: u64, timestamp: i64, value: &[u8]) {
    let mut number = (place << 1) | u64::from(input & 1);
    while number >= 0x80 {
        buffer.push((number as u8) | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
    buffer.extend_from_slice(&timestamp.to_le_bytes());
    buffer.extend_from_slice(value);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub input: u32,
    pub place: u64,
    pub timestamp: i64,
    pub value: &'a [u8],
}

/// Error: `state-failed` where the bytes are nothing that [`write`] writes.
pub(super) fn read(bytes: &[u8]) -> Result<Element<'_>> {
    let read = || {
        let last = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)?;
        let (number, rest) = bytes.split_at_checked(last + 1)?;
        let number = number.iter().rev().fold(0, |number, byte| (number << 7) | u64::from(byte & 0x7f));
        let (timestamp, value) = rest.split_first_chunk()?;
        let (input, timestamp) = ((number & 1) as u32, i64::from_le_bytes(*timestamp));
        Some(Element { input, place: number >> 1, timestamp, value })
    };
    read().ok_or_else(|| error::state_failed("an element of a window that is none"))
}

/// The elements of several windows, by input.
pub(super) struct ByInput {
    pub inputs: Vec<WindowElements>,
}

impl ByInput {
    pub fn new(inputs: usize) -> ByInput {
        ByInput { inputs: vec![WindowElements::default(); inputs] }
    }

    /// Adds a window.
    pub fn push(&mut self, list: &[Element<'_>]) {
        for element in list {
            if let Some(elements) = self.inputs.get_mut(element.input as usize) {
                elements.values.push(element.value);
                elements.timestamps.push(element.timestamp);
            }
        }
        self.inputs.iter_mut().for_each(|elements| elements.ends.push(elements.values.len() as u32));
    }
}

/// The elements of a list that was read.
pub(super) fn all(list: &Column) -> Result<Vec<Element<'_>>> {
    list.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_comes_back_as_it_was_written() {
        for (input, place) in [(0, 0), (1, 0), (0, 63), (1, 64), (0, 1 << 40), (1, (1 << 62) - 1)] {
            let mut bytes = Vec::new();
            write(&mut bytes, input, place, -5, b"value");
            assert_eq!(read(&bytes).unwrap(), Element { input, place, timestamp: -5, value: b"value" });
            assert!(read(&bytes[..8]).is_err());
        }
        assert!(read(&[0xff; 20]).is_err());
    }
}
