//! `docs/errors.md` explains every code, and no others.

use std::collections::BTreeSet;

use crate::error::CODES;
use crate::model::FaultCode;

#[test]
fn the_documentation_explains_every_code() {
    let page = include_str!("../../docs/errors.md");
    let mut explained = BTreeSet::new();
    for section in page.split("\n### ").skip(1) {
        let (code, text) = section.split_once('\n').unwrap_or((section, ""));
        assert!(text.trim().len() > 20, "`{code}` is not explained");
        assert!(explained.insert(code), "`{code}` is explained twice");
    }
    let faults = FaultCode::ALL.iter().map(|code| code.as_str());
    let codes: BTreeSet<&str> = CODES.iter().map(|(code, _)| *code).chain(faults).collect();
    assert_eq!(explained, codes);
}
