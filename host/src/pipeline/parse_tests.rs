//! Every mistake is reported with its code, its location and a hint. No text causes a panic.

use std::time::Duration;

use proptest::prelude::*;

use super::toml_reader::LOCATIONS_COMPUTED;
use super::*;
use crate::error::Error;

/// Uses every setting, except those of other connectors and those that contradict each other.
const FULL: &str = r#"name = "late-flights"
parallelism = 2
max_parallelism = 16
seed = 7

[batch]
records = 500
bytes = "256KiB"
linger = "0s"

[checkpoint]
interval = "1s"
records = 10_000
retained = 5
tolerable_failures = 2
timeout = "30s"
storage = "checkpoints"

[restart]
strategy = "fixed-delay"
attempts = 5
delay = "200ms"

[state]
backend = "rocksdb"

[sandbox]
fresh_instance = true

[sink.delays]
inputs = ["track", "track.late"]
connector = "file"
path = "out/delays"
parallelism = 1

[operator.track]
input = "flights"
key = { field = "tailnum" }
component = "delay-tracker@1"
function = "track"
on_fault = "dead-letter"
limits = { memory = "32MiB", deadline = "200ms", output = 1_048_576 }
config = { threshold = 0x1F, ratio = 0.5, loud = true, word = "x" }
parallelism = 4

[sink.bad]
input = "track.dead-letter"
connector = "stdout"

[source.flights]
connector = "file"
path = "data/flights.csv"
format = "csv"
header = true
timestamp = { field = "time_hour", format = "rfc3339" }
watermark = { out_of_orderness = "5s" }
rate = 1000
parallelism = 3
"#;

const SMALL: &str = r#"name = "small"

[source.numbers]
connector = "generator"

[operator.double]
input = "numbers"
component = "double.wasm"
function = "double"

[sink.out]
input = "double"
connector = "blackhole"
"#;

fn parse(text: &str) -> Result<PipelineSpec, Error> {
    PipelineSpec::parse(text, "p.toml")
}

/// Replaces the only `from` in `text`, and asserts that the result is rejected with `code` at `line`.
#[track_caller]
fn refused(text: &str, from: &str, to: &str, code: &str, line: usize) -> Error {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must occur once");
    let error = parse(&text.replacen(from, to, 1)).expect_err("it must be rejected");
    let location = error.location.clone().expect("it must have a location");
    assert_eq!((error.code, location.line, location.file.as_str()), (code, line, "p.toml"), "{error}");
    error
}

fn read(node: usize, port: OutputPort) -> NodeInput {
    NodeInput { node, port, role: InputRole::First }
}

#[test]
fn every_setting_is_read() {
    let pipeline = parse(FULL).unwrap();
    assert_eq!((pipeline.name.as_str(), pipeline.parallelism, pipeline.max_parallelism), ("late-flights", 2, 16));
    assert_eq!(pipeline.seed, Some(7));
    assert_eq!(
        pipeline.batch,
        BatchSettings { records: 500, bytes: 256 << 10, linger: Duration::ZERO, ..BatchSettings::default() }
    );
    assert_eq!(
        pipeline.checkpoint,
        CheckpointSettings {
            interval: Some(Duration::from_secs(1)),
            records: Some(10_000),
            retained: 5,
            tolerable_failures: 2,
            timeout: Duration::from_secs(30),
            publish_timeout: Duration::from_mins(1),
            storage: Some("checkpoints".into()),
            ..parse(SMALL).unwrap().checkpoint
        }
    );
    let limit = FailureLimit { failures: 5, interval: Duration::from_secs(3601) };
    assert_eq!(pipeline.restart, RestartStrategy::FixedDelay { limit, delay: Duration::from_millis(200) });
    assert_eq!(pipeline.state.backend, StateBackendKind::RocksDb);
    assert!(pipeline.sandbox.fresh_instance);

    let shape: Vec<_> = pipeline.nodes.iter().map(|node| (node.id.as_str(), node.parallelism)).collect();
    assert_eq!(shape, [("flights", 3), ("track", 4), ("delays", 1), ("bad", 2)]);
    let NodeKind::Source(source) = &pipeline.nodes[0].kind else { panic!("not a source") };
    assert_eq!(
        format!("{:?}", source.connector),
        "FileSourceSpec { path: \"data/flights.csv\", format: Csv, header: true }"
    );
    let at = KeySelector::Field("time_hour".into());
    let selector = TimestampSelector { at, format: TimestampFormat::Rfc3339, zone: None };
    assert_eq!(source.timestamp, Some(SourceTimestamp::Field(selector)));
    let out_of_orderness = Duration::from_secs(5);
    assert_eq!(source.watermark, Some(WatermarkSettings { out_of_orderness, ..WatermarkSettings::default() }));
    assert_eq!(source.rate, Some(1_000_000), "in records per 1000 seconds");

    let track = &pipeline.nodes[1];
    assert_eq!(track.inputs, [read(0, OutputPort::Main)]);
    assert_eq!(track.key, Some(KeySelector::Field("tailnum".into())));
    let NodeKind::Operator(operator) = &track.kind else { panic!("not an operator") };
    let function = operator.function.as_ref().unwrap();
    assert_eq!((function.component.as_str(), function.name.as_str()), ("delay-tracker@1", "track"));
    assert_eq!(operator.on_fault, FaultPolicy::DeadLetter);
    let limits = GuestLimits { memory_bytes: 32 << 20, deadline: Duration::from_millis(200), output_bytes: 1 << 20 };
    assert_eq!(operator.limits.guest(), limits);
    let config: Vec<_> = operator.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(config, [("loud", "true"), ("ratio", "0.5"), ("threshold", "31"), ("word", "x")]);
    let side = OutputPort::Side("late".into());
    assert_eq!(pipeline.nodes[2].inputs, [read(1, OutputPort::Main), read(1, side)]);
    assert_eq!(pipeline.nodes[3].inputs, [read(1, OutputPort::DeadLetter)]);
}

#[test]
fn every_setting_of_checkpoints_is_read() {
    let with = |settings: &str| FULL.replace("interval = \"1s\"\n", &format!("{settings}\n"));
    let read = |settings: &str| parse(&with(settings)).unwrap().checkpoint;
    let settings = read("event_time = \"1h\"\nmin_pause = \"2s\"\nunaligned_after = \"0s\"\non_cancel = \"keep\"");
    assert_eq!(settings.event_time, Some(Duration::from_hours(1)));
    assert_eq!((settings.min_pause, settings.unaligned_after), (Duration::from_secs(2), Some(Duration::ZERO)));
    assert_eq!((settings.on_cancel, settings.is_periodic()), (CheckpointCleanup::Keep, true));
    let settings = read("max_concurrent = 3\nmode = \"at-least-once\"");
    assert_eq!((settings.max_concurrent, settings.mode), (3, CheckpointMode::AtLeastOnce));

    for (settings, line) in [
        ("max_concurrent = 0", 12),
        ("mode = \"at-most-once\"", 12),
        ("event_time = \"0s\"", 12),
        ("on_cancel = \"maybe\"", 12),
        ("max_concurrent = 2\nmin_pause = \"1s\"", 13),
        ("max_concurrent = 2\nunaligned_after = \"1s\"", 13),
        ("mode = \"at-least-once\"\nunaligned_after = \"1s\"", 13),
    ] {
        refused(&with(settings), "[checkpoint]", "[checkpoint]", "manifest-invalid", line);
    }
    let watermark = "watermark = { out_of_orderness = \"5s\" }\n";
    assert!(FULL.contains(watermark));
    let error = refused(&with("event_time = \"1h\""), watermark, "", "manifest-invalid", 12);
    assert!(error.message.contains("`flights`"), "{}", error.message);
}

#[test]
fn every_form_of_watermark_is_read() {
    let written = "watermark = { out_of_orderness = \"5s\" }";
    let read = |watermark: &str| match parse(&FULL.replace(written, watermark)).unwrap().nodes.swap_remove(0).kind {
        NodeKind::Source(source) => source.watermark,
        _ => panic!("not a source"),
    };
    assert_eq!(read("watermark = \"ascending\""), Some(WatermarkSettings::default()));
    assert_eq!((read("watermark = \"none\""), read("")), (None, None));
    let all = "watermark = { out_of_orderness = \"5s\", idle_after = \"30s\", \
               alignment = { group = \"g\", max_drift = \"1min\" } }";
    let settings = WatermarkSettings {
        out_of_orderness: Duration::from_secs(5),
        idle_after: Some(Duration::from_secs(30)),
        alignment: Some(AlignmentSettings { group: "g".into(), max_drift: Duration::from_mins(1) }),
    };
    assert_eq!(read(all), Some(settings));

    let line = FULL.lines().position(|line| line == written).unwrap() + 1;
    for (watermark, code) in [
        ("\"descending\"", "manifest-invalid"),
        ("5", "manifest-invalid"),
        ("{ idle_after = \"30s\" }", "manifest-invalid"),
        ("{ out_of_orderness = \"5s\", idle_after = \"0s\" }", "manifest-invalid"),
        ("{ out_of_orderness = \"5s\", idle = \"1s\" }", "manifest-unknown-key"),
        ("{ out_of_orderness = \"5s\", alignment = \"g\" }", "manifest-invalid"),
        ("{ out_of_orderness = \"5s\", alignment = { group = \"g\" } }", "manifest-invalid"),
        ("{ out_of_orderness = \"5s\", alignment = { group = \"\", max_drift = \"1s\" } }", "manifest-invalid"),
        ("{ out_of_orderness = \"5s\", alignment = { group = \"g\", drift = \"1s\" } }", "manifest-unknown-key"),
    ] {
        refused(FULL, written, &format!("watermark = {watermark}"), code, line);
    }
    let error = refused(FULL, written, "watermark = \"no\"", "manifest-invalid", line);
    assert!(error.hint.is_some_and(|hint| hint.contains("out_of_orderness")));
    let timestamp = "timestamp = { field = \"time_hour\", format = \"rfc3339\" }\n";
    let error = refused(&FULL.replace(timestamp, ""), written, all, "manifest-invalid", line - 1);
    assert!(error.message.contains("`timestamp`"), "{error}");
    let periodic = FULL.replace("interval = \"1s\"\n", "event_time = \"1h\"\n");
    refused(&periodic, written, "watermark = \"none\"", "manifest-invalid", 12);
}

#[test]
fn defaults_equal_those_of_the_documentation() {
    let pipeline = parse(SMALL).unwrap();
    assert_eq!((pipeline.parallelism, pipeline.max_parallelism, pipeline.seed), (1, 128, None));
    assert_eq!(
        pipeline.batch,
        BatchSettings { records: 1024, bytes: 1 << 20, linger: Duration::from_millis(10), ..BatchSettings::default() }
    );
    assert_eq!(
        pipeline.checkpoint,
        CheckpointSettings {
            interval: None,
            records: None,
            event_time: None,
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            mode: CheckpointMode::ExactlyOnce,
            unaligned_after: None,
            on_cancel: CheckpointCleanup::Delete,
            retained: 3,
            tolerable_failures: 0,
            timeout: Duration::from_secs(600),
            publish_timeout: Duration::from_mins(1),
            storage: None,
        }
    );
    let limit = FailureLimit { failures: 3, interval: Duration::from_secs(3603) };
    assert_eq!(pipeline.restart, RestartStrategy::FixedDelay { limit, delay: Duration::from_secs(1) });
    assert_eq!(pipeline.state.backend, StateBackendKind::Memory);
    assert!(!pipeline.sandbox.fresh_instance);
    let NodeKind::Source(source) = &pipeline.nodes[0].kind else { panic!("not a source") };
    assert_eq!(
        format!("{:?}", source.connector),
        "GeneratorSpec { records: None, template: \"{n}\", keys: 100, format: Csv }"
    );
    let NodeKind::Operator(operator) = &pipeline.nodes[1].kind else { panic!("not an operator") };
    assert_eq!((operator.on_fault, operator.limits.guest()), (FaultPolicy::Fail, GuestLimits::default()));
    let none =
        parse(&SMALL.replace("\n[source", "restart = { strategy = \"none\" }\nparallelism = 200\n[source")).unwrap();
    assert_eq!((none.restart, none.max_parallelism), (RestartStrategy::None, 512));
    for (key, selector) in [
        ("\"value\"", KeySelector::Value),
        ("{ column = 0 }", KeySelector::Column(0)),
        ("{ field = \"a.b\" }", KeySelector::Field("a.b".into())),
        ("{ fields = [\"a\", \"b.c\"] }", KeySelector::Fields(vec!["a".into(), "b.c".into()])),
    ] {
        let text = SMALL.replace("\"generator\"", "\"generator\"\nformat = \"ndjson\"");
        let text = if key.contains("column") { SMALL } else { &text };
        let keyed = parse(&text.replace("function =", &format!("key = {key}\nfunction ="))).unwrap();
        assert_eq!(keyed.nodes[1].key, Some(selector));
    }
}

#[test]
fn syntax_errors_and_unknown_keys_are_reported() {
    refused(SMALL, "name = \"small\"", "name = ", "manifest-syntax", 1);
    refused(
        SMALL,
        "connector = \"generator\"",
        "connector = \"generator\"\nconnector = \"file\"",
        "manifest-syntax",
        5,
    );
    let error = refused(FULL, "out_of_orderness", "out_of_ordernes", "manifest-unknown-key", 56);
    assert!(error.hint.unwrap().contains("did you mean `out_of_orderness`?"));
    let error = refused(FULL, "format = \"csv\"", "fromat = \"csv\"", "manifest-unknown-key", 53);
    assert_eq!(error.location.unwrap().column, 1);
    assert!(error.message.contains("[source.flights]") && error.hint.unwrap().contains("`format`"));
    assert!(
        refused(FULL, "[checkpoint]", "[checkpoints]", "manifest-unknown-key", 11)
            .hint
            .unwrap()
            .contains("`checkpoint`?")
    );
    refused(FULL, "backend =", "back =", "manifest-unknown-key", 25);
    refused(FULL, "memory =", "mem =", "manifest-unknown-key", 42);
    // A setting of another connector is reported as such.
    let error = refused(SMALL, "\"generator\"", "\"generator\"\npath = \"x\"", "manifest-unknown-key", 5);
    assert!(error.message.contains("connector = \"generator\""));
    refused(SMALL, "\"blackhole\"", "\"blackhole\"\npath = \"x\"", "manifest-unknown-key", 14);
    // The misspelled key is reported, not the key that is missing because of it.
    refused(SMALL, "connector = \"generator\"", "conector = \"generator\"", "manifest-unknown-key", 4);
}

#[test]
fn values_out_of_bounds_are_rejected() {
    for (from, to, line) in [
        ("records = 500", "records = 0", 7),
        ("\"256KiB\"", "0", 8),
        ("\"256KiB\"", "\"2GiB\"", 8),
        ("\"256KiB\"", "\"many\"", 8),
        ("linger = \"0s\"", "linger = 10", 9),
        ("interval = \"1s\"", "interval = \"0s\"", 12),
        ("interval = \"1s\"", "interval = \"soon\"", 12),
        ("10_000", "0", 13),
        ("retained = 5", "retained = 0", 14),
        ("tolerable_failures = 2", "tolerable_failures = -1", 15),
        ("timeout = \"30s\"", "timeout = \"0s\"", 16),
        ("\"checkpoints\"", "\"\"", 17),
        ("fixed-delay", "exponential", 20),
        ("fixed-delay", "none", 21),
        ("attempts = 5", "attempts = 0", 21),
        ("attempts = 5", "attempts = 10001", 21),
        ("attempts = 5", "failures = 5", 21),
        ("attempts = 5", "interval = \"600ms\"", 21),
        ("delay = \"200ms\"", "delay = \"0s\"", 22),
        ("\"rocksdb\"", "\"redis\"", 25),
        ("fresh_instance = true", "fresh_instance = 1", 28),
        ("deadline = \"200ms\"", "deadline = \"0s\"", 42),
        ("\"32MiB\"", "\"1KiB\"", 42),
        ("1_048_576", "0", 42),
        ("0x1F", "[1]", 43),
        ("on_fault = \"dead-letter\"", "on_fault = \"retry\"", 41),
        ("rate = 1000", "rate = 0", 57),
        ("header = true", "header = \"yes\"", 54),
        ("\"csv\"", "\"xml\"", 53),
        ("\"rfc3339\"", "\"iso\"", 55),
        ("\"rfc3339\"", "\"%Q\"", 55),
        ("\"rfc3339\"", "\"%H:%M\"", 55),
        ("\"rfc3339\"", "\"unix-ms\", zone = \"UTC\"", 55),
        ("seed = 7", "seed = -7", 4),
        ("\"late-flights\"", "\"Late Flights\"", 1),
        ("\"late-flights\"", "\"\"", 1),
        ("\"delay-tracker@1\"", "\"\"", 39),
    ] {
        refused(FULL, from, to, "manifest-invalid", line);
    }
    refused(SMALL, "\"generator\"", "\"generator\"\nkeys = 0", "manifest-invalid", 5);
    refused(SMALL, "\"generator\"", "\"socket\"\naddress = \"localhost\"", "manifest-invalid", 5);
    refused(SMALL, "\"generator\"", "\"socket\"", "manifest-invalid", 3);
    refused(SMALL, "name = \"small\"\n", "", "manifest-invalid", 1);
    let name = "name = \"small\"\n";
    for (settings, line) in [
        ("strategy = \"failure-rate\"\nfailures = 100", 4),
        ("strategy = \"failure-rate\"\ninitial = \"1s\"", 4),
        ("strategy = \"exponential-delay\"\nmultiplier = 0.9", 4),
        ("strategy = \"exponential-delay\"\njitter = 1.5", 4),
        ("strategy = \"exponential-delay\"\ndelay = \"1s\"", 4),
        ("strategy = \"exponential-delay\"\nmaximum = \"1ms\"", 4),
        ("strategy = \"exponential-delay\"\ninitial = \"1us\"", 4),
    ] {
        refused(SMALL, name, &format!("{name}[restart]\n{settings}\n"), "manifest-invalid", line);
    }
    let injected = |count: &str| format!("{name}[fault_injection]\n{count}\n");
    assert_eq!(
        parse(&SMALL.replace(name, &injected("after_checkpoints = 2"))).unwrap().fault_injection.after_checkpoints,
        Some(2)
    );
    refused(SMALL, name, &injected("after_checkpoints = 0"), "manifest-invalid", 3);
    let failures = |failure: &str| injected(&format!("failures = [{{ {failure} }}]"));
    let parsed = parse(&SMALL.replace(name, &failures("at = \"close\", node = \"numbers\", after = 3"))).unwrap();
    assert_eq!(
        parsed.fault_injection.failures,
        [InjectedFailure { step: InjectionStep::Close, node: "numbers".into(), subtask: 0, after: 3, checkpoints: 0 }]
    );
    for failure in ["at = \"night\", node = \"numbers\"", "at = \"close\", node = \"nobody\"", "at = \"close\""] {
        refused(SMALL, name, &failures(failure), "manifest-invalid", 3);
    }
    refused(SMALL, name, &injected("failures = 3"), "manifest-invalid", 3);
    refused(SMALL, name, &injected(""), "manifest-invalid", 2);
    refused(SMALL, name, &injected("after_records = 1"), "manifest-unknown-key", 3);
    refused(SMALL, "connector = \"generator\"", "", "manifest-invalid", 3);
    refused(SMALL, "input = \"numbers\"", "input = []", "manifest-invalid", 7);
    refused(SMALL, "input = \"numbers\"", "input = [\"numbers\", \"numbers\"]", "manifest-invalid", 7);
    refused(SMALL, "input = \"numbers\"", "input = \"numbers\"\ninputs = \"numbers\"", "manifest-invalid", 8);
    refused(SMALL, "function = \"double\"", "", "manifest-invalid", 6);
}

#[test]
fn parallelism_must_be_within_bounds() {
    refused(FULL, "parallelism = 2", "parallelism = 0", "manifest-parallelism", 2);
    refused(FULL, "parallelism = 2", "parallelism = 17", "manifest-parallelism", 2);
    refused(FULL, "parallelism = 4", "parallelism = 17", "manifest-parallelism", 44);
    refused(FULL, "parallelism = 4", "parallelism = 4294967297", "manifest-parallelism", 44);
    refused(FULL, "max_parallelism = 16", "max_parallelism = 32769", "manifest-parallelism", 3);
    refused(FULL, "max_parallelism = 16", "max_parallelism = 3", "manifest-parallelism", 44);
    assert_eq!(parse(&FULL.replace("max_parallelism = 16", "")).unwrap().max_parallelism, 128);
}

#[test]
fn impossible_keys_are_rejected() {
    let field = "{ field = \"tailnum\" }";
    for (from, to, line) in [
        (field, "\"everything\"", 38),
        (field, "{}", 38),
        (field, "{ field = \"a\", column = 1 }", 38),
        (field, "{ column = -1 }", 38),
        (field, "{ fields = [\"a\"], field = \"a\" }", 38),
        (field, "\"emitted\"", 38),
        ("{ field = \"time_hour\",", "{", 55),
        ("header = true", "header = false", 55),
        ("format = \"csv\"\nheader = true", "format = \"lines\"", 54),
        ("format = \"csv\"\nheader = true", "format = \"raw\"", 54),
    ] {
        refused(FULL, from, to, "manifest-key", line);
    }
    let untimed = FULL.replace("timestamp = { field = \"time_hour\", format = \"rfc3339\" }\n", "");
    refused(&untimed, "header = true", "header = false", "manifest-key", 38);
    refused(&untimed, "format = \"csv\"\nheader = true", "format = \"lines\"", "manifest-key", 38);
}

#[test]
fn inputs_must_exist_and_form_no_cycle() {
    let error = refused(SMALL, "input = \"numbers\"", "input = \"number\"", "manifest-unknown-input", 7);
    assert!(error.hint.unwrap().starts_with("did you mean `numbers`? the nodes are `numbers`, `double`"));
    refused(SMALL, "input = \"numbers\"", "input = \"numbers.late\"", "manifest-unknown-input", 7);
    refused(SMALL, "input = \"numbers\"", "input = [\"numbers\", \"out\"]", "manifest-unknown-input", 7);
    refused(SMALL, "input = \"numbers\"", "input = \"numbers.\"", "manifest-invalid", 7);
    let error = refused(SMALL, "input = \"numbers\"", "input = [\"numbers\", \"double\"]", "manifest-cycle", 6);
    assert!(error.message.ends_with(": double -> double"));
    let three = "[operator.a]\ninput = [\"numbers\", \"c\"]\ncomponent = \"c\"\nfunction = \"f\"\n\
                 [operator.b]\ninput = \"a\"\ncomponent = \"c\"\nfunction = \"f\"\n\
                 [operator.c]\ninput = \"b\"\ncomponent = \"c\"\nfunction = \"f\"\n\n[sink.out]";
    let error = refused(SMALL, "[sink.out]", three, "manifest-cycle", 11);
    assert!(error.message.ends_with(": a -> b -> c -> a"), "{error}");

    refused(SMALL, "[sink.out]\ninput = \"double\"\nconnector = \"blackhole\"\n", "", "manifest-invalid", 1);
    refused(SMALL, "[source.numbers]\nconnector = \"generator\"\n", "", "manifest-invalid", 1);
    refused(SMALL, "input = \"double\"\n", "", "manifest-invalid", 11);
    refused(SMALL, "input = \"double\"", "input = \"numbers\"", "manifest-invalid", 6);
    refused(SMALL, "[sink.out]", "[sink.double]", "manifest-invalid", 11);
    refused(SMALL, "[sink.out]", "[sink.\"out.x\"]", "manifest-invalid", 11);
    refused(SMALL, "[sink.out]", "[sink]", "manifest-invalid", 12);
    refused(SMALL, "connector = \"generator\"", "connector = 3", "manifest-invalid", 4);
}

#[test]
fn a_broadcast_input_has_no_key() {
    let rules = "input = \"flights\"\nbroadcast = [\"rules\", \"flights\"]\n";
    let text =
        FULL.replacen("input = \"flights\"\n", rules, 1) + "[source.rules]\nconnector = \"file\"\npath = \"rules\"\n";
    let pipeline = parse(&text).unwrap();
    let track = pipeline.nodes.iter().find(|node| node.id == "track").unwrap();
    let inputs: Vec<_> = track.inputs.iter().map(|input| (&*pipeline.nodes[input.node].id, input.role)).collect();
    assert_eq!(
        inputs,
        [("flights", InputRole::First), ("rules", InputRole::Broadcast), ("flights", InputRole::Broadcast)]
    );
    refused(&text, "broadcast = [\"rules\", \"flights\"]", "broadcast = \"rule\"", "manifest-unknown-input", 38);
    refused(
        SMALL,
        "connector = \"blackhole\"",
        "connector = \"blackhole\"\nbroadcast = \"x\"",
        "manifest-unknown-key",
        14,
    );
}

#[test]
fn a_second_input_has_the_key_of_the_first_or_one_of_its_own() {
    let second = "input = \"flights\"\nsecond = [\"lines\", \"flights\"]\nsecond_key = \"value\"\n";
    let text =
        FULL.replacen("input = \"flights\"\n", second, 1) + "[source.lines]\nconnector = \"file\"\npath = \"lines\"\n";
    let track = |text: &str| parse(text).unwrap().nodes.into_iter().find(|node| node.id == "track").unwrap();
    let node = track(&text);
    assert_eq!(
        node.inputs.iter().map(|input| input.role).collect::<Vec<_>>(),
        [InputRole::First, InputRole::Second, InputRole::Second]
    );
    let tail = KeySelector::Field("tailnum".into());
    assert_eq!(node.key_of(InputRole::First), Some((&tail, "key")));
    assert_eq!(node.key_of(InputRole::Second), Some((&KeySelector::Value, "second_key")));
    assert_eq!(node.key_of(InputRole::Broadcast), None);
    let itself = "input = \"flights\"\nsecond = \"flights\"\n";
    let same = track(&FULL.replacen("input = \"flights\"\n", itself, 1));
    assert_eq!(same.key_of(InputRole::Second), Some((&tail, "key")));

    refused(&text, "second = [\"lines\", \"flights\"]", "second = \"line\"", "manifest-unknown-input", 38);
    refused(&text, "second = [\"lines\", \"flights\"]", "second = []", "manifest-invalid", 38);
    refused(&text, "second = [\"lines\", \"flights\"]\n", "", "manifest-invalid", 38);
    refused(&text, "second_key = \"value\"", "second_key = \"values\"", "manifest-key", 39);
    let error = refused(&text, "second_key = \"value\"", "second_key = { field = \"id\" }", "manifest-key", 39);
    assert!(error.message.starts_with("`second_key` of `track`: the source `lines` has no such field"), "{error}");
    // An error in the default is reported at the default.
    let error = refused(&text, "second_key = \"value\"\n", "", "manifest-key", 39);
    assert!(error.message.starts_with("`key` of `track`"), "{error}");
    let sink = "connector = \"blackhole\"\nsecond = \"numbers\"";
    refused(SMALL, "connector = \"blackhole\"", sink, "manifest-unknown-key", 14);
}

#[test]
fn an_interval_is_bounded_on_both_sides() {
    let with =
        |interval: &str| SMALL.replacen("function = \"double\"\n", &format!("function = \"double\"\n{interval}\n"), 1);
    let read = |interval: &str| {
        let pipeline = parse(&with(interval)).unwrap();
        let NodeKind::Operator(operator) = &pipeline.nodes[1].kind else { panic!("not an operator") };
        let JoinInterval { lower_ms, upper_ms } = operator.interval.unwrap();
        (lower_ms, upper_ms)
    };
    assert_eq!(read("interval = { lower = \"-2s\", upper = \"1ms\" }"), (-2000, 1));
    assert_eq!(read("interval = { lower = \"0s\", upper = \"0s\", upper_exclusive = false }"), (0, 0));
    let exclusive =
        "interval = { lower = \"-1min\", upper = \"-58s\", lower_exclusive = true, upper_exclusive = true }";
    assert_eq!(read(exclusive), (-59_999, -58_001));
    let good = with("interval = { lower = \"-1s\", upper = \"1s\" }");
    refused(&good, "upper = \"1s\"", "upper = \"-2s\"", "manifest-invalid", 10);
    refused(&good, "upper = \"1s\"", "upper = \"-1s\", upper_exclusive = true", "manifest-invalid", 10);
    refused(&good, ", upper = \"1s\"", "", "manifest-invalid", 10);
    refused(&good, "upper = \"1s\"", "upper = 1", "manifest-invalid", 10);
    refused(&good, "upper = \"1s\"", "upper = \"+1s\"", "manifest-invalid", 10);
    refused(&good, "upper = \"1s\"", "upper = \"1s\", uper_exclusive = true", "manifest-unknown-key", 10);
    refused(&good, "upper = \"1s\"", "upper = \"1500us\"", "manifest-invalid", 10);
    refused(&good, "upper = \"1s\"", "upper = \"9999999999999999s\"", "manifest-invalid", 10);
}

#[test]
fn dead_letters_are_read_only_if_they_exist() {
    parse(&FULL.replace("input = \"track.dead-letter\"", "input = \"track\"")).expect("the host keeps the letters");
    let error = refused(FULL, "on_fault = \"dead-letter\"", "on_fault = \"skip\"", "manifest-invalid", 47);
    assert!(error.hint.unwrap().contains("[operator.track]"));
}

#[test]
fn columns_are_counted_in_characters() {
    let error = refused(SMALL, "name = \"small\"", "name = \"ä\\u00e4\"; x", "manifest-syntax", 1);
    assert_eq!(error.location.unwrap().column, 17);
}

/// Replaces a piece of a text with another piece.
fn mutate(text: &str, from: usize, length: usize, piece: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let from = from % (characters.len() + 1);
    let to = (from + length).min(characters.len());
    characters[..from].iter().copied().chain(piece.chars()).chain(characters[to..].iter().copied()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_causes_a_panic(
        edits in proptest::collection::vec((any::<usize>(), 0_usize..30, r#"\PC{0,3}|[\[\]{}.=",'0-9a-z \n#+_-]{0,8}|99999999999999999999|"track"|"1s""#), 1..6),
        full in any::<bool>(),
    ) {
        let mut text = if full { FULL } else { SMALL }.to_string();
        for (from, length, piece) in edits {
            text = mutate(&text, from, length, &piece);
        }
        match parse(&text) {
            Ok(pipeline) => for (place, node) in pipeline.nodes.iter().enumerate() {
                prop_assert!(node.inputs.iter().all(|input| input.node < place));
                prop_assert!((1..=pipeline.max_parallelism).contains(&node.parallelism));
            },
            Err(error) => {
                let place = error.location.expect("every error has a location");
                prop_assert!(place.line <= text.matches('\n').count() + 1 && place.line > 0 && place.column > 0);
            }
        }
    }

    #[test]
    fn arbitrary_text_causes_no_panic(text in r"\PC{0,200}") {
        let _ = parse(&text).is_ok();
    }
}

#[test]
fn a_socket_has_one_subtask_and_its_records_may_have_fields() {
    let pipeline = |source: &str| {
        let text = format!(
            "name = \"p\"\nparallelism = 4\n[source.s]\nconnector = \"socket\"\naddress = \"localhost:1\"\n{source}\n\
             [sink.k]\ninput = \"s\"\nconnector = \"stdout\""
        );
        PipelineSpec::parse(&text, "pipeline.toml")
    };
    let parsed = pipeline("format = \"csv\"\ntimestamp = { column = 1, format = \"unix-ms\" }").unwrap();
    assert_eq!(parsed.nodes.iter().map(|node| node.parallelism).collect::<Vec<_>>(), [1, 4]);
    let refused = pipeline("timestamp = { column = 1, format = \"unix-ms\" }").unwrap_err();
    assert_eq!((refused.code, refused.location.unwrap().line), ("manifest-key", 6));
    let refused = pipeline("parallelism = 2").unwrap_err();
    assert_eq!((refused.code, refused.location.unwrap().line), ("manifest-parallelism", 6));
}

#[test]
fn parsing_a_valid_pipeline_computes_no_locations() {
    let sink = |n| format!("[sink.s{n}]\ninput = \"a\"\nconnector = \"blackhole\"\n");
    let sinks: String = (0..200).map(sink).collect();
    let text = format!("name = \"wide\"\n[source.a]\nconnector = \"generator\"\n{sinks}");
    let before = LOCATIONS_COMPUTED.get();
    assert_eq!(PipelineSpec::parse(&text, "pipeline.toml").unwrap().nodes.len(), 201);
    // Each location takes time proportional to the text.
    assert_eq!(LOCATIONS_COMPUTED.get() - before, 0);
}
