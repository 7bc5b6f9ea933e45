//! What a source reader makes of files: rows, records that cannot be decoded, and exact positions.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::source_decoder::SourceDecoder;
use super::source_reader::SourceReader;
use super::watermark_generator::WatermarkGenerator;
use crate::clock::{ManualClock, SharedClock};
use crate::connector::split_log::{SplitLog, SplitLogSource};
use crate::connector::testing::{context, source_config};
use crate::connector::{self, ConnectorContext, HealthBoard, HealthReporter, Poll};
use crate::error::Result;
use crate::format::SourceDecoding;
use crate::model::row::write_json;
use crate::model::{Interrupt, NO_TIMESTAMP};
use crate::pipeline::{
    DecodingSettings, FileFormat, KeySelector, TimestampFormat, TimestampSelector, UndecodablePolicy,
};
use crate::turn::OutputId;

/// A reader of a file or folder, in polls of three records.
struct ReaderHarness {
    reader: SourceReader,
    decoding: Arc<SourceDecoding>,
    /// The JSON of the rows of the first schema, and the records as they are.
    rows: Vec<Value>,
    raw: Vec<String>,
    letters: Vec<Value>,
    timestamps: Vec<i64>,
}

fn decoding(format: FileFormat, schemas: &[&str], on_undecodable: UndecodablePolicy) -> SourceDecoding {
    let rows = schemas.iter().map(|schema| Arc::new(schema.parse().unwrap())).collect();
    let raw = SourceDecoding::raw(format, DecodingSettings::default(), None);
    SourceDecoding { rows, wants_raw: false, on_undecodable, ..raw }
}

impl ReaderHarness {
    fn open(path: &Path, decoding: SourceDecoding, positions: &[&[u8]]) -> Result<ReaderHarness> {
        let clock: SharedClock = Arc::new(ManualClock::default());
        let header = decoding.format == FileFormat::Csv;
        let header_line = if header { "header = true\n" } else { "" };
        let format = decoding.format.as_str();
        let config =
            source_config(&format!("connector = \"file\"\npath = {path:?}\nformat = {format:?}\n{header_line}"));
        let health = HealthBoard::default();
        let context = ConnectorContext {
            health: HealthReporter::new(&health, ("job", "in"), Some(0), &clock, &Default::default()),
            job_id: "job".to_owned(),
            node: "in".to_owned(),
            subtask: 0,
            parallelism: 1,
            clock: clock.clone(),
            base_dir: path.to_owned(),
            working_dir: Default::default(),
            progress: Default::default(),
            policy: Default::default(),
            seed: 0,
            interrupt: Interrupt::default(),
            runtime: None,
            ingest: None,
            wakeup: Default::default(),
        };
        let decoding = Arc::new(decoding);
        let source = connector::open_source(&config, &decoding, &context, positions)?;
        let decoder = SourceDecoder::new("in", decoding.clone(), header)?;
        let watermarks = WatermarkGenerator::new(None, NO_TIMESTAMP, clock.clone());
        let reader = SourceReader::new(source, decoder, watermarks, 3, clock);
        let (rows, raw, letters, timestamps) = Default::default();
        Ok(ReaderHarness { reader, decoding, rows, raw, letters, timestamps })
    }

    /// Reads to the end or to an error.
    fn read(&mut self) -> Result<()> {
        loop {
            let (batch, poll) = self.reader.read(&|| false)?;
            let mut counts = Vec::new();
            for output in &batch.outputs {
                let values = &output.batch.values;
                assert_eq!(values.len(), output.batch.timestamps.len());
                let text = || values.iter().map(|value| String::from_utf8_lossy(value).into_owned());
                if self.decoding.dead_letter_output().map(OutputId::Declared) == Some(output.output) {
                    self.letters.extend(text().map(|letter| serde_json::from_str::<Value>(&letter).unwrap()));
                    continue;
                }
                counts.push(values.len());
                match output.batch.schema.as_ref() {
                    Some(schema) if output.output == OutputId::MAIN => {
                        for row in values.iter() {
                            let mut json = Vec::new();
                            write_json(schema, row, &mut json).unwrap();
                            self.rows.push(serde_json::from_slice(&json).unwrap());
                        }
                        self.timestamps.extend(&output.batch.timestamps);
                    }
                    Some(_) => {}
                    None => self.raw.extend(text()),
                }
            }
            assert!(counts.iter().all(|count| *count == batch.records), "{counts:?}");
            if poll == Poll::End {
                return Ok(());
            }
        }
    }
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(folder.path().join(name), text).unwrap());
    folder
}

#[test]
fn columns_are_found_by_the_header_of_each_file() {
    let files =
        [("a.csv", "a,b\n1,x\n2,y\n"), ("b.csv", "c,b,a\n0,z,3\n"), ("c.csv", "b,a\n"), ("d.csv", "a,b\n4,w\n")];
    let folder = folder(&files);
    let decoding = decoding(FileFormat::Csv, &["{b:string,a:i64,c:u8?}"], UndecodablePolicy::Fail);
    let mut harness = ReaderHarness::open(folder.path(), decoding.clone(), &[]).unwrap();
    harness.read().unwrap();
    let expected = [
        json!({"b": "x", "a": 1, "c": null}),
        json!({"b": "y", "a": 2, "c": null}),
        json!({"b": "z", "a": 3, "c": 0}),
        json!({"b": "w", "a": 4, "c": null}),
    ];
    assert_eq!(harness.rows, expected);

    // A restore in the middle of a file reads its header again.
    let mut first = ReaderHarness::open(folder.path(), decoding.clone(), &[]).unwrap();
    first.reader.batch_records = 1;
    first.reader.read(&|| false).unwrap();
    let position = first.reader.source.snapshot(1).unwrap();
    let mut rest = ReaderHarness::open(folder.path(), decoding, &[&position]).unwrap();
    rest.read().unwrap();
    assert_eq!(rest.rows, expected[1..]);
}

#[test]
fn a_file_without_a_needed_column_is_named() {
    let folder = folder(&[("a.csv", "a,b\n1,x\n2,y\n"), ("b.csv", "a,bee\n3,z\n")]);
    let decoding = decoding(FileFormat::Csv, &["{b:string}"], UndecodablePolicy::Skip);
    let mut harness = ReaderHarness::open(folder.path(), decoding, &[]).unwrap();
    let error = harness.read().unwrap_err();
    assert_eq!(error.code, "source-failed");
    assert!(error.message.contains("b.csv`: there is no column `b`"), "{error}");
    assert_eq!(harness.rows, [json!({"b": "x"}), json!({"b": "y"})]);
}

#[test]
fn files_whose_records_pass_on_as_they_are_need_one_header() {
    let folder = folder(&[("a.csv", "a,b\n1,x\n"), ("b.csv", "b,a\ny,2\n")]);
    let decoding =
        SourceDecoding { wants_raw: true, ..decoding(FileFormat::Csv, &["{a:i64}"], UndecodablePolicy::Fail) };
    let mut harness = ReaderHarness::open(folder.path(), decoding, &[]).unwrap();
    let error = harness.read().unwrap_err();
    assert!(error.message.contains("the header of") && error.message.contains("differs"), "{error}");
    assert_eq!((harness.raw, harness.rows), (vec!["1,x".to_owned()], vec![json!({"a": 1})]));
}

#[test]
fn a_bad_record_fails_the_source_exactly_behind_the_records_before_it() {
    let good = |number: u32| format!("{{\"n\":{number}}}\n");
    for bad_at in 0..8 {
        let text: String =
            (0..8).map(|number| if number == bad_at { "{\"n\":\"x\"}\n\n".to_owned() } else { good(number) }).collect();
        let folder = folder(&[("a.ndjson", &text)]);
        let decoding = decoding(FileFormat::Ndjson, &["{n:u32}"], UndecodablePolicy::Fail);
        let mut harness = ReaderHarness::open(folder.path(), decoding.clone(), &[]).unwrap();
        let error = harness.read().unwrap_err();
        assert_eq!(error.code, "record-invalid");
        let place = format!("line {}, byte {} of", bad_at + 1, bad_at * 8);
        assert!(error.message.contains(&place) && error.message.contains("the field `n` is `\"x\"`"), "{error}");
        assert_eq!(harness.rows, (0..bad_at).map(|n| json!({"n": n})).collect::<Vec<_>>());
        let position = harness.reader.source.snapshot(1).unwrap();
        assert_eq!(harness.reader.counters.records_in, u64::from(bad_at));
        // The record is corrected without a change of its length.
        fs::write(folder.path().join("a.ndjson"), text.replace("\"x\"", "555")).unwrap();
        let mut rest = ReaderHarness::open(folder.path(), decoding, &[&position]).unwrap();
        rest.read().unwrap();
        assert_eq!(rest.rows[0], json!({"n": 555}));
        assert_eq!(rest.rows.len() as u32, 8 - bad_at);
    }
}

#[test]
fn bad_records_are_skipped_on_all_outputs() {
    let folder = folder(&[("a.csv", "n,t\n1,2013-01-01\nx,2013-01-02\n3,soon\n4,2013-01-04\n\"5\n6,2013-01-06\n")]);
    let timestamp =
        TimestampSelector { at: KeySelector::Field("t".into()), format: TimestampFormat::Rfc3339, zone: None };
    let decoding = decoding(FileFormat::Csv, &["{n:i64}", "{n:string}"], UndecodablePolicy::Skip);
    let decoding = SourceDecoding { wants_raw: true, timestamp: Some(timestamp), ..decoding };
    let mut harness = ReaderHarness::open(folder.path(), decoding, &[]).unwrap();
    harness.read().unwrap();
    assert_eq!(harness.rows, [json!({"n": 1}), json!({"n": 4}), json!({"n": 6})]);
    assert_eq!(harness.raw, ["1,2013-01-01", "4,2013-01-04", "6,2013-01-06"]);
    let day = 86_400_000;
    assert_eq!(harness.timestamps, [15_706 * day, 15_709 * day, 15_711 * day]);
    let counters = harness.reader.counters;
    assert_eq!((counters.records_in, counters.records_skipped, counters.records_dead_lettered), (3, 3, 0));
}

#[test]
fn bad_records_are_dead_letters_with_their_position() {
    let folder = folder(&[
        ("a.csv", "n,s\n1,a\nx,b\n\n3,c\n4,\"d\n5,e\n\"\"\"x\"\"\ny\"\n9,f\n"),
        ("b.csv", "s,n\ng,10\nh,-\n"),
    ]);
    let decoding = decoding(FileFormat::Csv, &["{n:u8}"], UndecodablePolicy::DeadLetter);
    let mut harness = ReaderHarness::open(folder.path(), decoding, &[]).unwrap();
    harness.read().unwrap();
    assert_eq!(harness.rows, [1, 3, 5, 9, 10].map(|n| json!({"n": n})));
    let path = |name: &str| folder.path().join(name).display().to_string();
    let letter = |code: &str, file: &str, line: u64, byte: u64, value: &str| {
        (code.to_owned(), path(file), line, byte, value.to_owned())
    };
    let mut letters: Vec<_> = harness
        .letters
        .iter()
        .map(|letter| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let position = &letter["position"];
            assert_eq!(letter["source"], "in");
            assert!(!text(&letter["message"]).is_empty());
            (
                text(&letter["code"]),
                text(&position["input"]),
                position["line"].as_u64().unwrap(),
                position["byte"].as_u64().unwrap(),
                text(&letter["value"]),
            )
        })
        .collect();
    letters.sort_by(|one, other| (&one.1, one.3).cmp(&(&other.1, other.3)));
    let expected = [
        letter("record-invalid", "a.csv", 3, 8, "x,b"),
        letter("record-undecodable", "a.csv", 6, 19, "4,\"d"),
        letter("record-invalid", "a.csv", 8, 26, "\"\"\"x\"\"\ny\""),
        letter("record-invalid", "b.csv", 3, 9, "h,-"),
    ];
    assert_eq!(letters, expected);
    assert_eq!(harness.letters.iter().filter(|letter| letter["field"] == "n").count(), 3);
    let counters = harness.reader.counters;
    assert_eq!((counters.records_in, counters.records_skipped, counters.records_dead_lettered), (5, 0, 4));
}

/// Reads a log whose records have timestamps and keys of their own.
#[test]
fn the_timestamps_keys_and_attributes_of_a_connector_are_on_all_outputs() {
    let log = SplitLog::default();
    log.append(0, [r#"{"n":1}"#, r#"{"n":"x"}"#, r#"{"n":3}"#].map(str::to_owned));
    log.append(1, ["7000".to_owned()]);
    let open = |decoding: SourceDecoding| {
        let (context, clock) = (context(Path::new("")), Arc::new(ManualClock::default()));
        let source = Box::new(SplitLogSource::open(&log, &context, &[]).unwrap());
        let settings = Some(Default::default());
        let watermarks = WatermarkGenerator::new(settings, NO_TIMESTAMP, clock.clone());
        let decoder = SourceDecoder::new("in", Arc::new(decoding), false).unwrap();
        SourceReader::new(source, decoder, watermarks, 10, clock)
    };
    let rows = decoding(FileFormat::Ndjson, &["{n:i64}"], UndecodablePolicy::Skip);
    let mut reader = open(SourceDecoding { wants_raw: true, record_timestamps: true, ..rows });
    let (batch, _) = reader.read(&|| false).unwrap();
    assert_eq!((batch.records, batch.outputs.len()), (2, 2));
    for output in &batch.outputs {
        let keys: Vec<&[u8]> = output.batch.chosen_keys.as_ref().unwrap().iter().collect();
        assert_eq!(keys, [&br#"{"n":1}"#[..], br#"{"n":3}"#]);
        assert_eq!(output.batch.timestamps, [NO_TIMESTAMP; 2]);
    }
    assert_eq!(reader.counters.records_without_timestamp(), 2);

    for (record_timestamps, expected) in [(true, 7000), (false, NO_TIMESTAMP)] {
        let raw = SourceDecoding::raw(FileFormat::Lines, DecodingSettings::default(), None);
        let mut reader = open(SourceDecoding { record_timestamps, ..raw });
        reader.read(&|| false).unwrap();
        let (batch, _) = reader.read(&|| false).unwrap();
        assert_eq!(
            batch.outputs[0].batch.timestamps,
            [expected],
            "the timestamp of the record only if it is asked for"
        );
    }
}
