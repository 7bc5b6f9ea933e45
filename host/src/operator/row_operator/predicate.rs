//! A filter expression that is bound to the fields of a schema.
//!
//! A condition is true, false or, if a value is null, unknown. A record passes if the whole expression is true.

use std::cmp::Ordering;

use super::comparand::{Comparand, ScalarValue};
use crate::model::row::{FieldLocator, FieldType, RowDefect, RowSchema};
use crate::pipeline::{Comparison, FilterExpression, FilterOperand, FilterTerm};

/// Decides which rows pass a filter.
#[derive(Clone, Debug)]
pub struct RowPredicate {
    root: Condition,
}

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    IsNull(FieldLocator),
    Value(Comparand),
    Compare(Comparand, Comparison, Comparand),
}

impl RowPredicate {
    /// Binds an expression to the fields of a schema. The error names the field or the comparison at fault.
    pub fn compile(expression: &FilterExpression, schema: &RowSchema) -> Result<RowPredicate, String> {
        Ok(RowPredicate { root: Condition::bind(&expression.root, schema)? })
    }

    /// Returns whether a row passes.
    #[inline]
    pub fn is_true(&self, row: &[u8]) -> Result<bool, RowDefect> {
        Ok(self.root.evaluate(row)? == Some(true))
    }
}

impl Condition {
    fn bind(term: &FilterTerm, schema: &RowSchema) -> Result<Condition, String> {
        let bind_all = |terms: &[FilterTerm]| -> Result<Vec<Condition>, String> {
            terms.iter().map(|term| Condition::bind(term, schema)).collect()
        };
        Ok(match term {
            FilterTerm::And(terms) => Condition::All(bind_all(terms)?),
            FilterTerm::Or(terms) => Condition::Any(bind_all(terms)?),
            FilterTerm::Not(term) => Condition::Not(Box::new(Condition::bind(term, schema)?)),
            FilterTerm::IsNull(path) => {
                Condition::IsNull(FieldLocator::compile(schema, path).map_err(|defect| defect.to_string())?)
            }
            FilterTerm::Value(operand) => Condition::Value(boolean(operand, schema)?),
            FilterTerm::Compare(left, comparison, right) => {
                let (one, other) = (Comparand::bind(left, schema)?, Comparand::bind(right, schema)?);
                let one = one.fit(left, &other)?;
                let other = other.fit(right, &one)?;
                one.check(&other, (left, right))?;
                Condition::Compare(one, *comparison, other)
            }
        })
    }

    /// `None` is unknown.
    fn evaluate(&self, row: &[u8]) -> Result<Option<bool>, RowDefect> {
        Ok(match self {
            Condition::All(conditions) => combine(conditions, row, false)?,
            Condition::Any(conditions) => combine(conditions, row, true)?,
            Condition::Not(condition) => condition.evaluate(row)?.map(|value| !value),
            Condition::IsNull(field) => Some(Comparand::is_null(field, row)?),
            Condition::Value(value) => match value.value(row)? {
                Some(ScalarValue::Bool(value)) => Some(value),
                _ => None,
            },
            Condition::Compare(left, comparison, right) => {
                let (Some(left), Some(right)) = (left.value(row)?, right.value(row)?) else { return Ok(None) };
                left.order(&right).map(|order| holds(*comparison, order))
            }
        })
    }
}

/// Combines conditions: the value `decisive` of one decides, and an unknown one leaves the rest unknown.
fn combine(conditions: &[Condition], row: &[u8], decisive: bool) -> Result<Option<bool>, RowDefect> {
    let mut is_known = true;
    for condition in conditions {
        match condition.evaluate(row)? {
            Some(value) if value == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => is_known = false,
        }
    }
    Ok(is_known.then_some(!decisive))
}

fn holds(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// Binds a condition that is a field of type `bool`, or a literal.
fn boolean(operand: &FilterOperand, schema: &RowSchema) -> Result<Comparand, String> {
    let bound = Comparand::bind(operand, schema)?;
    match (&bound, operand) {
        (Comparand::Field(field), FilterOperand::Field(path))
            if !matches!(field.field_type(), FieldType::Bool | FieldType::Json) =>
        {
            Err(format!(
                "the field `{path}` is `{}`, not `bool`, so it is no condition; compare it",
                field.field_type()
            ))
        }
        _ => Ok(bound),
    }
}
