//! The fields that a `select` lets pass, with their new names.

use std::sync::Arc;

use crate::model::row::{CopyPlan, Field, RowDefect, RowSchema, did_you_mean};
use crate::pipeline::FieldSelection;

/// Rewrites rows with the selected fields only.
#[derive(Clone, Debug)]
pub struct RowSelection {
    output: Arc<RowSchema>,
    /// `None` if only names change, which are not part of a row.
    plan: Option<CopyPlan>,
}

impl RowSelection {
    /// Compiles a selection for rows of `input`. `is_whole` says whether `input` has all fields of the records, so that an unknown
    /// name is an error. The error names the field at fault.
    pub fn compile(select: &FieldSelection, input: &RowSchema, is_whole: bool) -> Result<RowSelection, String> {
        let names = || input.fields().iter().map(|field| field.name.as_str());
        let find = |name: &String| match input.field(name) {
            Some((_, field)) => Ok(field),
            None => Err(format!("there is no field `{name}`{}", did_you_mean(name, names()))),
        };
        let kept: Vec<&Field> = match &select.keep {
            Some(keep) => keep.iter().map(find).collect::<Result<_, _>>()?,
            None => input.fields().iter().filter(|field| !select.drop.contains(&field.name)).collect(),
        };
        let dropped = select.drop.iter().filter(|_| is_whole);
        let renamed = select.rename.iter().map(|rename| &rename.old);
        for name in dropped.chain(renamed) {
            find(name)?;
        }
        let new_name = |field: &Field| {
            let rename = select.rename.iter().find(|rename| rename.old == field.name);
            let name = rename.map_or_else(|| field.name.clone(), |rename| rename.new.clone());
            Field::new(name, field.value.clone(), field.nullable)
        };
        let output = RowSchema::new(kept.into_iter().map(new_name).collect()).map_err(|defect| defect.to_string())?;
        if output.is_empty() {
            return Err("no field is left".to_owned());
        }
        // Rows have no names, so the input may be read under the new names. Other fields get names that nothing selects.
        let placeholder = |(index, field): (usize, &Field)| {
            let is_kept = select.keep.as_ref().is_none_or(|keep| keep.contains(&field.name))
                && !select.drop.contains(&field.name);
            let name = if is_kept { new_name(field).name } else { format!("\u{0}{index}") };
            Field::new(name, field.value.clone(), field.nullable)
        };
        let renamed = RowSchema::new(input.fields().iter().enumerate().map(placeholder).collect());
        let renamed = renamed.map_err(|defect| defect.to_string())?;
        let plan = CopyPlan::compile(&renamed, &output).map_err(|mismatch| mismatch.reason)?;
        Ok(RowSelection { output: Arc::new(output), plan })
    }

    /// Returns the schema of the selected rows.
    pub fn output(&self) -> &Arc<RowSchema> {
        &self.output
    }

    /// Appends the selected fields of a row.
    #[inline]
    pub fn write(&self, row: &[u8], to: &mut Vec<u8>) -> Result<(), RowDefect> {
        match &self.plan {
            Some(plan) => plan.copy(row, to),
            None => {
                to.extend_from_slice(row);
                Ok(())
            }
        }
    }
}
