//! The meaning of `window`, `trigger`, `evictor` and `aggregate`, and the errors for mistakes in them.

use super::{
    Aggregate, Evictor, KeySelector, NodeKind, NumericAggregate, OperatorNode, PipelineSpec, RetainedElements,
    WindowAssigner, WindowSettings, WindowTrigger,
};
use crate::error::{Error, Result};
use crate::model::TimeDomain;

/// Parses a pipeline whose operator contains these lines, from line 5 on.
fn operator(lines: &str) -> Result<OperatorNode> {
    let text = format!(
        "name = \"p\"\n[source.numbers]\nconnector = \"generator\"\n[operator.op]\n{lines}\ninput = \"numbers\"\n\
         [sink.out]\ninput = \"op\"\nconnector = \"blackhole\"\n"
    );
    let pipeline = PipelineSpec::parse(&text, "pipeline.toml")?;
    let operator = pipeline.nodes.into_iter().find_map(|node| match node.kind {
        NodeKind::Operator(operator) => Some(operator),
        _ => None,
    });
    Ok(operator.unwrap())
}

const FUNCTION: &str = "key = \"value\"\ncomponent = \"c\"\nfunction = \"f\"";

fn windows(lines: &str) -> WindowSettings {
    operator(&format!("{lines}\n{FUNCTION}")).unwrap().windows.unwrap()
}

fn refused(lines: &str) -> Error {
    let error = operator(lines).unwrap_err();
    assert_eq!(error.location.as_ref().unwrap().line, 5, "{error}");
    error
}

#[test]
fn every_type_of_window_has_its_defaults() {
    let of = |assigner, time| WindowSettings::new(assigner, time);
    let tumbling = WindowAssigner::Tumbling { size_ms: 3000, offset_ms: 0 };
    assert_eq!(windows("window = { type = \"tumbling\", size = \"3s\" }"), of(tumbling, TimeDomain::Event));
    let sliding = WindowAssigner::Sliding { size_ms: 60_000, slide_ms: 1000, offset_ms: -500 };
    let written =
        "window = { type = \"sliding\", size = \"1min\", slide = \"1s\", offset = \"-500ms\", time = \"processing\" }";
    let expected = of(sliding, TimeDomain::Processing);
    assert_eq!(expected.trigger, WindowTrigger::ProcessingTime);
    assert_eq!(windows(written), expected);
    let session = of(WindowAssigner::Session { gap_ms: 5 }, TimeDomain::Event);
    let session = WindowSettings { allowed_lateness_ms: 2000, ..session };
    assert_eq!(windows("window = { type = \"session\", gap = \"5ms\", allowed_lateness = \"2s\" }"), session);
    assert_eq!(operator(FUNCTION).unwrap().windows, None);
}

#[test]
fn triggers_and_evictors_are_read() {
    let global = |more: &str| windows(&format!("window = {{ type = \"global\" }}\n{more}"));
    let count = global("trigger = { type = \"count\", count = 7, purge = true }");
    assert_eq!((count.trigger, count.purge), (WindowTrigger::Count { records: 7 }, true));
    let continuous = global("trigger = { type = \"continuous\", interval = \"2s\" }");
    assert_eq!(continuous.trigger, WindowTrigger::Continuous { interval_ms: 2000 });
    let evictor = |text: &str| {
        windows(&format!("window = {{ type = \"session\", gap = \"1s\" }}\nevictor = {text}")).evictor.unwrap()
    };
    let by_count = evictor("{ type = \"count\", keep = 3 }");
    assert_eq!(by_count, Evictor { keeps: RetainedElements::Count(3), after: false });
    let by_time = evictor("{ type = \"time\", keep = \"5s\", after = true }");
    assert_eq!(by_time, Evictor { keeps: RetainedElements::TimeMs(5000), after: true });
}

#[test]
fn an_aggregate_replaces_a_function() {
    let aggregate = |text: &str| {
        let lines = format!("window = {{ type = \"tumbling\", size = \"1s\" }}\naggregate = {text}\nkey = \"value\"");
        let operator = operator(&lines).unwrap();
        assert_eq!(operator.function, None);
        operator.windows.unwrap().aggregate.unwrap()
    };
    assert_eq!(aggregate("{ type = \"count\" }"), Aggregate::Count);
    let of = |what, field| Aggregate::Numeric { function: what, field };
    let field = || KeySelector::Field("x".into());
    assert_eq!(aggregate("{ type = \"average\", field = \"x\" }"), of(NumericAggregate::Average, field()));
    assert_eq!(aggregate("{ type = \"min\", column = 2 }"), of(NumericAggregate::Min, KeySelector::Column(2)));
    assert_eq!(aggregate("{ type = \"top\", field = \"x\", n = 3 }"), of(NumericAggregate::Top(3), field()));
}

#[test]
fn a_contradiction_is_reported_at_its_line() {
    for (line, part) in [
        ("window = { type = \"global\" }", "never fires without a `trigger`"),
        ("window = { type = \"tumbling\" }", "needs the key `size`"),
        ("window = { type = \"tumbling\", size = \"0s\" }", "must be 1ms or more"),
        ("window = { type = \"tumbling\", size = \"1M\" }", "`M` is not a unit; did you mean `min`?"),
        ("window = { type = \"tumbling\", size = \"1s\", offset = \"-1M\" }", "`M` is not a unit"),
        ("window = { type = \"tumbling\", size = \"1500us\" }", "must be whole milliseconds"),
        ("window = { type = \"tumbling\", size = \"1s\", slide = \"1s\" }", "no key `slide`"),
        ("window = { type = \"session\", gap = \"1s\", size = \"1s\" }", "no key `size`"),
        ("window = { type = \"sliding\", size = \"1s\", slide = \"1s\", offset = \"-1s\" }", "smaller than the time"),
        ("window = { type = \"sliding\", size = \"1000000s\", slide = \"1ms\" }", "more than 100000 windows"),
        (
            "window = { type = \"tumbling\", size = \"1s\", time = \"processing\", allowed_lateness = \"1s\" }",
            "has no effect with time",
        ),
        ("trigger = { type = \"count\", count = 1 }", "has no effect without a `window`"),
        ("aggregate = { type = \"count\" }", "has no effect without a `window`"),
        ("window = \"tumbling\"", "must be a table"),
        ("window = { type = \"hopping\" }", "cannot be `hopping`"),
    ] {
        let error = refused(&format!("{line}\n{FUNCTION}"));
        assert!(error.message.contains(part), "{line}: {}", error.message);
    }
    let tumbling = "\nwindow = { type = \"tumbling\", size = \"1s\" }\n";
    let processing = "\nwindow = { type = \"tumbling\", size = \"1s\", time = \"processing\" }\n";
    for (line, rest, part) in [
        (
            "component = \"c\"",
            format!("{tumbling}key = \"value\"\naggregate = {{ type = \"count\" }}"),
            "needs no function",
        ),
        ("trigger = { type = \"count\", count = 0 }", format!("{tumbling}{FUNCTION}"), "must be between 1 and"),
        ("trigger = { type = \"event-time\" }", format!("{processing}{FUNCTION}"), "windows in processing time"),
        ("trigger = { type = \"event-time\", count = 3 }", format!("{tumbling}{FUNCTION}"), "no key `count`"),
        ("evictor = { type = \"time\", keep = 3 }", format!("{tumbling}{FUNCTION}"), "must be a duration"),
        ("aggregate = { type = \"sum\" }", format!("{tumbling}key = \"value\""), "needs either `field` or `column`"),
        ("aggregate = { type = \"top\", field = \"x\" }", format!("{tumbling}key = \"value\""), "needs the key `n`"),
        ("aggregate = { type = \"count\", field = \"x\" }", format!("{tumbling}key = \"value\""), "no key `field`"),
    ] {
        let error = refused(&format!("{line}{rest}"));
        assert!(error.message.contains(part), "{line}: {}", error.message);
    }
    let keyless = operator("window = { type = \"tumbling\", size = \"1s\" }\ncomponent = \"c\"\nfunction = \"f\"");
    assert_eq!(keyless.unwrap_err().code, "manifest-key");
}
