//! Every wrong value of every setting of every connector is refused with the line of the setting.
//!
//! The settings come from the list of connectors, so that a new setting without an example fails `every_setting_has_an_example`. The kind of a
//! setting decides which values are wrong; an example adds those of its own.

use super::registry::CONNECTORS;
use super::schema_tests::is_valid_by_schema;
use crate::error::Error;
use crate::pipeline::{
    AVRO_SETTINGS, DECODING_SETTINGS, ENCODING_SETTINGS, PipelineSpec, REGISTER_SETTINGS, SOURCE_SETTINGS, Setting,
    SettingKind,
};

/// How a setting is used.
struct Example {
    key: &'static str,
    /// Lines of the section, with `@` for the value. They replace those of [`base`] with the same keys. `-KEY` removes one.
    lines: &'static str,
    /// A value that is accepted.
    good: &'static str,
    /// Values that are refused, besides those of the kind.
    bad: &'static [&'static str],
}

const fn example(key: &'static str, lines: &'static str, good: &'static str, bad: &'static [&'static str]) -> Example {
    Example { key, lines, good, bad }
}

const NO_ADDRESS: &[&str] = &["\"b\"", "\":9092\"", "\"b:x\"", "\"b:99999\"", "\"b:0\""];

const FILE_SOURCE: &[Example] =
    &[example("path", "path = @", "\"in.csv\"", &[]), example("header", "format = \"csv\"\nheader = @", "false", &[])];
const FILE_SINK: &[Example] = &[example("path", "path = @", "\"out\"", &[])];
const GENERATOR: &[Example] = &[
    example("records", "records = @", "0", &["18446744073709551616"]),
    example("template", "template = @", "\"{n}\"", &[]),
    example("keys", "keys = @", "1", &["18446744073709551616"]),
];
const SOCKET: &[Example] = &[example("address", "address = @", "\"host:9000\"", NO_ADDRESS)];
const HTTP: &[Example] = &[
    example("auth", "auth = @", "{ bearer = { secret = \"s\" } }", &["{ }"]),
    example("auth.bearer", "auth = { bearer = @ }", "{ secret = \"s\" }", &[]),
    example("auth.hmac", "auth = { hmac = @ }", "{ scheme = \"github\", secret = { secret = \"s\" } }", &["{ }"]),
    example("auth.hmac.scheme", "auth = { hmac = { scheme = @, secret = { secret = \"s\" } } }", "\"stripe\"", &[]),
    example("auth.hmac.secret", "auth = { hmac = { scheme = \"slack\", secret = @ } }", "{ secret = \"s\" }", &[]),
    example(
        "auth.hmac.header",
        "auth = { hmac = { header = @, secret = { secret = \"s\" } } }",
        "\"x-sig\"",
        &["\"a b\""],
    ),
    example(
        "auth.hmac.prefix",
        "auth = { hmac = { header = \"x\", prefix = @, secret = { secret = \"s\" } } }",
        "\"sha256=\"",
        &[],
    ),
    example(
        "auth.hmac.algorithm",
        "auth = { hmac = { header = \"x\", algorithm = @, secret = { secret = \"s\" } } }",
        "\"sha512\"",
        &[],
    ),
    example(
        "auth.hmac.encoding",
        "auth = { hmac = { header = \"x\", encoding = @, secret = { secret = \"s\" } } }",
        "\"base64\"",
        &[],
    ),
    example(
        "auth.hmac.tolerance",
        "auth = { hmac = { scheme = \"slack\", tolerance = @, secret = { secret = \"s\" } } }",
        "\"1min\"",
        &[],
    ),
    example("require_key", "require_key = @", "true", &[]),
    example("dedup", "dedup = @", "\"7d\"", &[]),
    example("max_keys", "max_keys = @", "10", &[]),
    example("max_backlog", "max_backlog = @", "\"1MiB\"", &[]),
    example("max_inflight", "max_inflight = @", "1", &[]),
    example("max_body", "max_body = @", "\"1B\"", &[]),
    example("segment", "segment = @", "\"1MiB\"", &[]),
    example("headers", "headers = @", "[\"X-A\"]", &["[\"a b\"]", "[\"authorization\"]", "[\"Cookie\"]"]),
    example("accept_while_stopped", "accept_while_stopped = @", "false", &[]),
];
const SECURITY: [Example; 8] = [
    example("security", "security = @", "{ protocol = \"plaintext\" }", &["{ }"]),
    example("security.protocol", "security = { protocol = @ }", "\"ssl\"", &[]),
    example("security.ca", "security = { protocol = \"ssl\", ca = @ }", "\"ca.pem\"", &[]),
    example(
        "security.certificate",
        "security = { protocol = \"ssl\", key = { secret = \"k\" }, certificate = @ }",
        "\"c.pem\"",
        &[],
    ),
    example(
        "security.key",
        "security = { protocol = \"ssl\", certificate = \"c.pem\", key = @ }",
        "{ secret = \"k\" }",
        &[],
    ),
    example(
        "security.mechanism",
        "security = { protocol = \"sasl-ssl\", username = \"u\", password = { secret = \"p\" }, mechanism = @ }",
        "\"plain\"",
        &["\"gssapi\""],
    ),
    example(
        "security.username",
        "security = { protocol = \"sasl-ssl\", mechanism = \"plain\", password = { secret = \"p\" }, username = @ }",
        "{ secret = \"u\" }",
        &[],
    ),
    example(
        "security.password",
        "security = { protocol = \"sasl-ssl\", mechanism = \"plain\", username = \"u\", password = @ }",
        "{ secret = \"p\" }",
        &[],
    ),
];
const KAFKA_SOURCE: &[Example] = &[
    example("brokers", "brokers = @", "[\"b:9092\", \"c:9092\"]", NO_ADDRESS),
    example("topic", "topic = @", "\"orders\"", &["\"a b\"", "\".\"", "\"a/b\""]),
    example("topics", "-topic\ntopics = @", "[\"a\", \"b\"]", &["[]", "[\"a b\"]"]),
    example("topic_pattern", "-topic\ntopic_pattern = @", "\"orders-*\"", &["\"a b*\"", "\"a/?\""]),
    example(
        "start",
        "group = \"g\"\nstart = @",
        "{ offsets = { 0 = 100 } }",
        &[
            "\"newest\"",
            "{ }",
            "{ timestamp = \"yesterday\" }",
            "{ timestamp = -1 }",
            "{ offsets = { x = 1 } }",
            "{ offsets = { 0 = -1 } }",
            "{ offsets = 1 }",
        ],
    ),
    example("start.timestamp", "start = { timestamp = @ }", "\"2026-01-01T00:00:00Z\"", &["\"yesterday\""]),
    example("start.offsets", "start = { offsets = @ }", "{ 0 = 100 }", &["{ x = 1 }", "{ 0 = -1 }"]),
    example("until", "until = @", "\"latest\"", &[]),
    example("group", "group = @", "\"g\"", &["\"a\\nb\""]),
    example("discover", "discover = @", "\"off\"", &[]),
    example("isolation", "isolation = @", "\"read-uncommitted\"", &[]),
    example("attributes", "attributes = @", "true", &[]),
    example("tombstones", "format = \"raw\"\ntombstones = @", "\"keep\"", &[]),
    example("prefetch", "prefetch = @", "\"64KiB\"", &[]),
    example("prefetch_total", "prefetch_total = @", "\"64KiB\"", &[]),
];
const KAFKA_SINK: &[Example] = &[
    example("brokers", "brokers = @", "\"b:9092, c:9092\"", NO_ADDRESS),
    example("topic", "topic = @", "\"sums\"", &["\"a b\"", "\"..\""]),
    example("guarantee", "guarantee = @", "\"at-least-once\"", &[]),
    example("key", "key = @", "\"value\"", &["\"field\"", "{ field = \"a\", column = 1 }"]),
    example("key.field", "key = { field = @ }", "\"id\"", &[]),
    example("key.fields", "key = { fields = @ }", "[\"a\", \"b\"]", &[]),
    example("key.column", "key = { column = @ }", "0", &[]),
    example("headers", "headers = @", "true", &[]),
    example("tombstones", "tombstones = @", "\"empty\"", &[]),
    example("partitioner", "partitioner = @", "\"crc32\"", &[]),
    example("compression", "compression = @", "\"zstd\"", &[]),
    example("linger", "linger = @", "\"0s\"", &[]),
    example("transaction_timeout", "transaction_timeout = @", "\"1s\"", &[]),
    example("max_backlog", "max_backlog = @", "\"1MiB\"", &[]),
];
/// Settings that all sources have. Those of Avro need a connector of messages; the parser does not know which those are.
const SOURCE: &[Example] = &[
    example("connector", "connector = @", "\"generator\"", &["\"stdout\"", "\"no-such\""]),
    example("format", "format = @", "\"csv\"", &[]),
    example("timestamp", "format = \"ndjson\"\ntimestamp = @", "{ field = \"t\", format = \"rfc3339\" }", &["{ }"]),
    example("timestamp.field", "format = \"ndjson\"\ntimestamp = { format = \"unix-ms\", field = @ }", "\"t\"", &[]),
    example("timestamp.column", "format = \"csv\"\ntimestamp = { format = \"unix-ms\", column = @ }", "0", &[]),
    example(
        "timestamp.format",
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = @ }",
        "\"unix-s\"",
        &["\"unix\"", "\"%Q\"", "\"%H\""],
    ),
    example(
        "timestamp.zone",
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = \"%Y-%m-%d %H:%M\", zone = @ }",
        "\"Europe/Berlin\"",
        &[],
    ),
    example("watermark", "watermark = @", "\"ascending\"", &["\"descending\"", "{ }"]),
    example("watermark.out_of_orderness", "watermark = { out_of_orderness = @ }", "\"5s\"", &[]),
    example("watermark.idle_after", "watermark = { out_of_orderness = \"5s\", idle_after = @ }", "\"1min\"", &[]),
    example(
        "watermark.alignment",
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = \"unix-s\" }\nwatermark = { out_of_orderness = \"5s\", alignment = @ }",
        "{ group = \"g\", max_drift = \"1s\" }",
        &["{ }"],
    ),
    example(
        "watermark.alignment.group",
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = \"unix-s\" }\nwatermark = { out_of_orderness = \"5s\", alignment = { max_drift = \"1s\", group = @ } }",
        "\"g\"",
        &[],
    ),
    example(
        "watermark.alignment.max_drift",
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = \"unix-s\" }\nwatermark = { out_of_orderness = \"5s\", alignment = { group = \"g\", max_drift = @ } }",
        "\"0s\"",
        &[],
    ),
    example("rate", "rate = @", "0.5", &["nan", "inf"]),
    example("on_undecodable", "on_undecodable = @", "\"skip\"", &[]),
    example("keep_raw", "keep_raw = @", "true", &[]),
    example("parallelism", "parallelism = @", "2", &[]),
    example("columns", "format = \"csv\"\ncolumns = @", "[\"a\", \"b\"]", &["[]", "[\"\"]", "[\"a\", \"a\"]"]),
    example("null_values", "format = \"csv\"\nnull_values = @", "[\"\", \"NA\"]", &[]),
    example(
        "fields",
        "format = \"ndjson\"\nfields = @",
        "{ a = \"i32?\" }",
        &["{ a = \"int\" }", "{ a = 1 }", "{ a = \"list<\" }"],
    ),
    example("schema", "format = \"avro\"\nschema = @", "\"s.avsc\"", &[]),
    example("registry", "format = \"avro\"\nregistry = @", "{ url = \"http://r:8081\" }", &["{ }"]),
];
const SINK: &[Example] = &[
    example("format", "format = @", "\"ndjson\"", &["\"lines\""]),
    example("header", "format = \"csv\"\nheader = @", "false", &[]),
    example("columns", "format = \"csv\"\ncolumns = @", "[\"a\"]", &["[]", "[\"\"]", "[\"a\", \"a\"]"]),
    example("schema", "format = \"avro\"\nschema = @", "\"s.avsc\"", &[]),
    example("registry", "format = \"avro\"\nregistry = @", "{ url = \"https://r\" }", &["{ }"]),
    example("registry.register", "format = \"avro\"\nregistry = { url = \"http://r\", register = @ }", "false", &[]),
];
const REGISTRY: [Example; 4] = [
    example(
        "registry.url",
        "format = \"avro\"\nregistry = { url = @ }",
        "\"http://r:8081\"",
        &[
            "\"r:8081\"",
            "\"ftp://r\"",
            "\"http://\"",
            "\"http://r:0\"",
            "\"http://r:x\"",
            "\"http://r/?a=b\"",
            "\"http://u:p\\u0040r\"",
        ],
    ),
    example("registry.subject", "format = \"avro\"\nregistry = { url = \"http://r\", subject = @ }", "\"s\"", &[]),
    example("registry.username", "format = \"avro\"\nregistry = { url = \"http://r\", username = @ }", "\"u\"", &[]),
    example(
        "registry.password",
        "format = \"avro\"\nregistry = { url = \"http://r\", username = \"u\", password = @ }",
        "{ secret = \"p\" }",
        &[],
    ),
];

/// Settings that contradict each other, or that have no effect beside the others: the connector, the lines, and what the message says.
const CONTRADICTIONS: &[(&str, Side, &str, &str)] = &[
    ("file", Side::Source, "format = \"ndjson\"\nheader = true", "has no effect"),
    ("file", Side::Source, "format = \"ndjson\"\ncolumns = [\"a\"]", "has no effect"),
    ("file", Side::Source, "format = \"ndjson\"\nnull_values = [\"NA\"]", "has no effect"),
    ("file", Side::Source, "format = \"raw\"\nfields = { a = \"i32\" }", "has no effect"),
    ("file", Side::Source, "format = \"csv\"\ncolumns = [\"a\"]\nfields = { b = \"i32\" }", "not one of the `columns`"),
    ("file", Side::Source, "format = \"csv\"\nschema = \"s.avsc\"", "has no effect"),
    ("file", Side::Source, "format = \"csv\"\nregistry = { url = \"http://r\" }", "has no effect"),
    ("file", Side::Source, "format = \"avro\"", "needs the schema"),
    ("file", Side::Source, "timestamp = \"record\"", "no timestamps of their own"),
    ("file", Side::Source, "format = \"raw\"\ntimestamp = { field = \"t\", format = \"unix-s\" }", "has no fields"),
    ("file", Side::Source, "format = \"ndjson\"\ntimestamp = { column = 1, format = \"unix-s\" }", "no columns"),
    (
        "file",
        Side::Source,
        "format = \"ndjson\"\ntimestamp = { field = \"t\", format = \"unix-s\", zone = \"UTC\" }",
        "UTC",
    ),
    (
        "file",
        Side::Source,
        "watermark = { out_of_orderness = \"1s\", alignment = { group = \"g\", max_drift = \"1s\" } }",
        "needs a `timestamp`",
    ),
    ("file", Side::Sink, "format = \"ndjson\"\nheader = true", "has no effect"),
    ("file", Side::Sink, "format = \"raw\"\ncolumns = [\"a\"]", "has no effect"),
    ("file", Side::Sink, "columns = [\"a\"]", "has no effect"),
    ("file", Side::Sink, "format = \"csv\"\nschema = \"s.avsc\"", "has no effect"),
    ("socket", Side::Source, "parallelism = 2", "must be 1"),
    (
        "http",
        Side::Source,
        "auth = { bearer = { secret = \"s\" }, hmac = { scheme = \"github\", secret = { secret = \"s\" } } }",
        "either",
    ),
    ("http", Side::Source, "auth = { hmac = { secret = { secret = \"s\" } } }", "needs the key `header`"),
    (
        "http",
        Side::Source,
        "auth = { hmac = { scheme = \"github\", header = \"x\", secret = { secret = \"s\" } } }",
        "has no effect",
    ),
    (
        "http",
        Side::Source,
        "auth = { hmac = { scheme = \"stripe\", prefix = \"x\", secret = { secret = \"s\" } } }",
        "has no effect",
    ),
    (
        "http",
        Side::Source,
        "auth = { hmac = { scheme = \"slack\", algorithm = \"sha512\", secret = { secret = \"s\" } } }",
        "has no effect",
    ),
    (
        "http",
        Side::Source,
        "auth = { hmac = { scheme = \"slack\", encoding = \"hex\", secret = { secret = \"s\" } } }",
        "has no effect",
    ),
    (
        "http",
        Side::Source,
        "auth = { hmac = { header = \"x\", tolerance = \"1s\", secret = { secret = \"s\" } } }",
        "has no effect",
    ),
    ("kafka", Side::Source, "topics = [\"a\"]", "cannot be combined"),
    ("kafka", Side::Source, "topic_pattern = \"a*\"", "cannot be combined"),
    ("kafka", Side::Source, "until = \"latest\"\ndiscover = \"1s\"", "has no effect"),
    ("kafka", Side::Source, "start = \"committed\"", "needs the `group`"),
    ("kafka", Side::Source, "-topic\ntopics = [\"a\", \"b\"]\nstart = { offsets = { 0 = 1 } }", "needs one `topic`"),
    ("kafka", Side::Source, "format = \"ndjson\"\ntombstones = \"keep\"", "format = \"raw\""),
    ("kafka", Side::Source, "security = { protocol = \"plaintext\", ca = \"c\" }", "has no effect"),
    ("kafka", Side::Source, "security = { protocol = \"ssl\", username = \"u\" }", "has no effect"),
    ("kafka", Side::Source, "security = { protocol = \"ssl\", mechanism = \"plain\" }", "has no effect"),
    ("kafka", Side::Source, "security = { protocol = \"ssl\", password = { secret = \"p\" } }", "has no effect"),
    ("kafka", Side::Source, "security = { protocol = \"ssl\", key = { secret = \"k\" } }", "has no effect"),
    ("kafka", Side::Source, "security = { protocol = \"ssl\", certificate = \"c\" }", "needs the key `key`"),
    ("kafka", Side::Source, "security = { protocol = \"sasl-ssl\", username = \"u\" }", "needs the key `mechanism`"),
    (
        "kafka",
        Side::Source,
        "security = { protocol = \"sasl-ssl\", mechanism = \"plain\" }",
        "needs the key `username`",
    ),
    (
        "kafka",
        Side::Source,
        "security = { protocol = \"sasl-ssl\", mechanism = \"plain\", username = \"u\" }",
        "needs the key `password`",
    ),
    ("kafka", Side::Source, "security = { ca = \"c\" }", "needs the key `protocol`"),
    ("kafka", Side::Source, "format = \"avro\"\nregistry = { url = \"http://r\", register = true }", "has no effect"),
    (
        "kafka",
        Side::Source,
        "format = \"avro\"\nregistry = { url = \"http://r\", password = { secret = \"p\" } }",
        "has no effect",
    ),
    ("kafka", Side::Sink, "guarantee = \"at-least-once\"\nmax_backlog = \"1GiB\"", "has no effect"),
    ("kafka", Side::Sink, "guarantee = \"at-least-once\"\ntransaction_timeout = \"5s\"", "has no effect"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Sink,
}

/// Returns the settings without which the section of a connector is not accepted.
fn base(connector: &str, side: Side) -> &'static [&'static str] {
    match (connector, side) {
        ("file", _) => &["path = \"p\""],
        ("socket", _) => &["address = \"a:1\""],
        ("kafka", _) => &["brokers = \"b:1\"", "topic = \"t\""],
        _ => &[],
    }
}

fn examples_of(connector: &str, side: Side) -> Vec<&'static Example> {
    let own: &'static [Example] = match (connector, side) {
        ("file", Side::Source) => FILE_SOURCE,
        ("file", Side::Sink) => FILE_SINK,
        ("generator", _) => GENERATOR,
        ("http", _) => HTTP,
        ("kafka", Side::Source) => KAFKA_SOURCE,
        ("kafka", Side::Sink) => KAFKA_SINK,
        ("socket", _) => SOCKET,
        _ => &[],
    };
    let security: &'static [Example] = if connector == "kafka" { &SECURITY } else { &[] };
    own.iter().chain(security).collect()
}

fn key_of(line: &str) -> &str {
    line.split('=').next().unwrap_or_default().trim()
}

/// Returns a pipeline with these lines in the section of a connector, and the number of the line that contains `@`, or of the section.
fn pipeline(connector: &str, side: Side, lines: &str) -> (String, usize) {
    let removed = |line: &&&str| {
        lines.lines().all(|own| key_of(own) != key_of(line) && own.strip_prefix('-') != Some(key_of(line)))
    };
    let mut section: Vec<&str> = base(connector, side).iter().filter(removed).copied().collect();
    section.extend(lines.lines().filter(|line| !line.starts_with('-')));
    let own = if lines.starts_with("connector = ") { String::new() } else { format!("connector = \"{connector}\"\n") };
    let section = format!("{own}{}\n", section.join("\n"));
    let (source, sink) = match side {
        Side::Source => (section.as_str(), "connector = \"blackhole\"\n"),
        // Its fields and columns can be keys.
        Side::Sink => {
            ("connector = \"generator\"\nformat = \"csv\"\ncolumns = [\"id\", \"a\", \"b\"]\n", section.as_str())
        }
    };
    let text = format!(
        "name = \"n\"\n[checkpoint]\ninterval = \"1s\"\n[source.in]\n{source}[sink.out]\ninput = \"in\"\n{sink}"
    );
    let line = text.lines().position(|line| line.contains('@')).map_or(0, |index| index + 1);
    (text, line)
}

fn parse(text: &str) -> Result<PipelineSpec, Error> {
    PipelineSpec::parse(text, "p.toml")
}

/// Values that no setting of the kind accepts.
fn wrong_values(kind: SettingKind) -> Vec<String> {
    const SECRETS: [&str; 6] = [
        "{ }",
        "{ secret = \"a\", env = \"B\" }",
        "{ secret = \"../a\" }",
        "{ secret = 1 }",
        "{ env = \"A=B\" }",
        "{ no = \"x\" }",
    ];
    let fixed = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let outside = |min: u64, max: u64| {
        let below = min.checked_sub(1).map_or("-1".to_owned(), |below| below.to_string());
        [below, (u128::from(max) + 1).to_string()]
    };
    let mut values = fixed(&["1979-05-27"]);
    values.extend(match kind {
        SettingKind::AnyText | SettingKind::Scalar => fixed(&["[\"a\"]", "{ a = 1 }"]),
        SettingKind::Time => fixed(&["true", "1.5", "[\"a\"]", "{ a = 1 }", "\"\"", "-1"]),
        SettingKind::Text | SettingKind::Path | SettingKind::Pattern(_) => {
            fixed(&["1", "true", "[\"a\"]", "{ a = 1 }", "\"\""])
        }
        SettingKind::Choice(_) => fixed(&["1", "true", "[\"a\"]", "{ a = 1 }", "\"\"", "\"no-such-choice\""]),
        SettingKind::Boolean => fixed(&["1", "\"true\"", "[true]", "{ }"]),
        SettingKind::Number { min, max } => {
            [fixed(&["\"1\"", "1.5", "true", "[1]"]), outside(min, max).into()].concat()
        }
        SettingKind::Decimal { .. } => fixed(&["\"1\"", "true", "[1]", "0", "-1", "0.0001", "1e300"]),
        SettingKind::Duration { min_ms, max_ms } => {
            let outside = [min_ms.checked_sub(1), max_ms.checked_add(1)].into_iter().flatten();
            let outside = outside.map(|ms| format!("\"{ms}ms\""));
            let fixed =
                fixed(&["5", "true", "\"\"", "\"5\"", "\"-1s\"", "\"1.5s\"", "\"1week\"", "\"99999999999999999999d\""]);
            fixed.into_iter().chain(outside).collect()
        }
        SettingKind::DurationOr { .. } => fixed(&["5", "true", "\"\"", "\"on\"", "\"5\"", "\"-1s\"", "\"1week\""]),
        SettingKind::SignedDuration => fixed(&["5", "true", "\"\"", "\"-\"", "\"5\"", "\"--1s\"", "\"1week\""]),
        SettingKind::Size { min, max } => {
            [fixed(&["true", "1.5", "\"\"", "\"1XB\"", "\"-1MiB\"", "[1]"]), outside(min, max).into()].concat()
        }
        SettingKind::Texts => fixed(&["1", "true", "\"a\"", "{ a = 1 }", "[1]"]),
        SettingKind::Names => fixed(&["1", "true", "\"a\"", "{ a = 1 }", "[1]", "[]", "[\"\"]", "[\"a\", \"a\"]"]),
        SettingKind::Choices(_) => fixed(&["1", "true", "\"a\"", "{ a = 1 }", "[1]", "[\"no-such-choice\"]"]),
        SettingKind::TextOrTexts => fixed(&["1", "true", "{ a = 1 }", "\"\"", "[]", "[1]", "[\"\"]"]),
        SettingKind::ChoiceOrTable(_) => {
            fixed(&["1", "true", "[]", "\"\"", "\"no-such-choice\"", "{ no_such_key = 1 }"])
        }
        SettingKind::Tables(_) => fixed(&["1", "true", "\"a\"", "{ }", "[1]", "[{ no_such_key = 1 }]"]),
        SettingKind::Table => fixed(&["1", "true", "[]", "\"a\"", "{ no_such_key = 1 }"]),
        SettingKind::Map { values, .. } => {
            let of_kind = wrong_values(*values).into_iter().map(|value| format!("{{ a = {value} }}"));
            fixed(&["1", "true", "[]", "\"a\""]).into_iter().chain(of_kind).collect()
        }
        SettingKind::Secret => [fixed(&["\"plain\"", "1", "true", "[]"]), fixed(&SECRETS)].concat(),
        SettingKind::TextOrSecret => [fixed(&["1", "true", "[]", "\"\""]), fixed(&SECRETS)].concat(),
    });
    values
}

/// Values at the bounds, which are accepted.
fn bounds(kind: SettingKind) -> Vec<String> {
    match kind {
        SettingKind::Choice(choices) => choices.iter().map(|choice| format!("\"{choice}\"")).collect(),
        SettingKind::Boolean => vec!["true".to_owned(), "false".to_owned()],
        SettingKind::Number { min, max } | SettingKind::Size { min, max } => vec![min.to_string(), max.to_string()],
        SettingKind::Duration { min_ms, max_ms } => {
            [min_ms, max_ms.min(34_560_000_000)].map(|ms| format!("\"{ms}ms\"")).into()
        }
        _ => Vec::new(),
    }
}

fn assert_refused(connector: &str, side: Side, lines: &str, value: &str) -> Error {
    let (text, line) = pipeline(connector, side, lines);
    let text = text.replace('@', value);
    let error = parse(&text).err().unwrap_or_else(|| panic!("{connector} accepts\n{text}"));
    assert!(error.code.starts_with("manifest-"), "{error}\n{text}");
    if error.code == "manifest-unknown-key" {
        assert!(!is_valid_by_schema(&text), "the schema accepts\n{text}");
    }
    assert_eq!(error.location.as_ref().map(|location| location.line), Some(line), "{error}\n{text}");
    error
}

/// Tries a setting of one section.
fn check(connector: &str, side: Side, setting: &Setting, example: &Example) {
    let accept = |value: &str| {
        let text = pipeline(connector, side, example.lines).0.replace('@', value);
        // Bounds of two settings may exclude each other.
        parse(&text).unwrap_or_else(|error| panic!("{connector}: `{}`: {error}\n{text}", setting.key));
        // The largest numbers of the parser are beyond what TOML promises.
        assert!(is_valid_by_schema(&text) || text.parse::<toml::Table>().is_err(), "the schema refuses\n{text}");
    };
    accept(example.good);
    // A value may contradict the other lines of its example, or the limits of the whole pipeline.
    let has_pairs = ["security.protocol", "auth.hmac.scheme", "format", "parallelism"].contains(&setting.key);
    bounds(setting.kind).iter().filter(|_| !has_pairs).for_each(|value| accept(value));
    let wrong = wrong_values(setting.kind);
    for value in wrong.iter().map(String::as_str).chain(example.bad.iter().copied()) {
        assert_refused(connector, side, example.lines, value);
    }
    let key = setting.key.rsplit('.').next().unwrap_or_default();
    let misspelled = example.lines.replace(&format!("{key} = @"), &format!("{key}x = @"));
    let error = assert_refused(connector, side, &misspelled, "1");
    assert_eq!(error.code, "manifest-unknown-key", "{error}");
    let hint = error.hint.clone().unwrap_or_default();
    assert!(hint.contains(&format!("`{key}`")), "{connector}: `{key}x`: {hint}");
}

/// Returns all tables of settings with the connector and the side that tries them, and with their examples.
fn tables() -> Vec<(&'static str, Side, Vec<Setting>, Vec<&'static Example>)> {
    let mut tables = Vec::new();
    for connector in CONNECTORS {
        let sides = [
            (Side::Source, connector.source.as_ref().map(|source| source.settings)),
            (Side::Sink, connector.sink.as_ref().map(|sink| sink.settings)),
        ];
        for (side, settings) in sides {
            let examples = examples_of(connector.name, side);
            tables.extend(settings.map(|settings| (connector.name, side, settings.to_vec(), examples)));
        }
    }
    let with_registry = |own: &'static [Example]| own.iter().chain(&REGISTRY).collect::<Vec<_>>();
    let of_source = [SOURCE_SETTINGS, DECODING_SETTINGS, AVRO_SETTINGS].concat();
    tables.push(("generator", Side::Source, of_source, with_registry(SOURCE)));
    let of_sink = [ENCODING_SETTINGS, AVRO_SETTINGS, REGISTER_SETTINGS].concat();
    tables.push(("file", Side::Sink, of_sink, with_registry(SINK)));
    tables
}

#[test]
fn every_setting_has_an_example() {
    for (connector, side, settings, examples) in tables() {
        let (mut keys, mut shown): (Vec<_>, Vec<_>) = (
            settings.iter().map(|setting| setting.key).collect(),
            examples.iter().map(|example| example.key).collect(),
        );
        keys.sort_unstable();
        shown.sort_unstable();
        assert_eq!(
            shown, keys,
            "the examples of {connector} ({side:?}) in settings_tests.rs are not those of its settings"
        );
    }
}

#[test]
fn every_wrong_value_and_misspelled_key_is_refused_with_its_line() {
    let (mut tried, mut failed) = (0, Vec::new());
    for (connector, side, settings, examples) in tables() {
        for setting in &settings {
            let example = examples.iter().find(|example| example.key == setting.key);
            let example = example.unwrap_or_else(|| panic!("`{}` has no example", setting.key));
            // All settings are tried, whatever fails.
            let checked = std::panic::catch_unwind(|| check(connector, side, setting, example));
            failed.extend(checked.is_err().then_some((connector, side, setting.key)));
            tried += 1;
        }
    }
    assert!(tried > 80, "{tried}");
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_their_line() {
    for (connector, side, lines, words) in CONTRADICTIONS {
        if CONNECTORS.iter().all(|known| known.name != *connector) {
            continue;
        }
        let (text, _) = pipeline(connector, *side, lines);
        let error = parse(&text).err().unwrap_or_else(|| panic!("{connector} accepts\n{text}"));
        assert!(error.to_string().contains(words), "`{words}` is not in: {error}");
        let line = error.location.as_ref().unwrap_or_else(|| panic!("{error}")).line;
        // The line of one of the two settings.
        let shown = text.lines().nth(line - 1).unwrap_or_default();
        assert!(lines.contains(shown) || shown.starts_with('['), "line {line}: {error}\n{text}");
    }
}
