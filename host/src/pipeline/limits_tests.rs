//! Limits are read with their units and ranges, and ceilings cut defaults and refuse settings.

use std::time::Duration;

use super::{FaultShareLimit, LimitCeilings, LimitKey, NodeKind, OperatorLimits, PipelineSpec};
use crate::error::Error;

fn parse(limits: &str, backend: &str) -> Result<PipelineSpec, Error> {
    let text = format!(
        "name = \"p\"\n[state]\nbackend = \"{backend}\"\n[source.in]\nconnector = \"generator\"\n[operator.act]\ninput = \"in\"\n\
         component = \"c@1\"\nfunction = \"f\"\nlimits = {{ {limits} }}\n[sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    );
    PipelineSpec::parse(&text, "p.toml")
}

fn limits(pipeline: &PipelineSpec) -> &OperatorLimits {
    let mut operators = pipeline.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Operator(operator) => Some(&operator.limits),
        _ => None,
    });
    operators.next_back().unwrap()
}

fn ceilings(settings: &[&str]) -> LimitCeilings {
    LimitCeilings::parse(&settings.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn every_limit_has_a_default_within_its_range() {
    let defaults = OperatorLimits::default();
    for (index, key) in LimitKey::ALL.into_iter().enumerate() {
        assert_eq!(key as usize, index);
        let text = match key {
            LimitKey::Deadline => format!("{} = \"{}\"", key.as_str(), key.format(defaults.get(key))),
            _ => format!("{} = {}", key.as_str(), defaults.get(key)),
        };
        assert_eq!(limits(&parse(&text, "memory").unwrap()).get(key), defaults.get(key), "{text}");
    }
}

#[test]
fn limits_are_read_with_their_units() {
    let pipeline = parse(
        "state_per_turn = \"1MiB\", state_per_key = \"2MiB\", list_elements = 10, timers_per_key = 11, timers_per_turn = 12, \
         state = \"3GiB\", log_lines = 13, log_bytes = \"4KiB\", faults = { share = 0.05, window = \"10s\", records = 20 }",
        "rocksdb",
    )
    .unwrap();
    let limits = limits(&pipeline);
    assert_eq!(
        LimitKey::ALL.map(|key| limits.get(key)),
        [64 << 20, 1_000_000_000, 16 << 20, 1 << 20, 2 << 20, 10, 11, 12, 3 << 30, 13, 4 << 10,]
    );
    let window = Duration::from_secs(10);
    assert_eq!(limits.faults, Some(FaultShareLimit { share_thousandths: 50, window, records_min: 20 }));
}

#[test]
fn the_default_total_depends_on_the_backend() {
    let of = |backend| limits(&parse("", backend).unwrap()).get(LimitKey::State);
    assert_eq!((of("memory"), of("rocksdb")), (2 << 30, 100 << 30));
}

#[test]
fn amounts_out_of_range_are_refused() {
    for wrong in [
        "memory = \"2GiB\"",
        "deadline = \"100000h\"",
        "deadline = \"1us\"",
        "list_elements = 0",
        "state_per_turn = \"2GiB\"",
        "log_lines = 0",
        "timers_per_key = \"1MiB\"",
        "faults = { share = 1 }",
        "faults = { share = 0 }",
        "faults = { window = \"1min\" }",
    ] {
        assert_eq!(parse(wrong, "memory").unwrap_err().code, "manifest-invalid", "{wrong}");
    }
    assert_eq!(parse("state_per_kay = 1", "memory").unwrap_err().code, "manifest-unknown-key");
}

#[test]
fn a_ceiling_cuts_the_default_and_refuses_a_larger_setting() {
    let ceilings = ceilings(&["memory=32MiB", "deadline=500ms", "list_elements=7"]);
    let mut pipeline = parse("memory = \"16MiB\"", "memory").unwrap();
    ceilings.apply(&mut pipeline).unwrap();
    let own = limits(&pipeline);
    assert_eq!(
        [LimitKey::Memory, LimitKey::Deadline, LimitKey::ListElements].map(|key| own.get(key)),
        [16 << 20, 500_000_000, 7]
    );
    let error = ceilings.apply(&mut parse("deadline = \"2s\"", "memory").unwrap()).unwrap_err();
    assert_eq!(error.code, "limit-refused");
    assert!(error.message.contains("limits.deadline = 2s") && error.message.contains("at most 500ms"), "{error}");
    let mut resumed = parse("deadline = \"2s\"", "memory").unwrap();
    ceilings.cut(&mut resumed);
    assert_eq!(limits(&resumed).get(LimitKey::Deadline), 500_000_000);
}

#[test]
fn a_ceiling_for_dead_letters_cuts_the_default_and_refuses_a_larger_setting() {
    let ceilings = ceilings(&["dead_letters=16MiB"]);
    let letters = |limit: &str| {
        let limit = if limit.is_empty() { String::new() } else { format!("[dead_letters]\nlimit = \"{limit}\"\n") };
        let nodes = "[source.s]\nconnector = \"generator\"\ntemplate = \"a\"\n[sink.out]\ninput = \"s\"\nconnector = \"stdout\"\n";
        PipelineSpec::parse(&format!("name = \"n\"\n{limit}{nodes}"), "p.toml").unwrap()
    };
    for (limit, bytes) in [("", 16 << 20), ("1MiB", 1 << 20), ("16MiB", 16 << 20)] {
        let mut pipeline = letters(limit);
        ceilings.apply(&mut pipeline).unwrap();
        assert_eq!(pipeline.dead_letters.limit_bytes, bytes, "{limit}");
    }
    let error = ceilings.apply(&mut letters("17MiB")).unwrap_err();
    assert_eq!(error.code, "limit-refused");
    assert!(error.message.contains("17.0 MiB") && error.message.contains("at most 16.0 MiB"), "{error}");
    let mut resumed = letters("17MiB");
    ceilings.cut(&mut resumed);
    assert_eq!(resumed.dead_letters.limit_bytes, 16 << 20);
}

#[test]
fn malformed_ceilings_are_refused() {
    for (setting, why) in [
        ("dead_letters=1B", "must be between"),
        ("dead_letters=lots", "must be between"),
        ("memory", "KEY=VALUE"),
        ("memroy=1MiB", "is not a limit"),
        ("memory=much", "must be between"),
        ("memory=1B", "must be between"),
        ("log_lines=-1", "must be between"),
        ("faults=1", "is not a limit"),
    ] {
        let error = LimitCeilings::parse(&[setting.to_owned()]).unwrap_err();
        assert!(error.contains(why), "{setting}: {error}");
    }
}
