//! Checks the descriptions of inputs and outputs.

use std::sync::Arc;

use super::component_description::PortDescription;
use crate::escape::shown;
use crate::model::row::{FIELDS_MAX, Field, FieldType, RowSchema};
use crate::sandbox::bindings::exports::cofferdam::function::guest as wit;

/// The codecs of records that cross the boundary.
const CODECS: [&str; 3] = ["row", "json", "raw"];

/// Maximum number of aliases of one field.
const ALIASES_MAX: usize = 64;

/// Maximum length of a field's type and of its default, in bytes.
const FIELD_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Maximum length of the type of a key, in bytes, and maximum number of its parts.
const KEY_TYPE_BYTES_MAX: usize = 1024;
const KEY_PARTS_MAX: usize = 64;

/// Checks a port. The error completes the sentence "function `name` ...".
pub(super) fn check_port(port: wit::Port) -> Result<PortDescription, String> {
    let wit::Port { name, codec, schema, layout, key_type } = port;
    if !CODECS.contains(&&codec[..]) {
        let codec = cut(&codec);
        return Err(format!("describes the codec `{codec}` for `{name}`; the codecs of records are row, json and raw"));
    }
    if layout == wit::PortLayout::Fields {
        return Err(format!(
            "describes the layout `fields` for `{name}`, which this version does not support; use `packed`"
        ));
    }
    if codec != "row" && !schema.is_empty() {
        return Err(format!("describes fields for `{name}`, but its codec `{codec}` has none"));
    }
    let schema = (codec == "row").then(|| row_schema(schema)).transpose();
    let schema = schema.map_err(|why| format!("describes an invalid schema for `{name}`: {why}"))?;
    let key_type = check_key_type(&key_type).map_err(|why| {
        let key_type = cut(&key_type);
        format!("describes the invalid key type `{key_type}` for `{name}`: {why}")
    })?;
    Ok(PortDescription { name, codec, schema: schema.map(Arc::new), key_type })
}

/// Returns the beginning of a text of the component, for a message.
fn cut(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    shown(start.as_bytes())
}

fn row_schema(fields: Vec<wit::Field>) -> Result<RowSchema, String> {
    if fields.is_empty() {
        return Err("a row needs at least one field".to_owned());
    }
    if fields.len() > FIELDS_MAX {
        return Err(format!("there are more than {FIELDS_MAX} fields"));
    }
    let fields: Vec<Field> = fields.into_iter().map(field).collect::<Result<_, _>>()?;
    RowSchema::new(fields).map_err(|defect| defect.to_string())
}

fn field(field: wit::Field) -> Result<Field, String> {
    let wit::Field { name, field_type, nullable, aliases, default_value } = field;
    let described = |why: String| format!("field `{}`: {why}", cut(&name));
    if field_type.len().max(default_value.as_ref().map_or(0, String::len)) > FIELD_TEXT_BYTES_MAX {
        return Err(described(format!("its type or default is longer than {FIELD_TEXT_BYTES_MAX} bytes")));
    }
    if aliases.len() > ALIASES_MAX {
        return Err(described(format!("it has more than {ALIASES_MAX} aliases")));
    }
    if name.contains(char::is_control) || aliases.iter().any(|alias| alias.contains(char::is_control)) {
        return Err(described("its name or an alias contains a control character".to_owned()));
    }
    let value: FieldType = field_type.parse().map_err(|why| described(format!("its type: {why}")))?;
    if let Some(default) = &default_value
        && let Err(why) = serde_json::from_str::<serde::de::IgnoredAny>(default)
    {
        return Err(described(format!("its default is not JSON: {why}")));
    }
    Ok(Field { name, value, nullable, aliases, default: default_value })
}

/// Returns the canonical text of a key's type: empty, `T`, or `(T, T)`.
fn check_key_type(text: &str) -> Result<String, String> {
    if text.len() > KEY_TYPE_BYTES_MAX {
        return Err(format!("it is longer than {KEY_TYPE_BYTES_MAX} bytes"));
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let Some(parts) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) else { return key_part(text) };
    let parts: Vec<String> = parts.split(',').map(key_part).collect::<Result<_, _>>()?;
    if !(2..=KEY_PARTS_MAX).contains(&parts.len()) {
        return Err(format!("a tuple has 2 to {KEY_PARTS_MAX} parts"));
    }
    Ok(format!("({})", parts.join(", ")))
}

fn key_part(text: &str) -> Result<String, String> {
    let part: FieldType = text.trim().parse().map_err(|why| format!("{why}"))?;
    if !part.is_key() {
        return Err("a key is a string, bytes, a bool, an integer, a timestamp, or a tuple of these".to_owned());
    }
    Ok(part.to_string())
}
