//! The scenarios of the guest's functions in the harness, with what they give worked out by hand.

use super::*;
use cofferdam_sdk::testing::{Harness, IntervalJoinHarness, WindowHarness, Windows};

#[test]
fn conditional_timers() -> Result {
    let mut harness = Harness::<Conditional>::new();
    harness.advance_watermark(1)?;
    harness.push("17", "17,", 0)?;
    harness.push("13", "13,", 0)?;
    harness.advance_watermark(2)?;
    let mut harness = Harness::<Conditional>::restore(&harness.snapshot())?;
    harness.push("42", "42,", 0)?;
    harness.push("13", "13,", 0)?;
    harness.advance_watermark(6)?;
    harness.advance_watermark(7)?;
    let emitted: Vec<_> = harness.take_emitted()?.into_iter().map(|e| (e.value, e.timestamp)).collect();
    let state = |line: &str, time| (line.to_owned(), Some(time));
    assert_eq!(emitted, [state("INPUT:42", 0), state("STATE:17 at 6", 6), state("STATE:42 at 7", 7)]);
    Ok(())
}
