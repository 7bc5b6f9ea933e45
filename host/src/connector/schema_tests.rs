//! The JSON Schema of the pipeline file: it is current, it accepts every example and every pipeline of the documentation, and it agrees with
//! the parser about misspelled keys and values of a wrong type.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::registry::CONNECTORS;
use super::schema_validator::SchemaValidator;
use crate::pipeline::{PipelineSpec, SettingKind, json_schema, setting_tables};

static SCHEMA: LazyLock<SchemaValidator> = LazyLock::new(|| SchemaValidator::new(json_schema(CONNECTORS)));

/// Returns whether the schema accepts the text of a pipeline file.
pub(super) fn is_valid_by_schema(text: &str) -> bool {
    text.parse().is_ok_and(|document| SCHEMA.defects(&json_of(&Value::Table(document))).is_empty())
}

/// Returns TOML as JSON. A date, which no setting accepts, becomes null.
fn json_of(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(_) => Json::Null,
        Value::Array(values) => values.iter().map(json_of).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json_of(value))).collect(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files below a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry, ending)),
            false if entry.to_string_lossy().ends_with(ending) => found.push(entry),
            false => {}
        }
    }
    found.sort();
    found
}

/// Returns the pipeline files of the examples.
fn examples() -> Vec<(String, String)> {
    let paths = files(&root().join("examples"), "pipeline.toml");
    paths.into_iter().map(|path| (path.display().to_string(), read(&path))).collect()
}

/// Returns the TOML in the documentation that has only keys of pipeline files. A part of a pipeline gets a name.
fn documented() -> Vec<(String, String)> {
    let keys = json_schema(CONNECTORS)["properties"].as_object().unwrap().clone();
    let pages = files(&root().join("docs"), ".md").into_iter().chain([root().join("README.md")]);
    let pages = pages.filter(|page| !page.components().any(|part| part.as_os_str() == "third-party"));
    let mut found = Vec::new();
    for page in pages {
        let text = read(&page);
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            let Ok(table) = block.parse::<Table>() else { continue };
            if table.keys().all(|key| keys.contains_key(key)) {
                let name = if table.contains_key("name") { "" } else { "name = \"part\"\n" };
                found.push((page.display().to_string(), format!("{name}{block}")));
            }
        }
    }
    found
}

#[test]
fn the_committed_schema_is_the_one_of_the_settings() {
    let committed: Json = serde_json::from_str(&read(&root().join("docs/pipeline.schema.json"))).unwrap();
    assert_eq!(committed, json_schema(CONNECTORS), "docs/pipeline.schema.json is not current: run `cargo xtask docs`");
}

#[test]
fn the_schema_accepts_all_examples_and_all_pipelines_of_the_documentation() {
    let (examples, documented) = (examples(), documented());
    assert!(examples.len() >= 10 && documented.len() >= 15, "{} and {}", examples.len(), documented.len());
    for (path, text) in examples.iter().chain(&documented) {
        let document = json_of(&Value::Table(text.parse().unwrap_or_else(|error| panic!("{path}: {error}\n{text}"))));
        let errors = SCHEMA.defects(&document);
        assert!(errors.is_empty(), "{path}: {errors:#?}\n{text}");
    }
    for (path, text) in &examples {
        assert!(text.starts_with("#:schema ../../docs/pipeline.schema.json\n"), "{path} does not name its schema");
    }
}

/// Pipelines with all settings that the examples and the documentation lack.
const PIPELINES: &[&str] = &[
    r#"
name = "job"
parallelism = 2
max_parallelism = 256
seed = 7
batch = { records = 10, bytes = "1MiB", linger = "1ms", channel_bytes = "1MiB" }
checkpoint = { interval = "1s", records = 5, event_time = "1s", min_pause = "1s", max_concurrent = 1, mode = "exactly-once", unaligned_after = "1s", retained = 2, on_cancel = "keep", tolerable_failures = 1, timeout = "1min", publish_timeout = "1min", storage = "s3://b/f" }
restart = { strategy = "exponential-delay", initial = "1s", maximum = "1min", multiplier = 2, jitter = 0.1, reset_after = "1h", attempts = 3 }
fault_injection = { after_checkpoints = 1, failures = [{ at = "record", node = "in", subtask = 0, after = 1, checkpoints = 1 }] }
state = { backend = "rocksdb" }
sandbox = { fresh_instance = true }
dead_letters = { limit = "1MiB" }
heartbeat = { interval = "1s", timeout = "5s" }

[source.in]
connector = "file"
path = "p"
format = "csv"
header = true
columns = ["t", "a"]
null_values = ["NA", ""]
fields = { a = "i32?" }
timestamp = { field = "t", format = "%Y-%m-%d", zone = "UTC" }
watermark = { out_of_orderness = "1s", idle_after = "1min", alignment = { group = "g", max_drift = "1s" } }
rate = 10.5
on_undecodable = "skip"
keep_raw = true
parallelism = 1

[operator.act]
inputs = ["in"]
broadcast = "in"
key = { fields = ["a"] }
component = "c@1"
function = "f"
config = { text = "a", number = 1, flag = true }
on_fault = "retry"
retry = { attempts = 3, backoff = "1s", then = "skip" }
limits = { memory = "64MiB", deadline = "1s", output = "1MiB", state_per_turn = "1MiB", state_per_key = "1MiB", list_elements = 10, timers_per_key = 10, timers_per_turn = 10, state = "1GiB", log_lines = 10, log_bytes = "1KiB", faults = { share = 0.5, window = "1min", records = 10 } }
log = "debug"
grants = { wasi = ["cli"], env = { REGION = "" }, folder = { path = "p", at = "/p" }, clock = true, random = true }
parallelism = 2

[sink.out]
inputs = ["act"]
connector = "file"
path = "out"
format = "csv"
header = false
columns = ["a"]
parallelism = 1
"#,
    r#"
name = "windows"
restart = { strategy = "failure-rate", failures = 2, delay = "1s", interval = "1min" }

[source.in]
connector = "file"
path = "p"
format = "csv"
timestamp = { column = 0, format = "unix-ms" }
watermark = "ascending"

[operator.sliding]
input = "in"
key = { column = 1 }
window = { type = "sliding", size = "2s", slide = "1s", offset = "-1ms", time = "event", allowed_lateness = "1s" }
trigger = { type = "count", count = 3, purge = true }
evictor = { type = "count", keep = 3, after = true }
aggregate = { type = "top", column = 1, n = 3 }

[operator.session]
input = "in"
key = { field = "a" }
window = { type = "session", gap = "1s" }
trigger = { type = "continuous", interval = "1s" }
evictor = { type = "time", keep = "1s" }
aggregate = { type = "sum", field = "a" }

[operator.join]
input = "in"
second = ["sliding"]
key = { column = 1 }
second_key = { fields = ["a", "b"] }
interval = { lower = "-1s", upper = "1s", lower_exclusive = true, upper_exclusive = false }
component = "c"
function = "f"

[operator.keys]
input = "in"
second = "session"
key = "value"
second_key = { field = "key" }
component = "c"
function = "f"

[operator.columns]
input = "in"
second = "in"
key = { column = 1 }
second_key = { column = 2 }
component = "c"
function = "f"

[operator.rows]
input = "in"
filter = "a > 1"
select = { keep = ["a"], rename = { b = "a" } }

[operator.drop]
input = "in"
select = { drop = ["a"] }

[sink.out]
inputs = ["join", "keys", "columns", "rows", "drop"]
connector = "blackhole"
"#,
    r#"
name = "messages"
restart = { strategy = "fixed-delay", attempts = 3, delay = "1s", interval = "1h" }

[checkpoint]
interval = "1s"

[source.http]
connector = "http"
auth = { hmac = { scheme = "stripe", tolerance = "1min", secret = { secret = "s" } } }
require_key = true
dedup = "1h"
max_keys = 10
max_backlog = "1MiB"
max_inflight = 10
max_body = "1KiB"
segment = "1MiB"
headers = ["X-A"]
accept_while_stopped = false

[source.signed]
connector = "http"
auth = { hmac = { scheme = "header", header = "x", prefix = "p", algorithm = "sha256", encoding = "hex", secret = { secret = "s" } } }

[source.bearer]
connector = "http"
auth = { bearer = { secret = "s" } }

[source.socket]
connector = "socket"
address = "a:1"

[source.numbers]
connector = "generator"
records = 10
template = "{n}"
keys = 10

[sink.all]
inputs = ["http", "signed", "bearer", "socket", "numbers"]
connector = "stdout"
format = "ndjson"
"#,
    #[cfg(feature = "kafka")]
    r#"
name = "kafka"
checkpoint = { interval = "1s" }

[source.one]
connector = "kafka"
brokers = ["b:1"]
topic = "t"
start = { timestamp = "2026-01-01T00:00:00Z" }
group = "g"
discover = "1min"
isolation = "read-committed"
attributes = true
tombstones = "skip"
prefetch = "1MiB"
prefetch_total = "1MiB"
format = "avro"
registry = { url = "http://r:1", subject = "s", username = "u", password = { secret = "p" } }
security = { protocol = "sasl-ssl", ca = "ca", certificate = "c", key = { secret = "k" }, mechanism = "plain", username = { secret = "u" }, password = { secret = "p" } }

[source.some]
connector = "kafka"
brokers = "b:1"
topics = ["t", "u"]
start = "earliest"
until = "latest"
schema = "s.avsc"
format = "avro"
timestamp = "record"

[source.offsets]
connector = "kafka"
brokers = "b:1"
topic = "t"
start = { offsets = { 0 = 1 } }

[source.all]
connector = "kafka"
brokers = "b:1"
topic_pattern = "t*"
format = "ndjson"

[sink.out]
inputs = ["one", "some", "offsets", "all"]
connector = "kafka"
brokers = "b:1"
topic = "t"
guarantee = "exactly-once"
key = "record"
headers = true
tombstones = "empty"
partitioner = "crc32"
compression = "zstd"
linger = "1ms"
transaction_timeout = "1min"
max_backlog = "1MiB"
format = "avro"
schema = "s.avsc"
registry = { url = "http://r:1", subject = "s", username = "u", password = { secret = "p" }, register = false }
security = { protocol = "sasl-ssl", ca = "ca", certificate = "c", key = { secret = "k" }, mechanism = "plain", username = "u", password = { secret = "p" } }

[sink.fields]
input = "all"
connector = "kafka"
brokers = "b:1"
topic = "t"
key = { fields = ["a", "b"] }

[sink.field]
input = "all"
connector = "kafka"
brokers = "b:1"
topic = "t"
key = { field = "a" }

[source.csv]
connector = "kafka"
brokers = "b:1"
topic = "t"
format = "csv"

[sink.column]
input = "csv"
connector = "kafka"
brokers = "b:1"
topic = "t"
key = { column = 1 }
"#,
];

/// The place of a value: the keys and indices that lead to it.
type ValuePath = Vec<String>;

/// Adds the places of all values below a value.
fn add_places(value: &Value, path: &ValuePath, places: &mut Vec<ValuePath>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(values) => values.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let place = [&path[..], &[key]].concat();
        places.push(place.clone());
        add_places(child, &place, places);
    }
}

fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Array(values) => &mut values[key.parse::<usize>().unwrap()],
        other => &mut other[key.as_str()],
    })
}

/// Returns the section of `setting_tables` and the key of a place, or `None` for nodes and for the contents of maps and lists.
fn setting_of(document: &Value, path: &[String]) -> Option<(String, String)> {
    let (section, keys) = match path {
        [kind, id, keys @ ..] if ["source", "sink"].contains(&kind.as_str()) => {
            (format!("{kind}.{}", document[kind.as_str()][id.as_str()]["connector"].as_str()?), keys)
        }
        [kind, _, keys @ ..] if kind == "operator" => (kind.clone(), keys),
        [table, keys @ ..] if document[table.as_str()].is_table() => (table.clone(), keys),
        keys => (String::new(), keys),
    };
    let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| key.parse::<usize>().is_err()).collect();
    let key = keys.join(".");
    let tables = setting_tables(CONNECTORS);
    let (_, settings) = tables.iter().find(|(name, _)| *name == section)?;
    settings.iter().any(|setting| setting.key == key).then_some((section, key))
}

fn is_accepted(text: &str) -> bool {
    PipelineSpec::parse(text, "p.toml").is_ok()
}

/// Returns the pipelines that are changed, as documents. All are valid.
fn corpus() -> Vec<Value> {
    let texts = examples().into_iter().chain(documented()).map(|(_, text)| text).filter(|text| is_accepted(text));
    let own = PIPELINES.iter().map(|text| {
        PipelineSpec::parse(text, "p.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
        (*text).to_owned()
    });
    let corpus: Vec<Value> = own.chain(texts).map(|text| Value::Table(text.parse().unwrap())).collect();
    assert!(corpus.len() >= 15, "{}", corpus.len());
    corpus
}

/// Calls `change` for each setting of each pipeline.
fn each_setting(mut change: impl FnMut(&Value, &ValuePath)) {
    let mut tried = BTreeSet::new();
    for document in corpus() {
        let mut places = Vec::new();
        add_places(&document, &Vec::new(), &mut places);
        for place in places {
            if let Some(setting) = setting_of(&document, &place) {
                tried.insert(in_family(setting));
                change(&document, &place);
            }
        }
    }
    // A new setting must be in a pipeline above.
    let known: BTreeSet<(String, String)> = (setting_tables(CONNECTORS).into_iter())
        .filter(|(section, _)| !["source", "sink"].contains(&section.as_str()))
        .flat_map(|(section, settings)| {
            settings
                .into_iter()
                .map(move |setting| in_family((section.clone(), setting.key.to_owned())))
                .collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = known.difference(&tried).collect();
    assert!(missing.is_empty(), "no pipeline in schema_tests.rs has {missing:#?}");
}

/// Returns the section in which a setting must be tried. Those that all sources or sinks have are tried with one connector.
fn in_family((section, key): (String, String)) -> (String, String) {
    let Some((kind, name)) = section.split_once('.') else { return (section, key) };
    let connector = CONNECTORS.iter().find(|connector| connector.name == name).unwrap();
    let source = connector.source.as_ref().filter(|_| kind == "source").map(|source| source.settings);
    let sink = connector.sink.as_ref().filter(|_| kind == "sink").map(|sink| sink.settings);
    let is_own = source.or(sink).unwrap().iter().any(|setting| setting.key == key);
    if is_own { (section, key) } else { (kind.to_owned(), key) }
}

#[test]
fn a_misspelled_key_is_refused_by_the_schema_and_by_the_parser() {
    let mut tried = 0;
    each_setting(|document, place| {
        let (key, table) = place.split_last().unwrap();
        if key.parse::<usize>().is_ok() {
            return;
        }
        let mut changed = document.clone();
        let table = at(&mut changed, table).as_table_mut().unwrap();
        let value = table.remove(key).unwrap();
        table.insert(format!("{key}x"), value);
        let text = toml::to_string(&changed).unwrap();
        let error = PipelineSpec::parse(&text, "p.toml").expect_err(&text);
        assert!(error.code.starts_with("manifest-"), "{error}");
        assert!(!is_valid_by_schema(&text), "the schema accepts {place:?}x\n{text}");
        tried += 1;
    });
    assert!(tried > 300, "{tried}");
}

#[test]
fn the_schema_and_the_parser_agree_about_values_of_other_types() {
    let table = |key: &str| Value::Table(Table::from_iter([(key.to_owned(), Value::Integer(1))]));
    let wrong = [
        Value::Boolean(true),
        Value::Float(1.5),
        Value::Array(vec![Value::Boolean(true)]),
        table("no_such_key"),
        Value::Datetime("1979-05-27".parse().unwrap()),
    ];
    let (mut tried, mut refused, mut differ) = (0, 0, Vec::new());
    each_setting(|document, place| {
        for value in &wrong {
            let mut changed = document.clone();
            *at(&mut changed, place) = value.clone();
            let text = toml::to_string(&changed).unwrap();
            let (parser, schema) = (is_accepted(&text), is_valid_by_schema(&text));
            // Only the parser knows settings that contradict each other: a boolean may be of the right type and still be refused.
            let is_right_type = value.is_bool() && at(&mut document.clone(), place).is_bool();
            if parser != schema && !(is_right_type && schema) {
                differ.push(format!("{place:?} = {value}: the parser says {parser}, the schema {schema}"));
            }
            tried += 1;
            refused += usize::from(!schema);
        }
    });
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(refused > 1000 && refused < tried, "{refused} of {tried}");
}

#[test]
fn every_map_of_the_schema_is_one_of_the_parser() {
    // A table whose keys nobody checks could hide a misspelled key.
    let open: BTreeSet<&str> = (setting_tables(CONNECTORS).into_iter())
        .flat_map(|(_, settings)| settings)
        .filter(|setting| matches!(setting.kind, SettingKind::Map { .. }))
        .map(|setting| setting.key)
        .collect();
    let known = BTreeSet::from(["config", "fields", "grants.env", "select.rename"]);
    let with_kafka = BTreeSet::from(["config", "fields", "grants.env", "select.rename", "start.offsets"]);
    assert!(open == known || open == with_kafka, "{open:?}");
}
