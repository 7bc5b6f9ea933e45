//! Merges the fields that several consumers of an output need.

use crate::model::row::{Field, FieldType};

/// A field that a source will decode.
#[derive(Clone, Debug)]
pub(super) struct DecodedField {
    pub(super) field: Field,
    /// Whether a consumer or the source has chosen the type.
    pub(super) is_typed: bool,
}

/// Adds `more` to `fields`. Error: the name of a field for which two consumers declare different types. `fields` are then unchanged.
pub(super) fn merge_fields(fields: &mut Vec<DecodedField>, more: Vec<DecodedField>) -> Result<(), String> {
    let mut merged = fields.clone();
    for field in more {
        match merged.iter_mut().find(|other| other.field.name == field.field.name) {
            Some(other) => {
                *other = merge(other, &field).ok_or(field.field.name)?;
            }
            None => merged.push(field),
        }
    }
    *fields = merged;
    Ok(())
}

fn merge(one: &DecodedField, other: &DecodedField) -> Option<DecodedField> {
    let mut aliases = one.field.aliases.clone();
    aliases.extend(other.field.aliases.iter().filter(|alias| !one.field.aliases.contains(alias)).cloned());
    let (value, nullable) = match (one.is_typed, other.is_typed) {
        (_, false) => (one.field.value.clone(), one.field.nullable),
        (false, true) => (other.field.value.clone(), other.field.nullable),
        (true, true) => {
            (merge_types(&one.field.value, &other.field.value)?, one.field.nullable && other.field.nullable)
        }
    };
    let field = Field { aliases, ..Field::new(one.field.name.clone(), value, nullable) };
    Some(DecodedField { field, is_typed: one.is_typed || other.is_typed })
}

/// Nested records of both sides become one record with all fields. Other types must be equal.
fn merge_types(one: &FieldType, other: &FieldType) -> Option<FieldType> {
    let (FieldType::Record(one), FieldType::Record(other)) = (one, other) else {
        return (one == other).then(|| one.clone());
    };
    let mut fields = one.clone();
    for field in other {
        match fields.iter_mut().find(|known| known.name == field.name) {
            Some(known) => {
                known.value = merge_types(&known.value, &field.value)?;
                known.nullable &= field.nullable;
            }
            None => fields.push(field.clone()),
        }
    }
    Some(FieldType::Record(fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::row::RowSchema;

    fn typed(schema: &str) -> Vec<DecodedField> {
        let schema: RowSchema = schema.parse().unwrap();
        schema.fields().iter().map(|field| DecodedField { field: field.clone(), is_typed: true }).collect()
    }

    fn merged(one: &str, other: &str) -> Result<String, String> {
        let mut fields = typed(one);
        merge_fields(&mut fields, typed(other))?;
        Ok(RowSchema::new(fields.into_iter().map(|field| field.field).collect()).unwrap().to_string())
    }

    #[test]
    fn fields_of_two_consumers_are_merged_by_name() {
        assert_eq!(merged("{a:i32,b:string}", "{c:bool,a:i32}").unwrap(), "{a:i32,b:string,c:bool}");
        assert_eq!(merged("{a:i32?}", "{a:i32}").unwrap(), "{a:i32}");
        assert_eq!(merged("{a:i32}", "{a:i32?}").unwrap(), "{a:i32}");
        assert_eq!(merged("{a:{b:i32,c:i64?}?}", "{a:{c:i64,d:u8}?}").unwrap(), "{a:{b:i32,c:i64,d:u8}?}");
        assert_eq!(merged("{a:i32}", "{a:i64}"), Err("a".into()));
        assert_eq!(merged("{a:{b:i32}}", "{a:{b:i64}}"), Err("a".into()));
    }

    #[test]
    fn a_declared_type_replaces_a_default_one() {
        let untyped = DecodedField { field: Field::new("a", FieldType::String, true), is_typed: false };
        for (first, second) in [(vec![untyped.clone()], typed("{a:i32}")), (typed("{a:i32}"), vec![untyped])] {
            let mut fields = first;
            merge_fields(&mut fields, second).unwrap();
            assert_eq!((fields.len(), &fields[0].field), (1, &Field::new("a", FieldType::I32, false)));
        }
    }
}
