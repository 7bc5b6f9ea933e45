//! What an input needs of the records that it reads.

use crate::model::row::{Field, FieldType};

/// What an input needs of its records.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::runtime::plan) enum InputNeed {
    /// Their number: they are dropped.
    Nothing,
    /// Their bytes as they are.
    Raw,
    /// JSON text.
    Json,
    /// Rows.
    Rows { fields: Vec<NeededField>, rest: OtherFields },
}

/// What an input needs beside the fields that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::runtime::plan) enum OtherFields {
    /// Nothing.
    None,
    /// All fields if the record has some, otherwise its text.
    AsRead,
    /// All fields, also those of a line.
    All,
}

/// A field that an input needs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::runtime::plan) struct NeededField {
    /// Its name and its aliases: the first one that the producer has counts.
    pub(in crate::runtime::plan) names: Vec<String>,
    /// Its type, or `None` if the input takes any.
    pub(in crate::runtime::plan) value: Option<FieldType>,
    pub(in crate::runtime::plan) nullable: bool,
    /// Its value as JSON if the producer lacks the field.
    pub(in crate::runtime::plan) default: Option<String>,
    /// Whether the producer may lack the field.
    pub(in crate::runtime::plan) optional: bool,
}

impl InputNeed {
    /// Returns whether the input needs all fields.
    pub(in crate::runtime::plan) fn is_whole(&self) -> bool {
        match self {
            InputNeed::Nothing | InputNeed::Raw | InputNeed::Json => true,
            InputNeed::Rows { rest, .. } => *rest != OtherFields::None,
        }
    }

    /// The need of a consumer without declarations: all fields, or the text of records without fields.
    pub(in crate::runtime::plan) fn as_read() -> InputNeed {
        InputNeed::Rows { fields: Vec::new(), rest: OtherFields::AsRead }
    }
}

impl NeededField {
    /// A field that a function declares.
    pub(in crate::runtime::plan) fn declared(field: &Field) -> NeededField {
        NeededField {
            names: field.names().map(str::to_owned).collect(),
            value: Some(field.value.clone()),
            nullable: field.nullable,
            default: field.default.clone(),
            optional: field.nullable || field.default.is_some(),
        }
    }

    /// A field of this type, or of any type, which the producer must have. Its value may be null.
    pub(in crate::runtime::plan) fn named(name: &str, value: Option<FieldType>) -> NeededField {
        NeededField { names: vec![name.to_owned()], value, nullable: true, default: None, optional: false }
    }
}

/// Adds the field at a path to `fields`, unless they contain it. `a.b` is field `b` of the nested record `a`, except for a producer
/// with flat fields.
pub(in crate::runtime::plan) fn add_path(
    fields: &mut Vec<NeededField>,
    path: &str,
    value: Option<FieldType>,
    is_flat: bool,
) {
    let nested = path.split_once('.').filter(|_| !is_flat);
    let Some((name, rest)) = nested else {
        match fields.iter_mut().find(|field| field.names[0] == path) {
            Some(known) if known.value.is_none() => known.value = value,
            Some(_) => {}
            None => fields.push(NeededField::named(path, value)),
        }
        return;
    };
    let is_known = |field: &NeededField| {
        field.names[0] == path
            || (field.names[0] == name && field.value.as_ref().is_some_and(|value| has_path(value, rest)))
    };
    if fields.iter().any(is_known) {
        return;
    }
    let inner = nested_type(rest, value);
    match fields.iter_mut().find(|field| field.names[0] == name) {
        Some(NeededField { value: Some(FieldType::Record(own)), .. }) => {
            if let FieldType::Record(more) = inner {
                own.extend(more);
            }
        }
        Some(known) if known.value.is_none() => known.value = Some(inner),
        _ => fields.push(NeededField::named(name, Some(inner))),
    }
}

/// The type of a nested record with only the field at this path.
pub(in crate::runtime::plan) fn nested_type(path: &str, value: Option<FieldType>) -> FieldType {
    let (name, value) = match path.split_once('.') {
        Some((name, rest)) => (name, nested_type(rest, value)),
        None => (path, value.unwrap_or(FieldType::Json)),
    };
    FieldType::Record(vec![Field::new(name, value, true)])
}

fn has_path(value: &FieldType, path: &str) -> bool {
    let FieldType::Record(fields) = value else { return false };
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    fields
        .iter()
        .any(|field| field.name == path || (field.name == name && rest.is_none_or(|rest| has_path(&field.value, rest))))
}
