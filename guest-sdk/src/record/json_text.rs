//! A part of a record that stays JSON.

use crate::codec::CodecError;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A part of a record that stays JSON text: `details: JsonText`, or `details: JsonText<&'a str>` in a record that borrows.
///
/// Use it for a part whose type differs from record to record, or that a function only passes on.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// #[derive(Record)]
/// struct Event {
///     name: String,
///     details: JsonText,
/// }
///
/// let event = Event { name: "buy".to_owned(), details: JsonText::new(r#"{"cents": 250}"#)? };
/// let details: std::collections::BTreeMap<String, u32> = event.details.parse()?;
/// assert_eq!(details["cents"], 250);
/// # Ok::<(), FunctionError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JsonText<S = String>(S);

impl<S> JsonText<S> {
    /// Takes text that a row contains as JSON.
    pub(super) fn trusted(text: S) -> Self {
        JsonText(text)
    }
}

impl<S: AsRef<str>> JsonText<S> {
    /// Takes text that is one JSON value.
    ///
    /// # Errors
    /// Returns an error with the position if it is not.
    pub fn new(text: impl Into<S>) -> Result<Self, CodecError> {
        let text = text.into();
        serde_json::from_str::<IgnoredAny>(text.as_ref()).map_err(failed)?;
        Ok(JsonText(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// Reads the value as a `T`.
    ///
    /// # Errors
    /// Returns an error with the position if it has another form.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        serde_json::from_str(self.as_str()).map_err(failed)
    }
}

impl JsonText {
    /// Writes a value as JSON.
    ///
    /// # Errors
    /// Returns an error if JSON cannot represent it, such as a map whose keys are not strings.
    pub fn of(value: &impl Serialize) -> Result<Self, CodecError> {
        serde_json::to_string(value).map(JsonText).map_err(failed)
    }
}

fn failed(error: serde_json::Error) -> CodecError {
    CodecError::new("json", error.to_string())
}

impl<S: AsRef<str>> fmt::Display for JsonText<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<S: AsRef<str>> fmt::Debug for JsonText<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Written as the value itself in JSON, and as text in other formats.
impl<S: AsRef<str>> Serialize for JsonText<S> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_str(self.as_str());
        }
        let value: serde_json::Value = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        value.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<R: Deserializer<'de>>(deserializer: R) -> Result<Self, R::Error> {
        if !deserializer.is_human_readable() {
            return JsonText::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom);
        }
        Ok(JsonText(serde_json::Value::deserialize(deserializer)?.to_string()))
    }
}
