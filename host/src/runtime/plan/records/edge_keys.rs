//! Plans the key of an edge: which fields form it, their types, and whether the function takes such keys.

use std::sync::Arc;

use super::input_need::{NeededField, add_path};
use super::needs::{PlannedNodes, key_types};
use crate::error::{self, Error, Result};
use crate::format::{RecordDecoder, SourceDecoding};
use crate::model::row::{Field, FieldType, RowKey, RowSchema};
use crate::pipeline::{DecodingSettings, FileFormat, KeySelector, NodeInput, NodeKind, PipelineNode};
use crate::runtime::records::record_format::RecordFormat;
use crate::runtime::records::record_key::{FieldKey, KeyOrigin, TextKey};

/// The key of an edge.
pub(in crate::runtime::plan) struct EdgeKey {
    pub(in crate::runtime::plan) origin: KeyOrigin,
    /// The type of the keys. `None` if it is not known: the function upstream emits them, or they are whole records.
    pub(in crate::runtime::plan) key_type: Option<String>,
}

/// One side of an edge, as far as its key is concerned.
pub(in crate::runtime::plan) struct KeyedInput<'a> {
    pub(in crate::runtime::plan) node: &'a PipelineNode,
    pub(in crate::runtime::plan) input: &'a NodeInput,
    /// The formats that the producer emits.
    pub(in crate::runtime::plan) formats: &'a [RecordFormat],
    /// The type of the keys that the function upstream emits. Empty if it is not declared.
    pub(in crate::runtime::plan) emitted: &'a str,
    /// The type of the keys that the function reads. Empty if it is not declared.
    pub(in crate::runtime::plan) declared: &'a str,
}

/// Returns the key of an input. Error: `manifest-key` if the records have no such field or it cannot be a key, `schema-mismatch` if the
/// function reads keys of another type.
pub(in crate::runtime::plan) fn edge_key(
    plan: PlannedNodes<'_>,
    keyed: &KeyedInput<'_>,
    selector: &KeySelector,
    key: &'static str,
) -> Result<EdgeKey> {
    let planned = match selector {
        KeySelector::Value => {
            if keyed.formats.iter().any(|format| format.schema().is_some()) {
                let producer = &plan.nodes[keyed.input.node].id;
                let message = format!("`{producer}` emits rows, which cannot be keys as a whole");
                let hint = "name fields: { field = \"name\" } or { fields = [\"a\", \"b\"] }";
                return Err(keyed.error(key, error::manifest_key(message).hint(hint)));
            }
            EdgeKey { origin: KeyOrigin::Value, key_type: None }
        }
        KeySelector::Emitted => {
            let key_type = Some(keyed.emitted.to_owned()).filter(|text| !text.is_empty());
            EdgeKey { origin: KeyOrigin::Emitted, key_type }
        }
        KeySelector::Field(_) | KeySelector::Fields(_) | KeySelector::Column(_) => {
            let paths = plan.paths(keyed.node, keyed.input, selector, key)?;
            field_key(plan, keyed, paths, key)?
        }
    };
    check_type(plan, keyed, &planned, key)?;
    Ok(planned)
}

impl KeyedInput<'_> {
    fn error(&self, key: &'static str, error: Error) -> Error {
        error.context(format!("operator `{}`", self.node.id)).about(&self.node.id, key)
    }
}

/// Returns whether two texts name the same type of keys.
pub(in crate::runtime::plan) fn is_same_key_type(one: &str, other: &str) -> bool {
    key_types(one) == key_types(other)
}

/// Returns the text of a type of keys as metadata has it.
pub(super) fn canonical_key_type(text: &str) -> String {
    let types: Vec<String> = key_types(text).iter().map(FieldType::to_string).collect();
    if types.len() == 1 { types.concat() } else { format!("({})", types.join(", ")) }
}

fn check_type(plan: PlannedNodes<'_>, keyed: &KeyedInput<'_>, planned: &EdgeKey, key: &'static str) -> Result<()> {
    let Some(found) = &planned.key_type else { return Ok(()) };
    if keyed.declared.is_empty() || is_same_key_type(found, keyed.declared) {
        return Ok(());
    }
    let (producer, declared) = (&plan.nodes[keyed.input.node].id, keyed.declared);
    let message = format!(
        "the keys in the records of `{producer}` are `{found}`, but the function reads keys of type `{declared}`"
    );
    let hint = "let the function declare the key with the type of the field, or the field with the type of the key";
    Err(keyed.error(key, error::schema_mismatch(message).hint(hint)))
}

fn field_key(plan: PlannedNodes<'_>, keyed: &KeyedInput<'_>, paths: Vec<String>, key: &'static str) -> Result<EdgeKey> {
    let mut rows: Vec<(Arc<RowSchema>, RowKey)> = Vec::new();
    let (mut text, mut key_type) = (None, None::<String>);
    for format in keyed.formats {
        let found = match format {
            RecordFormat::Row(schema) => {
                let compiled = RowKey::compile(schema, &paths);
                let compiled = compiled.map_err(|why| keyed.error(key, error::manifest_key(why.to_string())))?;
                let found = compiled.key_type();
                rows.push((schema.clone(), compiled));
                found
            }
            RecordFormat::Json | RecordFormat::Raw => {
                let compiled = text_key(plan, keyed, format, &paths, key)?;
                let found = compiled.key.key_type();
                text = Some(compiled);
                found
            }
        };
        if let Some(other) = key_type.replace(found.clone()).filter(|other| !is_same_key_type(other, &found)) {
            let message = format!("the keys of its inputs have different types: `{other}` and `{found}`");
            return Err(keyed.error(key, error::schema_mismatch(message)));
        }
    }
    let origin = KeyOrigin::Fields(Arc::new(FieldKey { paths, rows, text }));
    Ok(EdgeKey { origin, key_type })
}

/// Returns the key of records that are no rows: JSON, or the text of a source of CSV.
fn text_key(
    plan: PlannedNodes<'_>,
    keyed: &KeyedInput<'_>,
    format: &RecordFormat,
    paths: &[String],
    key: &'static str,
) -> Result<TextKey> {
    let producer = &plan.nodes[keyed.input.node];
    let (format, settings, columns) = match (&producer.kind, format) {
        (_, RecordFormat::Json) => (FileFormat::Ndjson, DecodingSettings::default(), None),
        (NodeKind::Source(source), _)
            if matches!(source.connector.format().0, FileFormat::Csv | FileFormat::Ndjson) =>
        {
            let columns = plan.columns[keyed.input.node].clone();
            (source.connector.format().0, source.decoding.clone(), columns)
        }
        _ => return Err(keyed.error(key, no_fields(&paths[0]))),
    };
    let is_csv = format == FileFormat::Csv;
    let types = key_types(keyed.declared);
    let mut needed = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        add_path(&mut needed, path, types.get(index).cloned(), is_csv);
    }
    let default = if is_csv { FieldType::String } else { FieldType::Json };
    let field = |needed: NeededField| {
        Field::new(needed.names[0].clone(), needed.value.unwrap_or_else(|| default.clone()), true)
    };
    let invalid = |why: String| keyed.error(key, error::manifest_key(why));
    let schema = RowSchema::new(needed.into_iter().map(field).collect()).map_err(|why| invalid(why.to_string()))?;
    let row_key = RowKey::compile(&schema, paths).map_err(|why| invalid(why.to_string()))?;
    let settings = DecodingSettings { columns: columns.or(settings.columns), ..settings };
    let decoding = SourceDecoding {
        rows: vec![Arc::new(schema)],
        wants_raw: false,
        ..SourceDecoding::raw(format, settings, None)
    };
    // The decoder finds out whether a column exists.
    RecordDecoder::compile(&decoding, false).map_err(invalid)?;
    Ok(TextKey { decoding, key: row_key })
}

fn no_fields(path: &str) -> Error {
    error::manifest_key(format!("`{path}` cannot be found: these records are plain bytes without fields")).hint(
        "read the source with `format = \"csv\"` or \"ndjson\", or let the function upstream emit records or JSON",
    )
}
