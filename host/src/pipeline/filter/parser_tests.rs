//! What is a filter expression, how operators bind, and where a defect is reported.

use proptest::prelude::*;

use super::expression::{Comparison, FilterOperand, FilterTerm};
use super::parse;

/// Writes a term with all its parentheses.
fn explicit(term: &FilterTerm) -> String {
    let operand = |operand: &FilterOperand| match operand {
        FilterOperand::Field(path) => format!("[{path}]"),
        FilterOperand::Integer(number) => number.to_string(),
        FilterOperand::Float(number) => format!("{number:?}"),
        FilterOperand::Text(text) => format!("'{text}'"),
        FilterOperand::Bool(value) => value.to_string(),
    };
    let joined = |terms: &[FilterTerm], word: &str| {
        format!("({})", terms.iter().map(explicit).collect::<Vec<_>>().join(&format!(" {word} ")))
    };
    match term {
        FilterTerm::And(terms) => joined(terms, "and"),
        FilterTerm::Or(terms) => joined(terms, "or"),
        FilterTerm::Not(term) => format!("not {}", explicit(term)),
        FilterTerm::IsNull(path) => format!("[{path}] null"),
        FilterTerm::Value(value) => operand(value),
        FilterTerm::Compare(left, comparison, right) => {
            let sign = match comparison {
                Comparison::Equal => "=",
                Comparison::NotEqual => "!=",
                Comparison::Less => "<",
                Comparison::LessOrEqual => "<=",
                Comparison::Greater => ">",
                Comparison::GreaterOrEqual => ">=",
            };
            format!("{} {sign} {}", operand(left), operand(right))
        }
    }
}

fn read(text: &str) -> String {
    explicit(&parse(text).unwrap().root)
}

#[test]
fn operators_bind_as_in_sql() {
    assert_eq!(
        read("dep_delay > 10 and (carrier = 'UA' or origin is null)"),
        "([dep_delay] > 10 and ([carrier] = 'UA' or [origin] null))"
    );
    assert_eq!(read("a or b and not c or d"), "([a] or ([b] and not [c]) or [d])");
    assert_eq!(read("not a = 1 and b"), "(not [a] = 1 and [b])");
    assert_eq!(read("NOT (a AND b)"), "not ([a] and [b])");
    assert_eq!(read("a IS NOT NULL Or false"), "(not [a] null or false)");
}

#[test]
fn operands_are_fields_and_literals() {
    assert_eq!(read("a.b.c<=-1.5e3"), "[a.b.c] <= -1500.0");
    assert_eq!(read("`dep delay` != \"or\".\"and\""), "[dep delay] != [or.and]");
    assert_eq!(read("'it''s' >= `a``b`"), "'it's' >= [a`b]");
    assert_eq!(read("true = ünder_Score9"), "true = [ünder_Score9]");
    assert_eq!(read("9999999999999999999999 < a"), "9999999999999999999999 < [a]");
    assert_eq!(read("is_late"), "[is_late]");
    assert_eq!(parse("b > 1 or a is null or not (b < a)").unwrap().paths(), ["b", "a"]);
}

#[test]
fn a_defect_is_reported_at_its_position() {
    for (text, at, message) in [
        ("", 0, "expected a field"),
        ("a > ", 4, "expected a field"),
        ("a > 1 b", 6, "expected `and`, `or` or the end"),
        ("(a > 1", 6, "expected `and`, `or` or `)`"),
        ("a > 1)", 5, "closes no parenthesis"),
        ("a == 1", 2, "`==` is not a comparison"),
        ("a <> 1", 2, "`<>` is not a comparison"),
        ("a = null", 4, "use `is null`"),
        ("1 < a < 3", 4, "cannot be chained"),
        ("a is 3", 5, "`null` or `not null`"),
        ("1 is null", 0, "only a field can be null"),
        ("a = 'x", 4, "is not closed"),
        ("a = 12abc", 4, "`12abc` is not a number"),
        ("a = 1.", 4, "`1.` is not a number"),
        ("a = 1e999", 4, "is not a number"),
        ("a; b", 1, "unexpected `;`"),
        ("a. = 1", 3, "expected the name of a field"),
        ("12", 2, "expected a comparison"),
        ("and a", 0, "expected a field"),
    ] {
        let defect = parse(text).unwrap_err();
        assert_eq!((defect.at, defect.message.contains(message)), (at, true), "{text}: {defect:?}");
    }
}

#[test]
fn the_depth_of_an_expression_is_limited_but_not_its_width() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(50)).is_ok());
    assert!(parse(&nested(51)).unwrap_err().message.contains("more than 50 deep"));
    assert!(parse(&"not ".repeat(10_000)).unwrap_err().message.contains("more than 50 deep"));
    assert!(parse(&vec!["a"; 10_000].join(" or ")).is_ok());
    assert!(parse(&"a".repeat(70_000)).unwrap_err().message.contains("longer than"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_causes_a_panic(text in r#"([a-c.'"`()<>=! 0-9e+-]|and |or |not |is |null|\PC){0,40}"#) {
        if let Err(defect) = parse(&text) {
            prop_assert!(defect.at <= text.len() && text.is_char_boundary(defect.at));
        }
    }
}
