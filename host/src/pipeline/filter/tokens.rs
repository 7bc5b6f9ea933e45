//! Splits a filter expression into tokens.

use super::expression::Comparison;

/// A token with the byte at which it begins.
pub(super) struct Token {
    pub start: usize,
    pub kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A word without quotes: a field or a keyword.
    Word(String),
    /// A name in double quotes or backticks: always a field.
    Name(String),
    /// A text in single quotes.
    Text(String),
    Integer(i128),
    Float(f64),
    Comparison(Comparison),
    Dot,
    Open,
    Close,
}

/// Why a text is not a filter expression, and the byte at which this shows.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct FilterDefect {
    pub at: usize,
    pub message: String,
}

impl FilterDefect {
    pub(super) fn new(at: usize, message: impl Into<String>) -> FilterDefect {
        FilterDefect { at, message: message.into() }
    }
}

/// Splits a text into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterDefect> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        if first.is_whitespace() {
            start += first.len_utf8();
            continue;
        }
        let rest = &text[start..];
        let follows_operand = tokens.last().is_some_and(|token: &Token| token.kind.ends_operand());
        let (kind, length) = match first {
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '\'' => quoted(rest, '\'', start).map(|(text, length)| (TokenKind::Text(text), length))?,
            '"' | '`' => quoted(rest, first, start).map(|(name, length)| (TokenKind::Name(name), length))?,
            '=' | '!' | '<' | '>' => comparison(rest, start)?,
            '.' if follows_operand => (TokenKind::Dot, 1),
            '0'..='9' | '-' | '+' | '.' => number(rest, start)?,
            _ if is_word(first) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                (TokenKind::Word(rest[..length].to_owned()), length)
            }
            _ => return Err(FilterDefect::new(start, format!("unexpected `{first}`"))),
        };
        tokens.push(Token { start, kind });
        start += length;
    }
    Ok(tokens)
}

impl TokenKind {
    fn ends_operand(&self) -> bool {
        matches!(self, TokenKind::Word(_) | TokenKind::Name(_))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Reads a quoted text, in which a doubled quote stands for one. Returns its content and its length with quotes.
fn quoted(rest: &str, quote: char, start: usize) -> Result<(String, usize), FilterDefect> {
    let mut content = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c != quote {
            content.push(c);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return Ok((content, at + 1));
        }
    }
    Err(FilterDefect::new(start, format!("the quote {quote} is not closed")))
}

fn comparison(rest: &str, start: usize) -> Result<(TokenKind, usize), FilterDefect> {
    let length = rest.find(|c: char| !"=!<>".contains(c)).unwrap_or(rest.len());
    let comparison = match &rest[..length] {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        other => {
            let message = format!("`{other}` is not a comparison; they are = != < <= > >=");
            return Err(FilterDefect::new(start, message));
        }
    };
    Ok((TokenKind::Comparison(comparison), length))
}

fn number(rest: &str, start: usize) -> Result<(TokenKind, usize), FilterDefect> {
    let is_sign_of_exponent =
        |at: usize, c: char| (c == '-' || c == '+') && (at == 0 || rest[..at].ends_with(['e', 'E']));
    let is_part = |at: usize, c: char| c.is_alphanumeric() || c == '.' || c == '_' || is_sign_of_exponent(at, c);
    let length = rest.char_indices().find(|(at, c)| !is_part(*at, *c)).map_or(rest.len(), |(at, _)| at);
    let text = &rest[..length];
    let digits_only = text.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit());
    let kind = match digits_only {
        true => text.parse().ok().map(TokenKind::Integer),
        false => text.parse().ok().filter(|number: &f64| number.is_finite()).map(TokenKind::Float),
    };
    let kind = kind.filter(|_| text.ends_with(|c: char| c.is_ascii_digit()));
    kind.map(|kind| (kind, length)).ok_or_else(|| FilterDefect::new(start, format!("`{text}` is not a number")))
}
