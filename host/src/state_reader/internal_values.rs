//! Values of internal states as JSON and back: those of windows, triggers, sessions, panes, joins and watermarks.
//!
//! `operator/window/`, `operator/interval_join/join_state.rs` and `turn/watermark.rs` write the bytes. Invariant: bytes are untrusted;
//! a value that is malformed, or that does not encode to the same bytes again, is left to the caller, which shows it in hex.

use serde_json::{Map, Number, Value, json};

use super::bytes_json::{bytes_from, show_bytes};
use crate::state::{StateDescription, internal};

/// The largest integer that every JSON parser reads exactly.
const EXACT_MAX: i64 = 1 << 53;

/// The format of the values of one internal state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InternalValueFormat {
    /// A time or a number, which a trigger stores.
    Integer,
    /// A time, and whether the timers due at that time were being fired.
    Watermark,
    /// The accumulator of `count`.
    Count,
    /// The accumulator of any other native aggregate.
    Folded,
    /// An element of a window.
    Element,
    /// The sessions of a key: their windows, and the windows under which their state is stored.
    Sessions,
    /// The panes of a key, with the timer and the position of the next firing.
    Panes,
    /// The number of the next record of a join, and the time of its clean-up timer.
    JoinKept,
}

impl InternalValueFormat {
    /// Returns the format for an internal state. `None` for a state of a function, and for plain bytes such as the records of
    /// a join.
    pub fn of(state: &StateDescription) -> Option<InternalValueFormat> {
        match &state.name[..] {
            internal::WINDOW_TRIGGER => Some(InternalValueFormat::Integer),
            internal::WATERMARK => Some(InternalValueFormat::Watermark),
            internal::WINDOW_CONTENTS if state.schema == "count" => Some(InternalValueFormat::Count),
            internal::WINDOW_CONTENTS => Some(InternalValueFormat::Folded),
            internal::WINDOW_ELEMENTS => Some(InternalValueFormat::Element),
            internal::WINDOW_SESSIONS => Some(InternalValueFormat::Sessions),
            internal::WINDOW_PANES => Some(InternalValueFormat::Panes),
            internal::JOIN_KEPT => Some(InternalValueFormat::JoinKept),
            _ => None,
        }
    }

    /// Returns the value as JSON. `None` if the bytes do not have this format.
    pub fn show(self, bytes: &[u8]) -> Option<Value> {
        let mut reader = InternalValueReader(bytes);
        let value = match self {
            InternalValueFormat::Integer => show_time(reader.signed()?),
            InternalValueFormat::Watermark => reader.watermark()?,
            InternalValueFormat::Count => reader.unsigned()?.into(),
            InternalValueFormat::Folded => reader.folded()?,
            InternalValueFormat::Element => reader.element()?,
            InternalValueFormat::Sessions => reader.sessions()?,
            InternalValueFormat::Panes => reader.panes()?,
            InternalValueFormat::JoinKept => {
                json!({ "next": reader.unsigned()?, "timer": show_time(reader.signed()?) })
            }
        };
        reader.0.is_empty().then_some(value)
    }

    /// Returns the bytes of a value. The error says what was expected.
    pub fn encode(self, value: &Value) -> Result<Vec<u8>, String> {
        let written = match self {
            InternalValueFormat::Integer => time_from(value).map(|time| time.to_le_bytes().to_vec()),
            InternalValueFormat::Watermark => watermark_bytes(value),
            InternalValueFormat::Count => value.as_u64().map(|count| count.to_le_bytes().to_vec()),
            InternalValueFormat::Folded => folded_bytes(value),
            InternalValueFormat::Element => element_bytes(value),
            InternalValueFormat::Sessions => sessions_bytes(value),
            InternalValueFormat::Panes => panes_bytes(value),
            InternalValueFormat::JoinKept => exactly(value, 2)
                .and_then(|kept| Some((kept.get("next")?.as_u64()?, time_from(kept.get("timer")?)?)))
                .map(|(next, timer)| [next.to_le_bytes(), timer.to_le_bytes()].concat()),
        };
        written.ok_or_else(|| format!("expected {}, or {{\"hex\": ...}}", self.example()))
    }

    fn example(self) -> &'static str {
        match self {
            InternalValueFormat::Integer => "an integer",
            InternalValueFormat::Watermark => "an integer, or {\"time\": ..., \"is_firing\": true}",
            InternalValueFormat::Count => "an unsigned integer",
            InternalValueFormat::Folded => "{\"count\": ..., \"number\": ...}",
            InternalValueFormat::Element => "{\"input\": ..., \"place\": ..., \"timestamp\": ..., \"value\": ...}",
            InternalValueFormat::Sessions => "a list of {\"window\": ..., \"state\": ...}",
            InternalValueFormat::Panes => "{\"timer\": ..., \"front\": ..., \"elements\": ..., \"panes\": [...]}",
            InternalValueFormat::JoinKept => "{\"next\": ..., \"timer\": ...}",
        }
    }
}

/// Returns a time as a number, or as text if a JSON parser might round it.
pub(super) fn show_time(time: i64) -> Value {
    match (-EXACT_MAX..=EXACT_MAX).contains(&time) {
        true => time.into(),
        false => time.to_string().into(),
    }
}

pub(super) fn time_from(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

/// The only window of a global assigner.
const GLOBAL: (i64, i64) = (i64::MIN, i64::MAX);

pub(super) fn show_window(start: i64, end: i64) -> Value {
    match (start, end) {
        GLOBAL => "global".into(),
        _ => json!({ "start": show_time(start), "end": show_time(end) }),
    }
}

/// Returns start and end of a window.
pub(super) fn window_from(value: &Value) -> Option<(i64, i64)> {
    if value.as_str() == Some("global") {
        return Some(GLOBAL);
    }
    let window = exactly(value, 2)?;
    Some((time_from(window.get("start")?)?, time_from(window.get("end")?)?))
}

/// Returns an object that has exactly this number of fields.
fn exactly(value: &Value, fields: usize) -> Option<&Map<String, Value>> {
    value.as_object().filter(|object| object.len() == fields)
}

struct InternalValueReader<'a>(&'a [u8]);

impl InternalValueReader<'_> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn signed(&mut self) -> Option<i64> {
        self.chunk().map(i64::from_le_bytes)
    }

    fn unsigned(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn watermark(&mut self) -> Option<Value> {
        let time = show_time(self.signed()?);
        match self.rest() {
            [] => Some(time),
            [1] => Some(json!({ "time": time, "is_firing": true })),
            _ => None,
        }
    }

    fn rest(&mut self) -> &[u8] {
        std::mem::take(&mut self.0)
    }

    /// Reads a number after its tag: 0 for an integer, 1 for a floating-point number.
    fn number(&mut self) -> Option<Value> {
        match self.chunk()? {
            [0] => self.signed().map(Value::from),
            [1] => self.chunk().map(f64::from_le_bytes).map(float),
            _ => None,
        }
    }

    fn folded(&mut self) -> Option<Value> {
        let (count, number) = (self.unsigned()?, self.number()?);
        let mut top = Vec::new();
        while !self.0.is_empty() {
            let number = self.number()?;
            let length = u32::from_le_bytes(self.chunk()?) as usize;
            let (record, rest) = self.0.split_at_checked(length)?;
            self.0 = rest;
            top.push(json!({ "number": number, "record": show_bytes(record) }));
        }
        let mut folded = Map::from_iter([("count".to_owned(), count.into()), ("number".to_owned(), number)]);
        if !top.is_empty() {
            folded.insert("top".into(), top.into());
        }
        Some(folded.into())
    }

    fn element(&mut self) -> Option<Value> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let [byte] = self.chunk()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let timestamp = show_time(self.signed()?);
        let value = show_bytes(self.rest());
        Some(json!({ "input": number & 1, "place": number >> 1, "timestamp": timestamp, "value": value }))
    }

    fn window(&mut self) -> Option<Value> {
        Some(show_window(self.signed()?, self.signed()?))
    }

    fn sessions(&mut self) -> Option<Value> {
        let mut sessions = Vec::new();
        while !self.0.is_empty() {
            sessions.push(json!({ "window": self.window()?, "state": self.window()? }));
        }
        Some(sessions.into())
    }

    fn panes(&mut self) -> Option<Value> {
        let (timer, boundary, run_end) = (self.signed()?, self.signed()?, self.signed()?);
        let elements = self.unsigned()?;
        let timer = if timer == i64::MIN { Value::Null } else { show_time(timer) };
        let front = match (boundary, run_end) {
            (i64::MIN, i64::MIN) => Value::Null,
            (boundary, run_end) => json!({ "boundary": show_time(boundary), "run_end": show_time(run_end) }),
        };
        let mut panes = Vec::new();
        while !self.0.is_empty() {
            panes.push(show_time(self.signed()?));
        }
        Some(json!({ "timer": timer, "front": front, "elements": elements, "panes": panes }))
    }
}

/// JSON has no infinite numbers and no NaN, so these are text.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn push_number(bytes: &mut Vec<u8>, value: &Value) -> Option<()> {
    let float = match value {
        Value::String(text) => text.parse().ok()?,
        value => match value.as_i64() {
            Some(whole) => {
                bytes.push(0);
                bytes.extend_from_slice(&whole.to_le_bytes());
                return Some(());
            }
            None => value.as_f64()?,
        },
    };
    bytes.push(1);
    bytes.extend_from_slice(&f64::to_le_bytes(float));
    Some(())
}

fn watermark_bytes(value: &Value) -> Option<Vec<u8>> {
    let Some(firing) = exactly(value, 2) else { return Some(time_from(value)?.to_le_bytes().to_vec()) };
    let time = time_from(firing.get("time")?)?;
    (firing.get("is_firing") == Some(&Value::Bool(true))).then(|| [&time.to_le_bytes()[..], &[1]].concat())
}

fn folded_bytes(value: &Value) -> Option<Vec<u8>> {
    let folded = value.as_object()?;
    let mut bytes = folded.get("count")?.as_u64()?.to_le_bytes().to_vec();
    push_number(&mut bytes, folded.get("number")?)?;
    let top = match folded.get("top") {
        None => &[][..],
        Some(top) => top.as_array()?,
    };
    if folded.len() != 2 + usize::from(folded.contains_key("top")) {
        return None;
    }
    for one in top {
        let one = exactly(one, 2)?;
        push_number(&mut bytes, one.get("number")?)?;
        let record = bytes_from(one.get("record")?)?;
        bytes.extend_from_slice(&u32::try_from(record.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&record);
    }
    Some(bytes)
}

fn element_bytes(value: &Value) -> Option<Vec<u8>> {
    let element = exactly(value, 4)?;
    let mut bytes = element_head(element.get("input")?, element.get("place")?, element.get("timestamp")?)?;
    bytes.extend_from_slice(&bytes_from(element.get("value")?)?);
    Some(bytes)
}

/// Returns the bytes of an element in front of its value.
pub(super) fn element_head(input: &Value, place: &Value, timestamp: &Value) -> Option<Vec<u8>> {
    let input = input.as_u64().filter(|input| *input < 2)?;
    let place = place.as_u64().filter(|place| *place < 1 << 62)?;
    let (mut number, mut bytes) = (place << 1 | input, Vec::new());
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes.extend_from_slice(&time_from(timestamp)?.to_le_bytes());
    Some(bytes)
}

fn sessions_bytes(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for session in value.as_array()? {
        let session = exactly(session, 2)?;
        for part in ["window", "state"] {
            let (start, end) = window_from(session.get(part)?)?;
            bytes.extend([start, end].map(i64::to_le_bytes).concat());
        }
    }
    Some(bytes)
}

fn panes_bytes(value: &Value) -> Option<Vec<u8>> {
    let panes = exactly(value, 4)?;
    let timer = match panes.get("timer")? {
        Value::Null => i64::MIN,
        timer => time_from(timer)?,
    };
    let (boundary, run_end) = match panes.get("front")? {
        Value::Null => (i64::MIN, i64::MIN),
        front => {
            let front = exactly(front, 2)?;
            (time_from(front.get("boundary")?)?, time_from(front.get("run_end")?)?)
        }
    };
    let mut bytes = [timer, boundary, run_end].map(i64::to_le_bytes).concat();
    bytes.extend(panes.get("elements")?.as_u64()?.to_le_bytes());
    for start in panes.get("panes")?.as_array()? {
        bytes.extend(time_from(start)?.to_le_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [InternalValueFormat; 8] = [
        InternalValueFormat::Integer,
        InternalValueFormat::Watermark,
        InternalValueFormat::Count,
        InternalValueFormat::Folded,
        InternalValueFormat::Element,
        InternalValueFormat::Sessions,
        InternalValueFormat::Panes,
        InternalValueFormat::JoinKept,
    ];

    fn times(times: &[i64]) -> Vec<u8> {
        times.iter().flat_map(|time| time.to_le_bytes()).collect()
    }

    #[test]
    fn values_that_operators_write_are_shown_with_field_names() {
        let whole = |number: i64| [&[0][..], &number.to_le_bytes()].concat();
        let top = [times(&[2]), whole(7), whole(7), vec![2, 0, 0, 0], b"7a".to_vec()].concat();
        for (format, bytes, shown) in [
            (InternalValueFormat::Integer, times(&[-5]), json!(-5)),
            (InternalValueFormat::Integer, times(&[i64::MAX]), json!("9223372036854775807")),
            (InternalValueFormat::Watermark, times(&[7]), json!(7)),
            (InternalValueFormat::Watermark, [times(&[7]), vec![1]].concat(), json!({"time": 7, "is_firing": true})),
            (InternalValueFormat::Count, times(&[3]), json!(3)),
            (InternalValueFormat::Folded, [times(&[2]), whole(9)].concat(), json!({"count": 2, "number": 9})),
            (
                InternalValueFormat::Folded,
                [times(&[2]), vec![1], f64::INFINITY.to_le_bytes().to_vec()].concat(),
                json!({"count": 2, "number": "inf"}),
            ),
            (
                InternalValueFormat::Folded,
                top,
                json!({"count": 2, "number": 7, "top": [{"number": 7, "record": "7a"}]}),
            ),
            (
                InternalValueFormat::Element,
                [&[0x81, 1][..], &times(&[9]), b"v"].concat(),
                json!({"input": 1, "place": 64, "timestamp": 9, "value": "v"}),
            ),
            (
                InternalValueFormat::Sessions,
                times(&[0, 20, 0, 10]),
                json!([{"window": {"start": 0, "end": 20}, "state": {"start": 0, "end": 10}}]),
            ),
            (
                InternalValueFormat::Panes,
                times(&[i64::MIN, i64::MIN, i64::MIN, 1, 5]),
                json!({"timer": null, "front": null, "elements": 1, "panes": [5]}),
            ),
            (
                InternalValueFormat::Panes,
                times(&[4, 2, 3, 0]),
                json!({"timer": 4, "front": {"boundary": 2, "run_end": 3}, "elements": 0, "panes": []}),
            ),
            (InternalValueFormat::JoinKept, times(&[1, 8]), json!({"next": 1, "timer": 8})),
        ] {
            assert_eq!(format.show(&bytes), Some(shown.clone()), "{format:?}");
            assert_eq!(format.encode(&shown), Ok(bytes), "{format:?}");
        }
    }

    #[test]
    fn values_of_another_format_are_rejected() {
        for format in FORMATS {
            assert_eq!(format.show(&[1, 2, 3]), None, "{format:?}");
            for value in [json!({"more": 1}), json!(-1.5), json!("a")] {
                assert!(format.encode(&value).unwrap_err().starts_with("expected"), "{format:?} {value}");
            }
        }
        assert_eq!(window_from(&json!({"start": 1})), None);
        assert_eq!(window_from(&json!("global")), Some((i64::MIN, i64::MAX)));
    }

    proptest! {
        #[test]
        fn showing_never_panics(bytes: Vec<u8>, times_in: Vec<i64>) {
            for format in FORMATS {
                for bytes in [&bytes, &times(&times_in)] {
                    if let Some(value) = format.show(bytes) {
                        let _ = format.encode(&value);
                    }
                }
            }
        }
    }
}
