//! Why a value of a format is not a value of a field.

use std::fmt;

use super::field_type::FieldType;
use crate::escape::shown;

/// Maximum number of bytes of a value that a message shows.
const VALUE_BYTES_MAX: usize = 80;

/// Why a record cannot be read as a row: the cause of the fault `record-invalid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDefect {
    /// The path of the field, such as `a.b`. Empty if the record as a whole is malformed.
    pub field: String,
    /// What is wrong, with the cut value and the expected type.
    pub message: String,
}

impl fmt::Display for FieldDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "the field `{}` {}", shown(self.field.as_bytes()), self.message)
    }
}

impl std::error::Error for FieldDefect {}

impl FieldDefect {
    /// A defect of the record as a whole.
    #[cold]
    pub fn of_record(message: impl Into<String>) -> Box<FieldDefect> {
        Box::new(FieldDefect { field: String::new(), message: message.into() })
    }

    /// A defect of the value of a field. Its name is not known yet: see [`FieldDefect::within`].
    #[cold]
    pub fn of_value(message: impl Into<String>) -> Box<FieldDefect> {
        FieldDefect::of_record(message)
    }

    /// The value is not of the expected type.
    #[cold]
    pub fn unexpected(value: &[u8], expected: &FieldType, nullable: bool) -> Box<FieldDefect> {
        let sign = if nullable { "?" } else { "" };
        FieldDefect::of_value(format!("is `{}`, which is not `{expected}{sign}`", cut(value)))
    }

    /// Adds the name of the field, the list or the record that contains the value.
    #[cold]
    pub fn within(mut self: Box<FieldDefect>, name: &str) -> Box<FieldDefect> {
        self.field = if self.field.is_empty() { name.to_owned() } else { format!("{name}.{}", self.field) };
        self
    }
}

/// Formats a value for a message: cut and on one line.
pub fn cut(value: &[u8]) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return shown(value);
    }
    let mut end = VALUE_BYTES_MAX;
    while end > VALUE_BYTES_MAX - 4 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    format!("{}…", shown(&value[..end]))
}
