//! The shape of a type, which the SDK writes after the codec in a schema: `postcard:{count:u64,delays:list<i32,>,}`.
//!
//! Invariant: the text is untrusted and is parsed completely or not at all, to a bounded depth. A hash (`#...`) or an unknown
//! word is not a shape. Must not depend on how values are encoded.

/// Upper bound on nesting. The SDK writes nothing deeper.
const DEPTH_MAX: u32 = 32;

/// The structure of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ValueShape {
    Integer {
        signed: bool,
        bits: u32,
    },
    F32,
    F64,
    Bool,
    Char,
    String,
    Option(Box<ValueShape>),
    List(Box<ValueShape>),
    Map(Box<ValueShape>, Box<ValueShape>),
    Array(Box<ValueShape>, usize),
    /// A tuple or a tuple struct. Without elements it is the unit type.
    Tuple(Vec<ValueShape>),
    Struct(Vec<(String, ValueShape)>),
    /// Variants in order, with the shape of their fields if they have any.
    Enum(Vec<(String, Option<ValueShape>)>),
}

impl ValueShape {
    /// Parses a shape. Returns `None` if the text is not a shape.
    pub fn parse(text: &str) -> Option<ValueShape> {
        let mut parser = ShapeParser { rest: text };
        let shape = parser.shape(DEPTH_MAX)?;
        parser.rest.is_empty().then_some(shape)
    }
}

struct ShapeParser<'a> {
    rest: &'a str,
}

impl<'a> ShapeParser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn require(&mut self, token: &str) -> Option<()> {
        self.eat(token).then_some(())
    }

    /// Takes the text before the first of `ends`.
    fn until(&mut self, ends: &[char]) -> Option<&'a str> {
        let (text, rest) = self.rest.split_at_checked(self.rest.find(ends)?)?;
        self.rest = rest;
        Some(text)
    }

    fn shape(&mut self, depth: u32) -> Option<ValueShape> {
        let depth = depth.checked_sub(1)?;
        if self.eat("list<") {
            return Some(ValueShape::List(self.last_type_argument(depth)?));
        }
        if self.eat("option<") {
            return Some(ValueShape::Option(self.last_type_argument(depth)?));
        }
        if self.eat("map<") {
            let key = self.shape(depth)?;
            self.require(",")?;
            return Some(ValueShape::Map(key.into(), self.last_type_argument(depth)?));
        }
        if self.eat("enum<") {
            return self.variants(depth);
        }
        if self.eat("[") {
            let element = self.shape(depth)?;
            self.require(";")?;
            let length = self.until(&[']'])?.parse().ok()?;
            self.require("]")?;
            return Some(ValueShape::Array(element.into(), length));
        }
        match self.fields(depth)? {
            Some(fields) => Some(fields),
            None => self.word(),
        }
    }

    fn last_type_argument(&mut self, depth: u32) -> Option<Box<ValueShape>> {
        let inner = self.shape(depth)?;
        self.require(",>")?;
        Some(inner.into())
    }

    fn variants(&mut self, depth: u32) -> Option<ValueShape> {
        let mut variants = Vec::new();
        while !self.eat(">") {
            let name = self.until(&['(', '{', '|'])?.to_owned();
            variants.push((name, self.fields(depth)?));
            self.require("|")?;
        }
        Some(ValueShape::Enum(variants))
    }

    /// Parses `(A,B,)` or `{a:A,b:B,}`. Returns `Some(None)` if something else follows.
    fn fields(&mut self, depth: u32) -> Option<Option<ValueShape>> {
        if self.eat("(") {
            let mut parts = Vec::new();
            while !self.eat(")") {
                parts.push(self.shape(depth)?);
                self.require(",")?;
            }
            return Some(Some(ValueShape::Tuple(parts)));
        }
        if self.eat("{") {
            let mut fields: Vec<(String, ValueShape)> = Vec::new();
            while !self.eat("}") {
                let name = self.until(&[':'])?.to_owned();
                self.require(":")?;
                if fields.iter().any(|(other, _)| *other == name) {
                    return None;
                }
                fields.push((name, self.shape(depth)?));
                self.require(",")?;
            }
            return Some(Some(ValueShape::Struct(fields)));
        }
        Some(None)
    }

    fn word(&mut self) -> Option<ValueShape> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let integer = |signed, bits| Some(ValueShape::Integer { signed, bits });
        match word {
            "string" => Some(ValueShape::String),
            "bool" => Some(ValueShape::Bool),
            "char" => Some(ValueShape::Char),
            "f32" => Some(ValueShape::F32),
            "f64" => Some(ValueShape::F64),
            "u8" => integer(false, 8),
            "u16" => integer(false, 16),
            "u32" => integer(false, 32),
            "u64" | "usize" => integer(false, 64),
            "u128" => integer(false, 128),
            "i8" => integer(true, 8),
            "i16" => integer(true, 16),
            "i32" => integer(true, 32),
            "i64" | "isize" => integer(true, 64),
            "i128" => integer(true, 128),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_that_the_sdk_writes_are_parsed() {
        let text = "{a:list<option<string,>,>,b:map<u8,[i64;3],>,c:enum<On|At(u32,)|Of{x:f64,}|>,d:(),e:(bool,char,),}";
        let Some(ValueShape::Struct(fields)) = ValueShape::parse(text) else { panic!("{:?}", ValueShape::parse(text)) };
        let names: Vec<&str> = fields.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        assert_eq!(fields[0].1, ValueShape::List(ValueShape::Option(ValueShape::String.into()).into()));
        let ValueShape::Enum(variants) = &fields[2].1 else { panic!("{fields:?}") };
        assert_eq!(variants[0], ("On".into(), None));
        assert_eq!(variants[1].1, Some(ValueShape::Tuple(vec![ValueShape::Integer { signed: false, bits: 32 }])));
    }

    #[test]
    fn unknown_words_and_malformed_text_are_rejected() {
        for text in ["", "#0123456789abcdef", "Uuid", "u64 ", "list<u8>", "(u8)", "{a:u8,a:u8,}", "[u8;x]", "^", "u7"] {
            assert_eq!(ValueShape::parse(text), None, "{text}");
        }
        let deep = |depth| format!("{}u8{}", "(".repeat(depth), ",)".repeat(depth));
        assert!(ValueShape::parse(&deep(DEPTH_MAX as usize - 1)).is_some());
        assert_eq!(ValueShape::parse(&deep(100_000)), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in r"(list<|map<|enum<|option<|\(|\)|\{|\}|a:|u8|string|,|>|\||\[|;|]|9|ä){0,20}") {
            let _ = ValueShape::parse(&text);
        }
    }
}
