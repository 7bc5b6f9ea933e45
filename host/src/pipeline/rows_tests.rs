//! The settings of records: formats of sources and sinks, fields, `select` and `filter`.

use super::*;
use crate::error::Error;
use crate::model::row::{Field, FieldType};

const TEXT: &str = r#"name = "rows"

[source.flights]
connector = "file"
path = "flights.csv"
format = "csv"
on_undecodable = "dead-letter"

[operator.late]
input = "flights"
filter = "dep_delay > 10 and (carrier = 'UA' or origin is null)"
select = { keep = ["dep_delay", "carrier"], rename = { airline = "carrier" } }

[sink.out]
input = "late"
connector = "file"
path = "out"
format = "csv"

[sink.bad]
input = "flights.dead-letter"
connector = "stdout"
"#;

fn parse(text: &str) -> Result<PipelineSpec, Error> {
    PipelineSpec::parse(text, "p.toml")
}

/// Replaces the only `from` in `TEXT`, and asserts that the result is rejected with `code` at `line`.
#[track_caller]
fn refused(from: &str, to: &str, code: &str, line: usize) -> Error {
    assert_eq!(TEXT.matches(from).count(), 1, "`{from}` must occur once");
    let error = parse(&TEXT.replacen(from, to, 1)).expect_err("it must be rejected");
    let location = error.location.clone().expect("it must have a location");
    assert_eq!((error.code, location.line), (code, line), "{error}");
    error
}

fn source(settings: &str) -> SourceNode {
    let text = TEXT.replace("format = \"csv\"\non_undecodable", &format!("{settings}\non_undecodable"));
    match parse(&text).unwrap().nodes.swap_remove(0).kind {
        NodeKind::Source(source) => source,
        _ => panic!("not a source"),
    }
}

#[test]
fn the_decoding_of_a_source_is_read() {
    let plain = source("format = \"csv\"");
    assert_eq!(plain.connector.format(), (FileFormat::Csv, true));
    assert_eq!(plain.decoding.null_values, [""]);
    assert_eq!(plain.on_undecodable, UndecodablePolicy::DeadLetter);
    let all = source(
        "format = \"csv\"\nheader = false\ncolumns = [\"a\", \"b\"]\nnull_values = [\"NA\", \"\"]\n\
         fields = { b = \"i32?\", a = \"timestamp\" }",
    );
    assert_eq!(all.connector.format(), (FileFormat::Csv, false));
    assert_eq!(all.decoding.columns, Some(vec!["a".into(), "b".into()]));
    assert_eq!(all.decoding.null_values, ["NA", ""]);
    let fields = [Field::new("b", FieldType::I32, true), Field::new("a", FieldType::Timestamp, false)];
    assert_eq!(all.decoding.fields, fields);
    let raw = parse(&TEXT.replace("path = \"flights.csv\"\nformat = \"csv\"", "path = \"x\"\nformat = \"raw\""));
    let NodeKind::Source(raw) = &raw.unwrap().nodes[0].kind.clone() else { panic!("not a source") };
    assert_eq!((raw.connector.format(), FileFormat::Raw.as_str()), ((FileFormat::Raw, false), "raw"));
}

#[test]
fn impossible_decodings_are_rejected() {
    let csv = "path = \"flights.csv\"\nformat = \"csv\"";
    for (to, line) in [
        ("path = \"x\"\nformat = \"ndjson\"\ncolumns = [\"a\"]", 7),
        ("path = \"x\"\nformat = \"ndjson\"\nnull_values = [\"a\"]", 7),
        ("path = \"x\"\nformat = \"lines\"\nfields = { line = \"string\" }", 7),
        ("path = \"x\"\nformat = \"raw\"\nheader = true", 7),
        ("path = \"x\"\nformat = \"csv\"\ncolumns = []", 7),
        ("path = \"x\"\nformat = \"csv\"\ncolumns = [\"a\", \"a\"]", 7),
        ("path = \"x\"\nformat = \"csv\"\nnull_values = \"NA\"", 7),
        ("path = \"x\"\nformat = \"csv\"\nfields = { a = \"int\" }", 7),
        ("path = \"x\"\nformat = \"csv\"\nfields = { a = 3 }", 7),
        ("path = \"x\"\nformat = \"csv\"\ncolumns = [\"a\"]\nfields = { b = \"i32\" }", 8),
    ] {
        refused(csv, to, "manifest-invalid", line);
    }
    let error = refused(csv, "path = \"x\"\nformat = \"csv\"\nfields = { a = \"i33\" }", "manifest-invalid", 7);
    assert!(error.message.contains("`i33`") && error.hint.unwrap().contains("i8 to i64"));
}

#[test]
fn timestamps_may_have_a_pattern_and_a_zone() {
    let time = source(
        "format = \"csv\"\ntimestamp = { field = \"t\", format = \"%d.%m.%Y %H:%M\", zone = \"Europe/Berlin\" }",
    );
    let expected = TimestampSelector {
        at: KeySelector::Field("t".into()),
        format: TimestampFormat::Pattern("%d.%m.%Y %H:%M".into()),
        zone: Some("Europe/Berlin".into()),
    };
    assert_eq!(time.timestamp, Some(SourceTimestamp::Field(expected)));
}

#[test]
fn dead_letters_of_a_source_are_read_only_if_they_exist() {
    parse(&TEXT.replace("input = \"flights.dead-letter\"", "input = \"flights\"")).expect("the host keeps the letters");
    refused("\"dead-letter\"", "\"skip\"", "manifest-invalid", 21);
    let error = refused("input = \"flights\"\n", "input = \"flights.dead-letter\"\n", "manifest-invalid", 3);
    assert!(error.message.contains("no node reads `flights`"), "{error}");
    refused("\"flights.dead-letter\"", "\"flights.other\"", "manifest-unknown-input", 21);
}

#[test]
fn an_operator_filters_and_selects_without_a_component() {
    let pipeline = parse(TEXT).unwrap();
    let NodeKind::Operator(operator) = &pipeline.nodes[1].kind else { panic!("not an operator") };
    assert_eq!(operator.function, None);
    let rows = operator.rows.as_ref().unwrap();
    assert_eq!(rows.filter.as_ref().unwrap().paths(), ["dep_delay", "carrier", "origin"]);
    let select = FieldSelection {
        keep: Some(vec!["dep_delay".into(), "carrier".into()]),
        drop: Vec::new(),
        rename: vec![FieldRename { new: "airline".into(), old: "carrier".into() }],
    };
    assert_eq!(rows.select, Some(select));
}

#[test]
fn impossible_selections_are_rejected() {
    let select = "{ keep = [\"dep_delay\", \"carrier\"], rename = { airline = \"carrier\" } }";
    for to in [
        "{}",
        "{ keep = [] }",
        "{ keep = [\"a\"], drop = [\"b\"] }",
        "{ keep = [\"a\", \"a\"] }",
        "{ rename = {} }",
        "{ rename = { a = \"c\", b = \"c\" } }",
        "{ keep = [\"a\"], rename = { b = \"c\" } }",
        "{ drop = [\"c\"], rename = { b = \"c\" } }",
        "[\"a\"]",
    ] {
        refused(select, to, "manifest-invalid", 12);
    }
    refused(select, "{ only = [\"a\"] }", "manifest-unknown-key", 12);
    let input = "[operator.late]\n";
    refused(input, "[operator.late]\nfunction = \"f\"\n", "manifest-invalid", 10);
    refused(input, "[operator.late]\nkey = \"value\"\n", "manifest-invalid", 10);
}

#[test]
fn a_defect_of_a_filter_is_reported_at_its_column() {
    let text = TEXT.replace("carrier = 'UA' or", "carrier = 'UA' of");
    let error = parse(&text).unwrap_err();
    let location = error.location.clone().unwrap();
    let line = text.lines().nth(location.line - 1).unwrap();
    assert_eq!((error.code, location.line), ("manifest-invalid", 11));
    assert!(line[location.column - 1..].starts_with("of origin"), "{error}");
    assert!(error.message.contains("at `of origin is null)`"), "{error}");
}

#[test]
fn the_encoding_of_a_sink_is_read() {
    let encoding = |settings: &str| {
        let text = TEXT.replace("path = \"out\"\nformat = \"csv\"", &format!("path = \"out\"\n{settings}"));
        match parse(&text)?.nodes.into_iter().find(|node| node.id == "out").unwrap().kind {
            NodeKind::Sink(sink) => Ok(sink.encoding),
            _ => panic!("not a sink"),
        }
    };
    let csv = Some(SinkFormat::Csv);
    let columns = Some(vec!["b".to_owned(), "a".to_owned()]);
    for (settings, expected) in [
        ("", EncodingSettings { format: None, header: false, columns: None, avro: None }),
        ("format = \"csv\"", EncodingSettings { format: csv, header: true, columns: None, avro: None }),
        (
            "format = \"csv\"\nheader = false",
            EncodingSettings { format: csv, header: false, columns: None, avro: None },
        ),
        (
            "format = \"csv\"\ncolumns = [\"b\", \"a\"]",
            EncodingSettings { format: csv, header: true, columns, avro: None },
        ),
        (
            "format = \"raw\"",
            EncodingSettings { format: Some(SinkFormat::Raw), header: false, columns: None, avro: None },
        ),
    ] {
        assert_eq!(encoding(settings).unwrap(), expected, "{settings}");
    }
    for settings in ["format = \"xml\"", "header = true", "columns = [\"a\"]", "format = \"ndjson\"\nheader = true"] {
        let error: Error = encoding(settings).unwrap_err();
        assert_eq!(error.code, "manifest-invalid", "{settings}");
    }
    let blackhole = TEXT.replace("connector = \"file\"\npath = \"out\"", "connector = \"blackhole\"");
    assert_eq!(parse(&blackhole).unwrap_err().code, "manifest-unknown-key");
}

#[test]
fn timestamps_and_keys_of_records_need_a_connector_that_has_them() {
    let parse = |connector: &str, timestamp: &str, key: &str| {
        let text = format!(
            "name = \"a\"\n[source.in]\nconnector = {connector}\n{timestamp}\n[operator.op]\ninput = \"in\"\n\
             key = \"{key}\"\ncomponent = \"c\"\nfunction = \"f\"\n[sink.out]\ninput = \"op\"\nconnector = \"blackhole\"\n"
        );
        PipelineSpec::parse(&text, "p.toml")
    };
    let (log, timestamp) = ("\"split-log\"\nlog = \"x\"", "timestamp = \"record\"\nwatermark = \"ascending\"");
    for key in ["record", "emitted"] {
        let pipeline = parse(log, timestamp, key).unwrap();
        let NodeKind::Source(source) = &pipeline.nodes[0].kind else { panic!("no source") };
        assert_eq!(source.timestamp, Some(SourceTimestamp::Record));
        assert_eq!(pipeline.nodes[1].key, Some(KeySelector::Emitted));
        assert!(source.wants_keys);
    }
    let pipeline = parse(log, timestamp, "value").unwrap();
    let NodeKind::Source(source) = &pipeline.nodes[0].kind else { panic!("no source") };
    assert!(!source.wants_keys, "nothing takes its keys");
    let error = parse("\"generator\"", timestamp, "value").unwrap_err();
    assert_eq!(error.code, "manifest-key");
    assert!(error.message.contains("no timestamps of their own"), "{error}");
    assert_eq!(error.location.unwrap().line, 4);
    let error = parse("\"generator\"", "", "record").unwrap_err();
    assert!(error.message.contains("the source `in` emits no keys"), "{error}");
}

#[test]
fn avro_has_a_schema_from_a_file_or_a_registry() {
    let read = |settings: &str| {
        let text = format!(
            "name = \"a\"\n[source.a]\nconnector = \"file\"\npath = \"p\"\n{settings}\n[sink.b]\ninput = \"a\"\nconnector = \"stdout\""
        );
        let spec = PipelineSpec::parse(&text, "pipeline.toml").map_err(|error| error.message)?;
        let NodeKind::Source(source) = &spec.nodes[0].kind else { panic!("a source") };
        Ok::<_, String>(source.decoding.avro.clone())
    };
    let file = read("format = \"avro\"\nschema = \"a.avsc\"").unwrap().unwrap();
    assert_eq!((file.schema, file.registry), (Some("a.avsc".into()), None));
    let login = "username = \"u\", password = { secret = \"p\" }";
    let registry =
        read(&format!("format = \"avro\"\nregistry = {{ url = \"https://r:1\", {login} }}")).unwrap().unwrap();
    let registry = registry.registry.unwrap();
    assert_eq!((registry.url.as_str(), registry.username.as_deref()), ("https://r:1", Some("u")));
    assert!(registry.subject.is_none() && registry.register && registry.password.is_some());
    let error = |settings: &str| read(settings).unwrap_err();
    assert!(error("format = \"avro\"").contains("needs the schema of the records"));
    assert!(error("schema = \"a\"").contains("has no effect without format = \"avro\""));
    assert!(error("format = \"avro\"\nregistry = { url = \"r:1\" }").contains("must begin with http"));
    assert!(
        error("format = \"avro\"\nregistry = { url = \"http://r\", password = { secret = \"p\" } }")
            .contains("without a `username`")
    );
    assert!(
        error("format = \"avro\"\nregistry = { url = \"http://r\", username = \"u\", password = \"p\" }")
            .contains("must not be in the pipeline file")
    );
    assert!(
        error("format = \"avro\"\nregistry = { url = \"http://r\", register = true }").contains("registers nothing")
    );
}
