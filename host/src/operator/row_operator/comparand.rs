//! One side of a comparison in a filter: a field or a literal.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::model::row::{FieldLocator, FieldType, RowDefect, RowSchema, RowValue, string_of, time_text};
use crate::pipeline::FilterOperand;

/// A field or a literal.
#[derive(Clone, Debug)]
pub(super) enum Comparand {
    Field(FieldLocator),
    Literal(ScalarValue<'static>),
}

/// A value that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ScalarValue<'a> {
    Whole(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    Bool(bool),
}

/// Values of different families are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueFamily {
    Number,
    Text,
    Bytes,
    Bool,
    Timestamp,
    Date,
    /// The family of a JSON value is known only when it is read.
    Json,
}

impl Comparand {
    /// Binds an operand to the fields of a schema. Error: there is no such field.
    pub(super) fn bind(operand: &FilterOperand, schema: &RowSchema) -> Result<Comparand, String> {
        Ok(match operand {
            FilterOperand::Field(path) => {
                Comparand::Field(FieldLocator::compile(schema, path).map_err(|defect| defect.to_string())?)
            }
            FilterOperand::Integer(number) => Comparand::Literal(ScalarValue::Whole(*number)),
            FilterOperand::Float(number) => Comparand::Literal(ScalarValue::Float(*number)),
            FilterOperand::Text(text) => Comparand::Literal(ScalarValue::Text(text.clone().into())),
            FilterOperand::Bool(value) => Comparand::Literal(ScalarValue::Bool(*value)),
        })
    }

    /// Adapts a literal to the type of the field that it is compared with: a text becomes a timestamp, a date or bytes. Error: the two
    /// sides cannot be compared.
    pub(super) fn fit(self, operand: &FilterOperand, other: &Comparand) -> Result<Comparand, String> {
        let Comparand::Field(field) = other else { return Ok(self) };
        let name = shown(operand);
        let literal = match (field.field_type(), self) {
            (FieldType::Timestamp, Comparand::Literal(ScalarValue::Text(text))) => {
                let ms = time_text::rfc3339(text.as_bytes(), None);
                let ms =
                    ms.ok_or_else(|| format!("{name} is not a time such as '2013-01-01T05:00:00Z' or '2013-01-01'"))?;
                ScalarValue::Whole(ms.into())
            }
            (FieldType::Date, Comparand::Literal(ScalarValue::Text(text))) => {
                let days = time_text::date(text.as_bytes());
                let days = days.ok_or_else(|| format!("{name} is not a date such as '2013-01-01'"))?;
                ScalarValue::Whole(days.into())
            }
            (FieldType::Bytes, Comparand::Literal(ScalarValue::Text(text))) => {
                ScalarValue::Bytes(text.into_owned().into_bytes().into())
            }
            // The literal is rounded as the values of the field are.
            (FieldType::F32, Comparand::Literal(ScalarValue::Float(number))) => {
                ScalarValue::Float(f64::from(number as f32))
            }
            (_, comparand) => return Ok(comparand),
        };
        Ok(Comparand::Literal(literal))
    }

    /// Checks that two sides can be compared. `operands` are the sides as written.
    pub(super) fn check(&self, other: &Comparand, operands: (&FilterOperand, &FilterOperand)) -> Result<(), String> {
        let (own, other) = (self.family(operands.0)?, other.family(operands.1)?);
        let is_time_in_ms = |one, number| one == ValueFamily::Timestamp && number == ValueFamily::Number;
        let fits = own == other
            || own == ValueFamily::Json
            || other == ValueFamily::Json
            || is_time_in_ms(own, other)
            || is_time_in_ms(other, own);
        if fits || self.is_adapted(operands.0) || other_is_adapted(operands.1, own) {
            return Ok(());
        }
        let (one, two) = (describe(operands.0, own), describe(operands.1, other));
        Err(format!("{one} cannot be compared with {two}"))
    }

    /// Returns whether a literal has become a value of another family.
    fn is_adapted(&self, operand: &FilterOperand) -> bool {
        matches!((self, operand), (Comparand::Literal(value), FilterOperand::Text(_)) if !matches!(value, ScalarValue::Text(_)))
    }

    fn family(&self, operand: &FilterOperand) -> Result<ValueFamily, String> {
        Ok(match self {
            Comparand::Literal(ScalarValue::Whole(_) | ScalarValue::Float(_)) => ValueFamily::Number,
            Comparand::Literal(ScalarValue::Text(_)) => ValueFamily::Text,
            Comparand::Literal(ScalarValue::Bytes(_)) => ValueFamily::Bytes,
            Comparand::Literal(ScalarValue::Bool(_)) => ValueFamily::Bool,
            Comparand::Field(field) => match field.field_type() {
                value if value.is_integer() => ValueFamily::Number,
                FieldType::F32 | FieldType::F64 => ValueFamily::Number,
                FieldType::String => ValueFamily::Text,
                FieldType::Bytes => ValueFamily::Bytes,
                FieldType::Bool => ValueFamily::Bool,
                FieldType::Timestamp => ValueFamily::Timestamp,
                FieldType::Date => ValueFamily::Date,
                FieldType::Json => ValueFamily::Json,
                other => return Err(format!("{} is `{other}`, which cannot be compared", shown(operand))),
            },
        })
    }

    /// Returns the value, or `None` if it is null or has no order.
    #[inline]
    pub(super) fn value<'a>(&'a self, row: &'a [u8]) -> Result<Option<ScalarValue<'a>>, RowDefect> {
        let field = match self {
            Comparand::Field(field) => field,
            Comparand::Literal(value) => return Ok(Some(value.borrowed())),
        };
        Ok(field.value(row)?.and_then(|value| match value {
            RowValue::Bool(value) => Some(ScalarValue::Bool(value)),
            RowValue::Signed(value) | RowValue::Timestamp(value) => Some(ScalarValue::Whole(value.into())),
            RowValue::Unsigned(value) => Some(ScalarValue::Whole(value.into())),
            RowValue::Date(days) => Some(ScalarValue::Whole(days.into())),
            RowValue::F32(value) => Some(ScalarValue::Float(value.into())),
            RowValue::F64(value) => Some(ScalarValue::Float(value)),
            RowValue::Text(text) => Some(ScalarValue::Text(text.into())),
            RowValue::Bytes(bytes) => Some(ScalarValue::Bytes(bytes.into())),
            RowValue::Json(text) => json_scalar(text),
            RowValue::Nested(_) => None,
        }))
    }

    /// Returns whether the value is null.
    #[inline]
    pub(super) fn is_null(field: &FieldLocator, row: &[u8]) -> Result<bool, RowDefect> {
        Ok(match field.value(row)? {
            None => true,
            Some(RowValue::Json(text)) => text.trim_ascii() == "null",
            Some(_) => false,
        })
    }
}

/// A text literal on the other side has become a value of this family.
fn other_is_adapted(operand: &FilterOperand, family: ValueFamily) -> bool {
    matches!(operand, FilterOperand::Text(_))
        && matches!(family, ValueFamily::Timestamp | ValueFamily::Date | ValueFamily::Bytes)
}

fn shown(operand: &FilterOperand) -> String {
    match operand {
        FilterOperand::Field(path) => format!("the field `{path}`"),
        FilterOperand::Integer(number) => format!("the number {number}"),
        FilterOperand::Float(number) => format!("the number {number}"),
        FilterOperand::Text(text) => format!("the text '{text}'"),
        FilterOperand::Bool(value) => value.to_string(),
    }
}

fn describe(operand: &FilterOperand, family: ValueFamily) -> String {
    let FilterOperand::Field(_) = operand else { return shown(operand) };
    let family = match family {
        ValueFamily::Number => "a number",
        ValueFamily::Text => "a string",
        ValueFamily::Bytes => "bytes",
        ValueFamily::Bool => "a boolean",
        ValueFamily::Timestamp => "a timestamp",
        ValueFamily::Date => "a date",
        ValueFamily::Json => "JSON",
    };
    format!("{}, which is {family},", shown(operand))
}

/// Returns the value of JSON text, or `None` for null, objects and arrays.
fn json_scalar(text: &str) -> Option<ScalarValue<'_>> {
    let text = text.trim_ascii();
    match text.as_bytes().first()? {
        b'"' => string_of(text.as_bytes()).map(ScalarValue::Text),
        b't' => Some(ScalarValue::Bool(true)),
        b'f' => Some(ScalarValue::Bool(false)),
        b'-' | b'0'..=b'9' => match text.parse() {
            Ok(whole) => Some(ScalarValue::Whole(whole)),
            Err(_) => text.parse().ok().map(ScalarValue::Float),
        },
        _ => None,
    }
}

impl ScalarValue<'_> {
    fn borrowed(&self) -> ScalarValue<'_> {
        match self {
            ScalarValue::Whole(number) => ScalarValue::Whole(*number),
            ScalarValue::Float(number) => ScalarValue::Float(*number),
            ScalarValue::Text(text) => ScalarValue::Text(Cow::Borrowed(text)),
            ScalarValue::Bytes(bytes) => ScalarValue::Bytes(Cow::Borrowed(bytes)),
            ScalarValue::Bool(value) => ScalarValue::Bool(*value),
        }
    }

    /// Returns the order of two values, or `None` if they have none: values of different families, and NaN.
    #[inline]
    pub(super) fn order(&self, other: &ScalarValue<'_>) -> Option<Ordering> {
        match (self, other) {
            (ScalarValue::Whole(one), ScalarValue::Whole(other)) => Some(one.cmp(other)),
            (ScalarValue::Float(one), ScalarValue::Float(other)) => one.partial_cmp(other),
            (ScalarValue::Whole(one), ScalarValue::Float(other)) => order_of_mixed(*one, *other),
            (ScalarValue::Float(one), ScalarValue::Whole(other)) => order_of_mixed(*other, *one).map(Ordering::reverse),
            (ScalarValue::Text(one), ScalarValue::Text(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
            (ScalarValue::Bytes(one), ScalarValue::Bytes(other)) => Some(one.cmp(other)),
            (ScalarValue::Bool(one), ScalarValue::Bool(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

/// Compares a whole number with a floating-point number, without rounding.
fn order_of_mixed(whole: i128, float: f64) -> Option<Ordering> {
    /// 2 to the power of 126: smaller than the limits of `i128`, and larger than all numbers of fields.
    const LARGE: f64 = 85_070_591_730_234_615_865_843_651_857_942_052_864.0;
    if float.is_nan() {
        return None;
    }
    if float.abs() >= LARGE {
        let bound = if float > 0.0 { i128::MAX } else { i128::MIN };
        return Some(whole.cmp(&bound));
    }
    let trunc = float.trunc();
    let order = whole.cmp(&(trunc as i128));
    Some(order.then_with(|| 0.0_f64.partial_cmp(&(float - trunc)).unwrap_or(Ordering::Equal)))
}
