//! Tests of turns over both backends: reads, commit, abort, limits, and invalid calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;
use crate::model::{Column, FaultCode, Keys, group_of_key, hash_key};
use crate::pipeline::StateBackendKind;
use crate::state::{self, StateDescription, StateId, StateKind, StateLayout, StateOptions};

const VALUE: u32 = 0;
const LIST: u32 = 1;
const MAP: u32 = 2;

fn turn(backend: StateBackendKind, dir: &std::path::Path) -> Turn {
    let description = |name: &str, kind| StateDescription::new(name, kind, "raw", "raw");
    let kinds = [("value", StateKind::Value), ("list", StateKind::List), ("map", StateKind::Map)];
    let layout: StateLayout = kinds.into_iter().map(|(name, kind)| description(name, kind)).collect();
    let options = StateOptions::empty(backend, dir.join("state"), layout.clone(), 128, SystemClock::shared());
    Turn::stateful(TurnContext::default(), layout, state::open(options).unwrap())
}

fn keys(names: &[&str]) -> Arc<Keys> {
    Arc::new(Keys {
        distinct: names.iter().collect(),
        groups: names.iter().map(|name| group_of_key(hash_key(name.as_bytes()), 128)).collect(),
        key_of: (0..names.len() as u32).collect(),
    })
}

fn each_backend(test: impl Fn(&mut Turn)) {
    for backend in [StateBackendKind::Memory, StateBackendKind::RocksDb] {
        let dir = tempfile::tempdir().unwrap();
        test(&mut turn(backend, dir.path()));
    }
}

fn column(values: &[&str]) -> Column {
    values.iter().collect()
}

/// Reads the values by the call for one key and by the vectorised call. Checks that both return the same.
fn values(turn: &mut Turn, keys: u32) -> Vec<Option<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let one_by_one: Vec<_> = (0..keys).map(|key| turn.value_get(VALUE, key).unwrap().map(text)).collect();
    let all = turn.value_load(VALUE).unwrap();
    let at_once: Vec<_> =
        all.values.iter().zip(&all.present).map(|(value, &present)| present.then(|| text(value.to_vec()))).collect();
    assert_eq!(one_by_one, at_once);
    at_once
}

fn lists(turn: &mut Turn, keys: u32) -> Vec<Vec<String>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let one_by_one: Vec<Vec<String>> =
        (0..keys).map(|key| turn.list_get(LIST, key).unwrap().iter().map(text).collect()).collect();
    let (elements, ends) = turn.list_load(LIST).unwrap();
    let mut start = 0;
    let mut at_once = Vec::new();
    for end in ends {
        at_once.push((start..end).map(|index| text(elements.value(index as usize))).collect::<Vec<_>>());
        start = end;
    }
    assert_eq!(one_by_one, at_once);
    at_once
}

#[test]
fn a_value_is_visible_in_its_turn_and_after_the_commit() {
    each_backend(|turn| {
        turn.begin(Some(&keys(&["a", "b"])), 0, 0);
        turn.value_set(VALUE, 0, b"one").unwrap();
        assert_eq!(values(turn, 2), [Some("one".into()), None]);
        turn.abort();
        turn.begin(Some(&keys(&["a", "b"])), 0, 0);
        assert_eq!(values(turn, 2), [None, None]);
        turn.value_store(VALUE, &[1, 0], &column(&["two", "one"])).unwrap();
        turn.commit().unwrap();
        // The same index now denotes another key, and must not expose what the previous turn wrote.
        turn.begin(Some(&keys(&["c", "a"])), 0, 0);
        assert_eq!(values(turn, 2), [None, Some("one".into())]);
        turn.value_clear(VALUE, &[1]).unwrap();
        assert_eq!(values(turn, 2), [None, None]);
        turn.commit().unwrap();
        turn.begin(Some(&keys(&["a", "b"])), 0, 0);
        assert_eq!(values(turn, 2), [None, Some("two".into())]);
    });
}

#[test]
fn lists_can_be_appended_to_replaced_and_cleared() {
    each_backend(|turn| {
        turn.begin(Some(&keys(&["a", "b"])), 0, 0);
        turn.list_add(LIST, 0, b"1").unwrap();
        turn.list_append(LIST, &[0, 1, 0], &column(&["2", "x", "3"])).unwrap();
        assert_eq!(lists(turn, 2), [vec!["1", "2", "3"], vec!["x"]]);
        turn.commit().unwrap();
        turn.begin(Some(&keys(&["b", "a"])), 0, 0);
        turn.list_add(LIST, 1, b"4").unwrap();
        assert_eq!(lists(turn, 2), [vec!["x"], vec!["1", "2", "3", "4"]]);
        turn.list_replace(LIST, &[0, 1], &column(&["y", "z"]), &[0, 2]).unwrap();
        turn.list_add(LIST, 0, b"new").unwrap();
        assert_eq!(lists(turn, 2), [vec!["new"], vec!["y", "z"]]);
        turn.list_set(LIST, 1, &Column::new()).unwrap();
        turn.commit().unwrap();
        turn.begin(Some(&keys(&["a", "b"])), 0, 0);
        assert_eq!(lists(turn, 2), [vec![], vec!["new"]]);
        let present = turn.backend().unwrap().load(LIST as StateId, &keys(&["a", "b"])).unwrap().present;
        assert_eq!(present, [false, true], "an empty list has no entry");
    });
}

#[test]
fn invalid_calls_are_refused() {
    each_backend(|turn| {
        turn.set_limits(TurnLimits { state_per_turn: 1000, ..TurnLimits::default() });
        turn.begin(Some(&keys(&["a"])), 0, 0);
        let refused = |result: Result<(), HostCallError>| matches!(result, Err(HostCallError::InvalidCall(_)));
        assert!(refused(turn.value_set(VALUE, 1, b"x")), "no such key");
        assert!(refused(turn.value_set(3, 0, b"x")), "no such state");
        assert!(refused(turn.value_set(LIST, 0, b"x")), "state of another kind");
        assert!(refused(turn.value_set(MAP, 0, b"x")), "state of another kind");
        assert!(refused(turn.map_put(VALUE, 0, b"", b"x")), "state of another kind");
        assert!(refused(turn.map_put(MAP, 1, b"", b"x")), "no such key");
        assert!(refused(turn.map_scan(MAP, 1, None, 1).map(drop)), "no such key");
        assert!(refused(turn.map_load(MAP, &[1], &column(&["x"])).map(drop)), "no such key");
        assert!(refused(turn.map_store(MAP, &[0], &column(&["x", "y"]), &column(&["x"]))), "more sub-keys than keys");
        assert!(refused(turn.map_store(MAP, &[0], &column(&["x"]), &Column::new())), "fewer values than keys");
        assert!(refused(turn.value_store(VALUE, &[0, 0], &column(&["x"]))), "fewer values than keys");
        assert!(refused(turn.list_replace(LIST, &[0], &column(&["x"]), &[2])), "an end after the last element");
        assert!(refused(turn.list_replace(LIST, &[0, 0], &column(&["x"]), &[1, 0])), "ends that decrease");
        let too_much = (0..100).map(|_| turn.list_add(LIST, 0, b"0123456789")).find(Result::is_err);
        assert!(
            matches!(too_much, Some(Err(HostCallError::LimitExceeded(fault))) if fault.code == FaultCode::StateExceeded)
        );
        turn.commit().unwrap();
    });
}

#[test]
fn staged_map_writes_count_towards_the_write_limit() {
    each_backend(|turn| {
        turn.set_limits(TurnLimits { state_per_turn: 1000, ..TurnLimits::default() });
        let too_much = |refusal| matches!(refusal, Err(HostCallError::LimitExceeded(_)));
        for write in [
            |turn: &mut Turn, n| turn.map_put(MAP, 0, &[n; 10], b""),
            |turn: &mut Turn, n| turn.map_remove(MAP, &[0], &[[n; 10]].iter().collect()),
        ] {
            turn.begin(Some(&keys(&["a"])), 0, 0);
            let accepted = (0..100).take_while(|n| !too_much(write(turn, *n))).count();
            assert!((20..50).contains(&accepted), "{accepted} writes of 10 bytes in 1000");
        }
    });
}

#[test]
fn metrics_take_effect_with_the_commit_and_their_number_is_limited() {
    let mut turn = Turn::stateless(TurnContext::default());
    turn.begin(None, 0, 0);
    turn.metric_add("seen".into(), 2).unwrap();
    turn.abort();
    turn.begin(None, 0, 0);
    turn.metric_add("seen".into(), 2).unwrap();
    turn.metric_add("seen".into(), 3).unwrap();
    (0..100).for_each(|n| turn.metric_set(format!("name-{n}"), 1.0).unwrap());
    turn.commit().unwrap();
    assert_eq!(turn.metrics().counters["seen"], 5);
    assert_eq!(turn.metrics().len(), METRIC_NAMES_MAX);
}

#[test]
fn text_and_metrics_of_a_guest_are_sanitized() {
    assert_eq!(sanitize_text("a\u{1b}[31mb\n\u{7}".into()), "a\u{fffd}[31mb\n\u{fffd}");
    assert_eq!(sanitize_text("é".repeat(LOG_LINE_BYTES_MAX)).len(), LOG_LINE_BYTES_MAX + '…'.len_utf8());
    let mut turn = Turn::stateless(TurnContext::default());
    turn.begin(None, 0, 0);
    for (name, value) in [("good", 1.5), ("nan", f64::NAN), ("infinite", f64::INFINITY)] {
        turn.metric_set(name.into(), value).unwrap();
    }
    assert_eq!(turn.log_lines().len(), 2, "each ignored value is logged");
    turn.commit().unwrap();
    assert_eq!(turn.metrics().gauges, BTreeMap::from([("good".to_owned(), 1.5)]));
    assert_eq!(turn.metrics().len(), 1);
}

#[test]
fn observations_take_effect_with_the_commit() {
    let mut turn = Turn::stateless(TurnContext::default());
    for commits in [false, true] {
        turn.begin(None, 0, 0);
        [1.0, 1.5, 1000.0, f64::NAN].into_iter().for_each(|value| turn.metric_observe("size".into(), value).unwrap());
        if commits {
            turn.commit().unwrap()
        } else {
            turn.abort()
        }
        assert_eq!(turn.log_lines().len(), 1, "NaN is not observed");
    }
    let histogram = &turn.metrics().histograms["size"];
    assert_eq!((histogram.count, histogram.sum), (3, 1002.5));
}

#[test]
fn a_metric_keeps_the_kind_of_its_first_call() {
    let mut turn = Turn::stateless(TurnContext::default());
    turn.begin(None, 0, 0);
    turn.metric_add("n".into(), 2).unwrap();
    turn.metric_set("n".into(), 7.0).unwrap();
    turn.commit().unwrap();
    turn.begin(None, 0, 0);
    turn.metric_observe("n".into(), 7.0).unwrap();
    assert_eq!(turn.log_lines()[0].message, "metric `n` was not changed: it is a counter, not a histogram");
    turn.metric_add("n".into(), 1).unwrap();
    turn.commit().unwrap();
    assert_eq!((turn.metrics().value("n"), turn.metrics().len()), (Some(3.0), 1));
}

#[test]
fn a_backtrace_of_a_guest_is_bounded_and_sanitized() {
    let mut turn = Turn::stateless(TurnContext::default());
    turn.begin(None, 0, 0);
    let frames = (0..100).map(|n| format!("frame {n}\n\u{1b}[2J{}", "x".repeat(10_000))).collect();
    turn.record_panic("why".into(), Some(3), frames);
    let panic = turn.take_panic().unwrap();
    assert_eq!((&panic.message[..], panic.backtrace.len()), ("why", BACKTRACE_FRAMES_MAX));
    assert!(panic.backtrace[1].starts_with("frame 1 \u{fffd}[2Jxxx"), "{}", panic.backtrace[1]);
    assert!(panic.backtrace.iter().all(|frame| frame.chars().count() == FRAME_CHARS_MAX));
    assert_eq!(turn.take_panic(), None);
}
