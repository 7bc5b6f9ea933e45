//! The syntax tree of a filter expression.

/// A filter: a condition that a record must meet to pass.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterExpression {
    /// The text as written.
    pub text: String,
    /// The condition.
    pub root: FilterTerm,
}

/// A condition. It is true, false or, if a field is null, unknown, as in SQL.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterTerm {
    /// Whether all conditions hold.
    And(Vec<FilterTerm>),
    /// Whether any condition holds.
    Or(Vec<FilterTerm>),
    /// Whether the condition does not hold.
    Not(Box<FilterTerm>),
    /// Whether the field at this path is null. Never unknown.
    IsNull(String),
    /// The value of a field of type `bool`, or `true` or `false`.
    Value(FilterOperand),
    /// A comparison.
    Compare(FilterOperand, Comparison, FilterOperand),
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterOperand {
    /// The field at this path: `a`, or `a.b` for field `b` of the nested record `a`.
    Field(String),
    /// An integer.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A text in single quotes.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
}

/// A comparison operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl FilterExpression {
    /// Returns the paths of all fields that the expression names, in the order of the text and without repetitions.
    pub fn paths(&self) -> Vec<&str> {
        let mut paths = Vec::new();
        self.root.collect_paths(&mut paths);
        paths
    }
}

impl FilterTerm {
    fn collect_paths<'a>(&'a self, paths: &mut Vec<&'a str>) {
        let mut add = |path: &'a str| {
            if !paths.contains(&path) {
                paths.push(path);
            }
        };
        let mut add_operand = |operand: &'a FilterOperand| {
            if let FilterOperand::Field(path) = operand {
                add(path);
            }
        };
        match self {
            FilterTerm::And(terms) | FilterTerm::Or(terms) => {
                terms.iter().for_each(|term| term.collect_paths(paths));
            }
            FilterTerm::Not(term) => term.collect_paths(paths),
            FilterTerm::IsNull(path) => add(path),
            FilterTerm::Value(operand) => add_operand(operand),
            FilterTerm::Compare(left, _, right) => {
                add_operand(left);
                add_operand(right);
            }
        }
    }
}
