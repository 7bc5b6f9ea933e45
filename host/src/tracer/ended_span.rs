//! One step of a trace that has ended, and its attributes.

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanValue {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// A time in milliseconds.
    Millis(f64),
    /// A condition.
    Flag(bool),
}

/// A step that has ended.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// The trace that it belongs to.
    pub trace: u128,
    /// Its id in the trace.
    pub id: u64,
    /// The id of the step that it is part of. `None` for the first span of a trace.
    pub parent: Option<u64>,
    /// Name of the step.
    pub name: &'static str,
    /// When it began, in nanoseconds since the Unix epoch.
    pub begin_ns: u64,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// Details of the step.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// The code of its failure, if it failed.
    pub failure: Option<String>,
}

impl From<u64> for SpanValue {
    fn from(number: u64) -> SpanValue {
        SpanValue::Number(number)
    }
}

impl From<bool> for SpanValue {
    fn from(flag: bool) -> SpanValue {
        SpanValue::Flag(flag)
    }
}
