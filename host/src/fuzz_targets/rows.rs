//! Rows, schemas and copy plans: the first line is the schema of a row, the second one that of its consumer, the rest the row.

use super::split_line;
use crate::model::row::{CopyPlan, FieldLocator, RowKey, RowSchema, read_json, write_json};

/// A row that can be shown can be copied and located. A schema is the same after it was written as text.
pub(super) fn run(data: &[u8]) {
    let (from, rest) = split_line(data);
    let (to, row) = split_line(rest);
    let Some(from) = schema(from) else { return };
    let mut json = Vec::new();
    let is_row = write_json(&from, row, &mut json).is_ok();
    if is_row {
        let text = std::str::from_utf8(&json).expect("JSON is text");
        assert!(!text.contains('\n'), "{text}");
        // A float that is not a number is shown as null, which is not read as a float.
        let mut again = Vec::new();
        if read_json(&from, &json, &mut again).is_ok() {
            let mut second = Vec::new();
            write_json(&from, &again, &mut second).expect("a row that was read is valid");
        }
    }
    for field in from.fields() {
        let Ok(locator) = FieldLocator::compile(&from, &field.name) else { continue };
        let found = locator.locate(row);
        assert!(!is_row || found.is_ok(), "the field `{}` of a valid row", field.name);
        if let Ok(key) = RowKey::compile(&from, &[&field.name]) {
            let written = key.write(row, &mut Vec::new());
            assert!(!is_row || written.is_ok());
        }
    }
    let Some(to) = schema(to) else { return };
    let Ok(Some(plan)) = CopyPlan::compile(&from, &to) else { return };
    let mut copied = Vec::new();
    let is_copied = plan.copy(row, &mut copied).is_ok();
    assert!(!is_row || is_copied, "a valid row is not copied from {from} to {to}");
    if is_row {
        write_json(&to, &copied, &mut Vec::new()).expect("the copy of a valid row is valid");
    }
}

fn schema(text: &[u8]) -> Option<RowSchema> {
    let schema: RowSchema = std::str::from_utf8(text).ok()?.parse().ok()?;
    let again: RowSchema = schema.to_string().parse().expect("a schema is read as it was written");
    assert_eq!(again, schema);
    Some(schema)
}
