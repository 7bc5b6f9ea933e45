//! Whole numbers in requests.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Number, PartialSchema, ToSchema};

/// 2 to the power of 63, the smallest number that is too large.
const LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// A whole number in a request: 0 to the largest `int64`, which is also what the OpenAPI description says. In JSON it may be written as `1.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ApiNumber(u64);

impl ApiNumber {
    pub(super) fn get(self) -> u64 {
        self.0
    }

    /// Returns the number as a size, or the largest size if it is larger.
    pub(super) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl TryFrom<i64> for ApiNumber {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<ApiNumber, &'static str> {
        u64::try_from(number).map(ApiNumber).map_err(|_| "the number must not be negative")
    }
}

impl<'de> Deserialize<'de> for ApiNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ApiNumber, D::Error> {
        deserializer.deserialize_i64(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = ApiNumber;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number up to 9223372036854775807")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ApiNumber, E> {
        number.try_into().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ApiNumber, E> {
        match i64::try_from(number) {
            Ok(_) => Ok(ApiNumber(number)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<ApiNumber, E> {
        match number.fract() == 0.0 && (0.0..LIMIT).contains(&number) {
            true => Ok(ApiNumber(number as u64)),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

impl PartialSchema for ApiNumber {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(Number::UInt(0)))
            .maximum(Some(Number::Int(isize::MAX)));
        RefOr::T(Schema::Object(number.build()))
    }
}

impl ToSchema for ApiNumber {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_bounds_that_the_description_shows() {
        let read = |text: &str| serde_json::from_str::<ApiNumber>(text).map(ApiNumber::get).ok();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("9223372036854775807"), Some(9_223_372_036_854_775_807));
        // To JSON Schema these are integers, too.
        assert_eq!((read("1.0"), read("-0.0"), read("1e3")), (Some(1), Some(0), Some(1000)));
        for wrong in ["-1", "9223372036854775808", "1.5", "-1.0", "1e19", "9223372036854775808.0", "\"1\"", "null"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let schema = serde_json::to_value(ApiNumber::schema()).unwrap();
        assert_eq!((&schema["minimum"], &schema["maximum"]), (&0.into(), &9_223_372_036_854_775_807_i64.into()));
    }
}
