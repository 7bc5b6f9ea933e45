//! Runs the scenarios of the guest's functions in the harness. The expected results were computed by hand.

use super::*;
use cofferdam_sdk::testing::{Harness, IntervalJoinHarness, WindowHarness, Windows};

/// The key, value and time of the records for the tests of tumbling and sliding windows.
const A: [(&str, i64, i64); 8] = [
    ("key2", 1, 3999),
    ("key2", 1, 3000),
    ("key1", 1, 20),
    ("key1", 1, 0),
    ("key1", 1, 999),
    ("key2", 1, 1998),
    ("key2", 1, 1999),
    ("key2", 1, 1000),
];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn sums(windows: Windows) -> WindowHarness<Sum> {
    WindowHarness::new(windows)
}

fn push_all(harness: &mut WindowHarness<Sum>, records: &[(&str, i64, i64)]) -> Result {
    records.iter().try_for_each(|(key, value, time)| harness.push(key, format!("{key},{value}"), *time))
}

/// Returns the results up to a watermark as `KEY=SUM@TIMESTAMP`, and restores the harness from its snapshot.
fn up_to(harness: &mut WindowHarness<Sum>, windows: &Windows, watermark: i64) -> Result<String> {
    harness.advance_watermark(watermark)?;
    let sums = emitted(harness)?;
    *harness = WindowHarness::restore(windows.clone(), &harness.snapshot())?;
    Ok(sums)
}

fn emitted(harness: &mut WindowHarness<Sum>) -> Result<String> {
    let mut sums = Vec::new();
    for emitted in harness.take_emitted()? {
        let (key, sum) = (emitted.value.split(',').next(), emitted.value.rsplit(',').next());
        sums.push(format!("{}={}@{}", key.unwrap_or(""), sum.unwrap_or(""), emitted.timestamp.unwrap_or_default()));
    }
    sums.sort();
    Ok(sums.join(" "))
}

#[test]
fn tumbling_windows_fire_at_their_end() -> Result {
    let windows = Windows::tumbling(ms(3000));
    let mut harness = sums(windows.clone());
    push_all(&mut harness, &A)?;
    for (watermark, sums) in [
        (999, ""),
        (1999, ""),
        (2999, "key1=3@2999 key2=3@2999"),
        (3999, ""),
        (5999, "key2=2@5999"),
        (6999, ""),
        (7999, ""),
    ] {
        assert_eq!(up_to(&mut harness, &windows, watermark)?, sums, "at {watermark}");
    }
    assert_eq!(harness.open_windows(), 0);
    Ok(())
}

#[test]
fn sliding_windows_count_a_record_in_each_window() -> Result {
    let windows = Windows::sliding(ms(3000), ms(1000));
    let mut harness = sums(windows.clone());
    push_all(&mut harness, &A)?;
    for (watermark, sums) in [
        (999, "key1=3@999"),
        (1999, "key1=3@1999 key2=3@1999"),
        (2999, "key1=3@2999 key2=3@2999"),
        (3999, "key2=5@3999"),
        (4999, "key2=2@4999"),
        (5999, "key2=2@5999"),
        (6999, ""),
    ] {
        assert_eq!(up_to(&mut harness, &windows, watermark)?, sums, "at {watermark}");
    }
    Ok(())
}

#[test]
fn sessions_merge_and_end_after_the_gap() -> Result {
    let windows = Windows::session(ms(3000));
    let mut harness = sums(windows.clone());
    push_all(
        &mut harness,
        &[("key2", 1, 0), ("key2", 2, 1000), ("key2", 3, 2500), ("key1", 1, 10), ("key1", 2, 1000)],
    )?;
    let mut harness = WindowHarness::restore(windows.clone(), &harness.snapshot())?;
    let rest = [("key1", 3, 2500), ("key2", 4, 5501), ("key2", 5, 6000), ("key2", 5, 6000), ("key2", 6, 6050)];
    push_all(&mut harness, &rest)?;
    harness.advance_watermark(12_000)?;
    assert_eq!(harness.take_output()?, ["key1,10,5500,6", "key2,0,5500,6", "key2,5501,9050,20"]);
    push_all(&mut harness, &[("key2", 10, 15_000), ("key2", 20, 15_000)])?;
    harness.advance_watermark(17_999)?;
    assert_eq!(harness.take_output()?, ["key2,15000,18000,30"]);
    Ok(())
}

#[test]
fn windows_of_processing_time_use_the_wall_clock() -> Result {
    let mut harness = sums(Windows::tumbling(ms(3000)).processing_time());
    harness.advance_processing_time(3)?;
    push_all(
        &mut harness,
        &[("key2", 1, 0), ("key2", 1, 7000), ("key2", 1, 7000), ("key1", 1, 7000), ("key1", 1, 7000)],
    )?;
    harness.advance_processing_time(5000)?;
    assert_eq!(emitted(&mut harness)?, "key1=2@2999 key2=3@2999");
    push_all(&mut harness, &[("key1", 1, 7000), ("key1", 1, 7000), ("key1", 1, 7000)])?;
    harness.advance_processing_time(7000)?;
    assert_eq!(emitted(&mut harness)?, "key1=3@5999");
    Ok(())
}

#[test]
fn a_timer_can_be_deleted_before_it_fires() -> Result {
    let mut harness = Harness::<Conditional>::new();
    harness.advance_watermark(1)?;
    harness.push("17", "17,", 0)?;
    harness.push("13", "13,", 0)?;
    harness.advance_watermark(2)?;
    assert_eq!(harness.take_output()?, ["INPUT:17", "INPUT:13"]);
    let mut harness = Harness::<Conditional>::restore(&harness.snapshot())?;
    harness.push("42", "42,", 0)?;
    harness.push("13", "13,", 0)?;
    harness.advance_watermark(6)?;
    harness.advance_watermark(7)?;
    let emitted: Vec<_> = harness.take_emitted()?.into_iter().map(|e| (e.value, e.timestamp)).collect();
    let line = |line: &str, time| (line.to_owned(), Some(Timestamp::from(time)));
    assert_eq!(emitted, [line("INPUT:42", 0), line("STATE:17 at 6", 6), line("STATE:42 at 7", 7)]);
    Ok(())
}

#[test]
fn timers_of_both_clocks_fire() -> Result {
    let mut harness = Harness::<Timers>::new();
    for order in ["processing 3", "processing 5", "event 4", "event 6", "no-processing 3", "no-event 4"] {
        harness.push("k", format!("k,{order}"), 0)?;
    }
    let mut harness = Harness::<Timers>::restore(&harness.snapshot())?;
    harness.advance_processing_time(5)?;
    harness.advance_watermark(6)?;
    assert_eq!(harness.take_output()?, ["k,processing,5", "k,event,6"]);
    assert_eq!((harness.timers(TimeDomain::Event), harness.timers(TimeDomain::Processing)), (0, 0));
    Ok(())
}

#[test]
fn a_timer_can_delete_and_register_others() -> Result {
    let mut harness = Harness::<Timers>::new();
    for (key, order) in
        [("a", "event 10"), ("a", "event 25"), ("a", "deletes 10 25"), ("b", "event 5"), ("b", "repeats 6 23")]
    {
        harness.push(key, format!("{key},{order}"), 0)?;
    }
    harness.advance_watermark(30)?;
    assert_eq!(harness.take_output()?, ["b,event,5", "a,event,10", "b,event,11", "b,event,17", "b,event,23"]);
    Ok(())
}

#[test]
fn the_largest_record_of_a_session_is_emitted() -> Result {
    let mut harness = WindowHarness::<Largest>::new(Windows::session(ms(10)));
    for (record, time) in [("k,3", 0), ("k,8", 12), ("k,5", 6), ("k,8,second", 7)] {
        harness.push("k", record, time)?;
    }
    harness.advance_watermark(21)?;
    assert_eq!(harness.take_output()?, ["k,8"]);
    Ok(())
}

#[test]
fn a_window_has_its_own_state() -> Result {
    let windows = Windows::tumbling(ms(10)).allowed_lateness(ms(5));
    let mut harness = WindowHarness::<Elementwise>::new(windows.clone());
    for (value, time) in [(1, 3), (2, 1), (3, 12)] {
        harness.push("k", format!("k,{value}"), time)?;
    }
    harness.advance_watermark(9)?;
    let mut harness = WindowHarness::<Elementwise>::restore(windows, &harness.snapshot())?;
    harness.push("k", "k,4", 9)?;
    harness.push("k", "k,5", 9)?;
    assert_eq!(harness.take_output()?, ["k,0,10,2,1@3 2@1 4@9", "k,0,10,3,1@3 2@1 4@9 5@9"]);
    assert_eq!(harness.take_side_output(|function| &function.large)?, ["k,0,10,3,1@3 2@1 4@9 5@9"]);
    harness.advance_watermark(14)?;
    harness.push("k", "k,6", 9)?;
    assert_eq!(harness.take_late()?.iter().map(|late| late.value.as_str()).collect::<Vec<_>>(), ["k,6"]);
    harness.advance_watermark(19)?;
    assert_eq!(harness.take_output()?, ["k,10,20,1,3@12"], "each window has its own state");
    Ok(())
}

#[test]
fn a_session_has_its_elements_in_order_of_arrival() -> Result {
    let mut harness = WindowHarness::<Session>::new(Windows::session(ms(10)));
    for (value, time) in [(1, 0), (2, 15), (3, 8)] {
        harness.push("k", format!("k,{value}"), time)?;
    }
    harness.advance_watermark(100)?;
    assert_eq!(harness.take_output()?, ["k,0,25,1@0 2@15 3@8"]);
    Ok(())
}

#[test]
fn functions_of_two_inputs_get_the_records_of_both() -> Result {
    let mut both = Harness::<Both>::new();
    both.push_first("k", "k,a", 10)?;
    both.push_second("k", "k,b", 20)?;
    both.push_second("k", "k,b", 999)?;
    both.push_second("k", "k,b", 1000)?;
    both.advance_watermark(1999)?;
    assert_eq!(both.take_output()?, ["k,1000,1,2", "k,2000,0,1"]);

    let mut grouped = WindowHarness::<Grouped>::new(Windows::tumbling(ms(10)));
    let mut joined = WindowHarness::<Joined>::new(Windows::tumbling(ms(10)));
    let mut near = IntervalJoinHarness::<Near>::new(-2, 1);
    for (input, key, value, time) in
        [(1, "k", "a", 1), (2, "k", "x", 3), (2, "k", "y", 2), (1, "k", "b", 4), (1, "l", "c", 5), (2, "k", "z", 12)]
    {
        let record = format!("{key},{value}");
        if input == 1 {
            grouped.push_first(key, &record, time)?;
            joined.push_first(key, &record, time)?;
            near.push_first(key, &record, time)?;
        } else {
            grouped.push_second(key, &record, time)?;
            joined.push_second(key, &record, time)?;
            near.push_second(key, &record, time)?;
        }
    }
    grouped.advance_watermark(19)?;
    assert_eq!(grouped.take_output()?, ["k,0,10,a@1 b@4,x@3 y@2", "l,0,10,c@5,", "k,10,20,,z@12"]);
    joined.advance_watermark(19)?;
    assert_eq!(joined.take_output()?, ["k,a,x,9", "k,a,y,9", "k,b,x,9", "k,b,y,9"]);
    assert_eq!(near.take_output()?, ["k,a,y,2", "k,b,y,4", "k,b,x,4"]);
    Ok(())
}
