//! Tests of the watermark as state.

use super::*;
use crate::clock::SystemClock;
use crate::model::{NO_TIMESTAMP, TimeDomain};
use crate::pipeline::StateBackendKind;
use crate::state::{self, StateOptions};

#[test]
fn a_reset_watermark_does_not_return_with_the_next_snapshot() {
    let layout = timer_states(&[TimeDomain::Event]);
    let (kind, clock) = (StateBackendKind::Memory, SystemClock::shared());
    let options = StateOptions::empty(kind, Default::default(), layout.clone(), 4, clock);
    let backend = state::open(options).unwrap();
    let mut turn = Turn::stateful(TurnContext::default(), layout, backend).with_timers(0..4).unwrap();
    turn.persist_watermark(i64::MAX).unwrap();
    turn.restore_watermarks(0..4).unwrap();
    assert_eq!(turn.context.watermark, i64::MAX);
    turn.reset_watermark().unwrap();
    // A snapshot before the first watermark of the new input writes no watermark.
    turn.persist_watermark(NO_TIMESTAMP).unwrap();
    turn.restore_watermarks(0..4).unwrap();
    assert_eq!(turn.context.watermark, NO_TIMESTAMP);
}
