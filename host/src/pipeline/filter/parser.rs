//! Parses filter expressions. Precedence is that of SQL: `or` binds weakest, then `and`, then `not`, then comparisons.

use super::expression::{Comparison, FilterExpression, FilterOperand, FilterTerm};
use super::tokens::{FilterDefect, Token, TokenKind, tokens};

/// Maximum depth of nested parentheses and `not`.
const DEPTH_MAX: usize = 50;

/// Maximum length of an expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 64 << 10;

/// Parses an expression.
pub(in crate::pipeline) fn parse(text: &str) -> Result<FilterExpression, FilterDefect> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(FilterDefect::new(0, format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes")));
    }
    let mut parser = FilterParser { tokens: &tokens(text)?, next: 0, end: text.len(), depth: 0 };
    let root = parser.any()?;
    match parser.tokens.get(parser.next) {
        None => Ok(FilterExpression { text: text.to_owned(), root }),
        Some(Token { kind: TokenKind::Close, start }) => {
            Err(FilterDefect::new(*start, "this `)` closes no parenthesis"))
        }
        Some(token) => Err(FilterDefect::new(token.start, "expected `and`, `or` or the end here")),
    }
}

struct FilterParser<'a> {
    tokens: &'a [Token],
    /// Index of the next token.
    next: usize,
    /// Length of the text, the position of an error at its end.
    end: usize,
    depth: usize,
}

impl FilterParser<'_> {
    fn position(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.start)
    }

    fn expected(&self, what: &str) -> FilterDefect {
        FilterDefect::new(self.position(), format!("expected {what} here"))
    }

    fn take(&mut self, kind: &TokenKind) -> bool {
        let found = self.tokens.get(self.next).is_some_and(|token| token.kind == *kind);
        self.next += usize::from(found);
        found
    }

    /// Returns whether the next token is this keyword, in any case.
    fn is_keyword(&self, keyword: &str) -> bool {
        let token = self.tokens.get(self.next).map(|token| &token.kind);
        matches!(token, Some(TokenKind::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        self.next += usize::from(found);
        found
    }

    /// Parses conditions joined by `or`.
    fn any(&mut self) -> Result<FilterTerm, FilterDefect> {
        let mut terms = vec![self.all()?];
        while self.take_keyword("or") {
            terms.push(self.all()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { FilterTerm::Or(terms) })
    }

    /// Parses conditions joined by `and`.
    fn all(&mut self) -> Result<FilterTerm, FilterDefect> {
        let mut terms = vec![self.condition()?];
        while self.take_keyword("and") {
            terms.push(self.condition()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { FilterTerm::And(terms) })
    }

    /// Parses `not`, parentheses or a comparison.
    fn condition(&mut self) -> Result<FilterTerm, FilterDefect> {
        let is_not = self.is_keyword("not");
        let is_open = self.tokens.get(self.next).is_some_and(|token| token.kind == TokenKind::Open);
        if !is_not && !is_open {
            return self.comparison();
        }
        if self.depth == DEPTH_MAX {
            let message = format!("parentheses and `not` are nested more than {DEPTH_MAX} deep");
            return Err(FilterDefect::new(self.position(), message));
        }
        self.depth += 1;
        self.next += 1;
        let term = match is_not {
            true => FilterTerm::Not(Box::new(self.condition()?)),
            false => {
                let term = self.any()?;
                if !self.take(&TokenKind::Close) {
                    return Err(self.expected("`and`, `or` or `)`"));
                }
                term
            }
        };
        self.depth -= 1;
        Ok(term)
    }

    fn comparison(&mut self) -> Result<FilterTerm, FilterDefect> {
        let start = self.position();
        let left = self.operand()?;
        if self.take_keyword("is") {
            let is_negated = self.take_keyword("not");
            if !self.take_keyword("null") {
                return Err(self.expected(if is_negated { "`null`" } else { "`null` or `not null`" }));
            }
            let FilterOperand::Field(path) = left else {
                return Err(FilterDefect::new(start, "only a field can be null"));
            };
            let is_null = FilterTerm::IsNull(path);
            return Ok(if is_negated { FilterTerm::Not(Box::new(is_null)) } else { is_null });
        }
        let Some(comparison) = self.take_comparison() else {
            return match left {
                FilterOperand::Field(_) | FilterOperand::Bool(_) => Ok(FilterTerm::Value(left)),
                _ => Err(self.expected("a comparison")),
            };
        };
        let right_start = self.position();
        let right = self.operand()?;
        if self.take_comparison().is_some() {
            return Err(FilterDefect::new(right_start, "comparisons cannot be chained; join them with `and`"));
        }
        Ok(FilterTerm::Compare(left, comparison, right))
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let TokenKind::Comparison(comparison) = self.tokens.get(self.next)?.kind else { return None };
        self.next += 1;
        Some(comparison)
    }

    fn operand(&mut self) -> Result<FilterOperand, FilterDefect> {
        let what = "a field, a number, a text in single quotes, `true` or `false`";
        let Some(token) = self.tokens.get(self.next) else { return Err(self.expected(what)) };
        let operand = match &token.kind {
            TokenKind::Integer(number) => FilterOperand::Integer(*number),
            TokenKind::Float(number) => FilterOperand::Float(*number),
            TokenKind::Text(text) => FilterOperand::Text(text.clone()),
            TokenKind::Name(_) => return self.field(),
            TokenKind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => FilterOperand::Bool(true),
                "false" => FilterOperand::Bool(false),
                "null" => {
                    return Err(FilterDefect::new(token.start, "a comparison with null is never true; use `is null`"));
                }
                "and" | "or" | "not" | "is" => return Err(self.expected(what)),
                _ => return self.field(),
            },
            _ => return Err(self.expected(what)),
        };
        self.next += 1;
        Ok(operand)
    }

    /// Parses a path such as `a` or `a.b`.
    fn field(&mut self) -> Result<FilterOperand, FilterDefect> {
        let mut path = String::new();
        loop {
            match self.tokens.get(self.next).map(|token| &token.kind) {
                Some(TokenKind::Word(name) | TokenKind::Name(name)) if !name.is_empty() => path.push_str(name),
                _ => return Err(self.expected("the name of a field")),
            }
            self.next += 1;
            if !self.take(&TokenKind::Dot) {
                return Ok(FilterOperand::Field(path));
            }
            path.push('.');
        }
    }
}
