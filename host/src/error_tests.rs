//! `docs/errors.md` explains every code, and no others. Refusals of the host's policy have a kind of their own.

use std::collections::BTreeSet;

use crate::error::{CODES, ErrorKind};
use crate::model::FaultCode;
use crate::problem_body::status_of;

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

#[test]
fn what_a_policy_of_the_host_denies_is_told_from_an_invalid_request() {
    let denied: Vec<&str> =
        CODES.iter().filter(|(_, kind)| *kind == ErrorKind::Denied).map(|(code, _)| *code).collect();
    assert_eq!(denied, ["native-denied", "path-denied", "address-denied", "secret-denied", "role-insufficient"]);
    assert_eq!(status_of(ErrorKind::Denied), 403);
}
