//! Tests of schemas and their text.

use proptest::prelude::*;

use super::testing::any_schema;
use super::*;

proptest! {
    #[test]
    fn a_schema_is_read_from_its_text(schema in any_schema()) {
        let text = schema.to_string();
        prop_assert_eq!(text.parse::<RowSchema>().unwrap(), schema);
    }

    #[test]
    fn any_text_is_refused_or_read(text in any::<String>()) {
        if let Ok(schema) = text.parse::<RowSchema>() {
            prop_assert_eq!(schema.to_string().parse::<RowSchema>().unwrap(), schema);
        }
    }
}

#[test]
fn the_canonical_text_has_no_spaces_and_quotes_unusual_names() {
    let text = r#" { tailnum : string , "dep delay" : i32 ? , tags:list< map<{ a:u8 }?> >, at: timestamp} "#;
    let schema: RowSchema = text.parse().unwrap();
    assert_eq!(schema.to_string(), r#"{tailnum:string,"dep delay":i32?,tags:list<map<{a:u8}?>>,at:timestamp}"#);
}

#[test]
fn aliases_and_defaults_do_not_make_a_schema_differ() {
    let plain = Field::new("a", FieldType::I64, false);
    let other = Field { aliases: vec!["b".into()], default: Some("1".into()), ..plain.clone() };
    assert_eq!(RowSchema::new(vec![plain]).unwrap(), RowSchema::new(vec![other]).unwrap());
}

#[test]
fn schemas_that_could_not_be_read_safely_are_refused() {
    let deep = format!("{{a:{}i64{}}}", "list<".repeat(TYPE_DEPTH_MAX), ">".repeat(TYPE_DEPTH_MAX));
    let bottomless = format!("{{a:{}", "list<".repeat(1 << 20));
    let wide = format!("{{{}}}", (0..=FIELDS_MAX).map(|index| format!("f{index}:u8")).collect::<Vec<_>>().join(","));
    let long = format!("{{{}:u8}}", "a".repeat(NAME_BYTES_MAX + 1));
    let cases = [
        ("{a:i64,a:i32}", "two fields have the name `a`"),
        ("{a:{}}", "a nested record has no fields"),
        (&deep, "more than 16 deep"),
        (&bottomless, "more than 16 deep"),
        (&wide, "more than 4096 fields"),
        (&long, "not 1 to 255 bytes"),
        ("{\"\":u8}", "not 1 to 255 bytes"),
        ("{a:integer}", "expected a type such as"),
        ("{a:i64", "expected `}` at byte 6"),
        ("{a:i64}}", "expected the end at byte 7"),
        ("{\"a:i64}", "expected a name in quotes"),
        ("", "expected `{`"),
    ];
    for (text, expected) in cases {
        let defect = text.parse::<RowSchema>().unwrap_err().to_string();
        assert!(defect.contains(expected), "{text}: {defect}");
    }
}
