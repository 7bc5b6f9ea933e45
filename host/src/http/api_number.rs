//! Whole numbers in requests.

use serde::Deserialize;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Number, PartialSchema, ToSchema};

/// A whole number in a request: 0 to the largest `int64`, which is also what the OpenAPI description says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
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
        for wrong in ["-1", "9223372036854775808", "1.0", "\"1\"", "null"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let schema = serde_json::to_value(ApiNumber::schema()).unwrap();
        assert_eq!((&schema["minimum"], &schema["maximum"]), (&0.into(), &9_223_372_036_854_775_807_i64.into()));
    }
}
