//! Tests of broadcast state in turns.

use super::*;
use crate::error::Result;
use crate::model::Column;
use crate::state::{BroadcastState, StateDescription, StateForm, StateId, StateKind, StateMigrator, StoredValues};

/// A function without older forms.
struct NoMigration;

impl StateMigrator for NoMigration {
    fn migrate(&mut self, _: StateId, _: &StateForm, stored: &StoredValues) -> Result<Column> {
        Ok(stored.values.clone())
    }
}

/// Returns a turn with one broadcast state and no keyed state.
fn turn() -> Turn {
    let rules = StateDescription::new("rules", StateKind::Broadcast, "raw", "text");
    let state = BroadcastState::open(vec![rules], None, false, &mut NoMigration).unwrap();
    let mut turn = Turn::stateless(TurnContext::default()).with_broadcast(state);
    begin(&mut turn, true);
    turn
}

fn begin(turn: &mut Turn, is_writable: bool) {
    turn.begin(None, 0, 0);
    turn.allow_broadcast_writes(is_writable);
}

fn put(turn: &mut Turn, sub_key: &str, value: &str) {
    turn.broadcast_put(0, sub_key.into(), value.into()).unwrap();
}

fn all(turn: &mut Turn) -> String {
    let entries = turn.broadcast_scan(0, None, u32::MAX).unwrap();
    let text = |(key, value)| [key, b"=".to_vec(), value, b" ".to_vec()].concat();
    String::from_utf8(entries.into_iter().flat_map(text).collect()).unwrap()
}

fn column(values: &[&str]) -> Column {
    values.iter().map(|value| value.as_bytes()).collect()
}

#[test]
fn a_turn_reads_its_own_writes_and_an_abort_discards_them() {
    let mut turn = turn();
    put(&mut turn, "b", "1");
    turn.broadcast_store(0, &column(&["a", "c"]), &column(&["2", "3"])).unwrap();
    turn.broadcast_remove(0, &column(&["c", "z"])).unwrap();
    assert_eq!(all(&mut turn), "a=2 b=1 ");
    turn.commit().unwrap();
    begin(&mut turn, true);
    put(&mut turn, "b", "4");
    turn.broadcast_remove(0, &column(&["a"])).unwrap();
    assert_eq!((all(&mut turn), turn.broadcast_get(0, b"a").unwrap()), ("b=4 ".into(), None));
    let loaded = turn.broadcast_load(0, &column(&["b", "a"])).unwrap();
    assert_eq!((loaded.present, loaded.values.bytes()), (vec![true, false], &b"4"[..]));
    turn.abort();
    assert_eq!(all(&mut turn), "a=2 b=1 ");
    begin(&mut turn, true);
    turn.broadcast_clear(0).unwrap();
    assert_eq!((all(&mut turn), turn.broadcast_get(0, b"b").unwrap()), (String::new(), None));
    put(&mut turn, "x", "5");
    turn.commit().unwrap();
    begin(&mut turn, true);
    assert_eq!(all(&mut turn), "x=5 ");
}

#[test]
fn a_scan_continues_after_the_given_sub_key() {
    let mut turn = turn();
    ["d", "a", "c"].iter().for_each(|key| put(&mut turn, key, ""));
    turn.commit().unwrap();
    begin(&mut turn, true);
    put(&mut turn, "b", "");
    let keys = |turn: &mut Turn, after: Option<&[u8]>, limit| {
        turn.broadcast_scan(0, after, limit).unwrap().into_iter().flat_map(|(key, _)| key).collect::<Vec<u8>>()
    };
    assert_eq!(keys(&mut turn, None, 3), b"abc");
    assert_eq!(keys(&mut turn, Some(b"c"), 3), b"d");
    assert_eq!(keys(&mut turn, Some(b"bb"), 1), b"c");
    assert_eq!(keys(&mut turn, None, 0), b"");
}

#[test]
fn turns_of_other_inputs_cannot_write() {
    let mut turn = turn();
    // A turn of timers, after a turn that was allowed to write.
    turn.begin(None, 0, 0);
    let refused = [
        turn.broadcast_put(0, vec![], vec![]),
        turn.broadcast_store(0, &column(&["a"]), &column(&["1"])),
        turn.broadcast_remove(0, &column(&["a"])),
        turn.broadcast_clear(0),
    ];
    for refusal in refused {
        let refusal = refusal.unwrap_err();
        assert!(matches!(&refusal, HostCallError::InvalidCall(why) if why.contains("`rules`")), "{refusal}");
    }
    assert!(turn.broadcast_get(1, b"").is_err());
    begin(&mut turn, true);
    assert!(turn.broadcast_store(0, &column(&["a"]), &column(&[])).is_err());
    turn.set_limits(TurnLimits { state_per_turn: 40, ..TurnLimits::default() });
    begin(&mut turn, true);
    let refusal = turn.broadcast_put(0, vec![0; 20], vec![0; 20]).unwrap_err();
    assert!(matches!(refusal, HostCallError::LimitExceeded(_)));
}
