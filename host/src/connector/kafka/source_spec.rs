//! The settings of a Kafka source.

use std::collections::HashMap;
use std::time::Duration;

use super::client::{ConsumerSettings, FetchedTopics, KafkaConsumer, PREFETCH_BYTES_MIN, StartOffset};
use super::connection_settings::ConnectionSpec;
use super::kafka_source::KafkaSource;
use super::security_settings::SECURITY_SETTINGS;
use super::source_settings::{KafkaSourceSettings, RecordContent};
use super::topics::{TopicSelection, matches, name_defect};
use crate::access::PipelinePaths;
use crate::connector::context::ConnectorContext;
use crate::connector::source::{Replay, Source, SourceCheck};
use crate::connector::spec::{self, SourceSpec};
use crate::error::{Result, source_missing};
use crate::format::SourceDecoding;
use crate::pipeline::{
    FileFormat, RecordParts, SecretReference, Setting, SettingKind, SourceSettings, TomlItem, TomlSection,
    joined_settings, setting_keys, source_format,
};

/// The settings of this file, and those of the connection.
pub(super) const SETTINGS: &[Setting] =
    &joined_settings::<{ OWN_SETTINGS.len() + SECURITY_SETTINGS.len() }>(&[OWN_SETTINGS, SECURITY_SETTINGS]);

const OWN_SETTINGS: &[Setting] = &[
    Setting::required("brokers", SettingKind::TextOrTexts),
    Setting::new("topic", SettingKind::Text, ""),
    Setting::new("topics", SettingKind::Texts, ""),
    Setting::new("topic_pattern", SettingKind::Text, ""),
    Setting::new("start", SettingKind::ChoiceOrTable(&["earliest", "latest", "committed"]), "`\"earliest\"`"),
    Setting::new("start.timestamp", SettingKind::Time, "none"),
    Setting::new("start.offsets", SettingKind::Map { keys: "^[0-9]+$", values: OFFSET }, "none"),
    Setting::new("until", SettingKind::Choice(&["latest"]), ""),
    Setting::new("group", SettingKind::Text, "`\"cofferdam.JOB.SOURCE\"`"),
    Setting::new("discover", SettingKind::DurationOr { word: "off", min_ms: 100 }, "`\"30s\"`"),
    Setting::new("isolation", SettingKind::Choice(&["read-committed", "read-uncommitted"]), "`\"read-committed\"`"),
    Setting::new("attributes", SettingKind::Boolean, "`false`"),
    Setting::new("tombstones", SettingKind::Choice(&["skip", "keep"]), "`\"skip\"`"),
    Setting::new("prefetch", SettingKind::Size { min: 64 << 10, max: 1 << 30 }, "`\"4MiB\"`"),
    Setting::new("prefetch_total", SettingKind::Size { min: 64 << 10, max: 1 << 40 }, "`\"64MiB\"`"),
];

const OFFSET: &SettingKind = &SettingKind::Number { min: 0, max: i64::MAX as u64 };
const DISCOVER: Duration = Duration::from_secs(30);
const PREFETCH_BYTES: usize = 4 << 20;
const PREFETCH_TOTAL_BYTES: usize = 64 << 20;
/// Time that a check at submit may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of a Kafka source.
#[derive(Debug)]
struct KafkaSourceSpec {
    connection: ConnectionSpec,
    topics: TopicSelection,
    /// The setting that names the topics.
    topics_key: &'static str,
    format: FileFormat,
    start: StartOffset,
    ends_at_latest: bool,
    group: Option<String>,
    discover: Option<Duration>,
    is_committed_only: bool,
    attributes: bool,
    tombstones: bool,
    prefetch_bytes: usize,
    prefetch_total_bytes: usize,
}

/// Reads `[source.ID]` with `connector = "kafka"`.
pub(super) fn read(section: &TomlSection<'_>) -> Result<Box<dyn SourceSettings>> {
    let connection = ConnectionSpec::read(section)?;
    let (topics, topics_key) = topics(section)?;
    let format = source_format(section)?.unwrap_or(FileFormat::Lines);
    let group = section.get("group").map(|item| group(&item)).transpose()?;
    let start = section.get("start").map(|item| start(&item, &topics, group.as_deref())).transpose()?;
    let ends_at_latest = match section.get("until") {
        Some(item) => item.choose(&[("latest", true)])?,
        None => false,
    };
    let discover = match section.get("discover") {
        Some(item) if ends_at_latest => return Err(item.invalid("has no effect with until = \"latest\"")),
        Some(item) if item.as_str() == Some("off") => None,
        Some(item) => Some(item.duration(Duration::from_millis(100))?),
        None => Some(DISCOVER),
    };
    let isolation =
        section.get("isolation").map(|item| item.choose(&[("read-committed", true), ("read-uncommitted", false)]));
    let tombstones = match section.get("tombstones") {
        Some(item) => item.choose(&[("skip", false), ("keep", true)]).and_then(|keep| match keep {
            true if format != FileFormat::Raw => {
                Err(item.invalid("\"keep\" needs format = \"raw\": a record without a value has no fields"))
            }
            keep => Ok(keep),
        })?,
        None => false,
    };
    Ok(spec::source(KafkaSourceSpec {
        connection,
        topics,
        topics_key,
        format,
        start: start.unwrap_or(StartOffset::Earliest),
        ends_at_latest,
        group,
        discover,
        is_committed_only: isolation.transpose()?.unwrap_or(true),
        attributes: section.get("attributes").map(|item| item.bool()).transpose()?.unwrap_or(false),
        tombstones,
        prefetch_bytes: match section.get("prefetch") {
            Some(item) => item.bytes(PREFETCH_BYTES_MIN as u64, 1 << 30)?,
            None => PREFETCH_BYTES,
        },
        prefetch_total_bytes: match section.get("prefetch_total") {
            Some(item) => item.bytes(PREFETCH_BYTES_MIN as u64, 1 << 40)?,
            None => PREFETCH_TOTAL_BYTES,
        },
    }))
}

fn topics(section: &TomlSection<'_>) -> Result<(TopicSelection, &'static str)> {
    const KEYS: [&str; 3] = ["topic", "topics", "topic_pattern"];
    let mut given = KEYS.into_iter().filter_map(|key| section.get(key).map(|item| (key, item)));
    let Some((key, item)) = given.next() else {
        // Names the key in the error.
        section.need("topic")?;
        return Ok((TopicSelection::Names(Vec::new()), "topic"));
    };
    if let Some((other, item)) = given.next() {
        return Err(item.invalid(format_args!("cannot be combined with `{key}`; `{other}` is one too many")));
    }
    let name = |item: &TomlItem<'_>| {
        let name = item.string()?;
        name_defect(name).map_or_else(|| Ok(name.to_owned()), |why| Err(item.invalid(why)))
    };
    let selection = match key {
        "topic" => TopicSelection::Names(vec![name(&item)?]),
        "topics" => {
            let elements = item.elements().ok_or_else(|| item.invalid("must be a list of topics"))?;
            let mut names: Vec<String> = elements.iter().map(name).collect::<Result<_>>()?;
            names.sort_unstable();
            names.dedup();
            if names.is_empty() {
                return Err(item.invalid("must have at least one topic"));
            }
            TopicSelection::Names(names)
        }
        _ => {
            let pattern = item.string()?;
            let plain: String = pattern.chars().filter(|c| !matches!(c, '*' | '?')).collect();
            if pattern.is_empty() || name_defect(&format!("x{plain}")).is_some() {
                return Err(item.invalid("must be a name in which `*` stands for any characters and `?` for one"));
            }
            TopicSelection::Pattern(pattern.to_owned())
        }
    };
    Ok((selection, key))
}

fn group(item: &TomlItem<'_>) -> Result<String> {
    let group = item.string()?;
    match group.is_empty() || group.contains(char::is_control) || group.len() > 255 {
        true => Err(item.invalid("must be the name of a consumer group")),
        false => Ok(group.to_owned()),
    }
}

fn start(item: &TomlItem<'_>, topics: &TopicSelection, group: Option<&str>) -> Result<StartOffset> {
    if !item.is_table() {
        let hint = "a start is \"earliest\", \"latest\", \"committed\", { timestamp = \"2026-01-01T00:00:00Z\" } or { offsets = { 0 = 100 } }";
        let choices = [("earliest", 0), ("latest", 1), ("committed", 2)];
        return match item.choose(&choices).map_err(|error| error.hint(hint))? {
            0 => Ok(StartOffset::Earliest),
            1 => Ok(StartOffset::Latest),
            _ if group.is_none() => Err(item.invalid("\"committed\" needs the `group` that has committed offsets")),
            _ => Ok(StartOffset::Committed),
        };
    }
    let section = item.section()?;
    section.check_keys(&setting_keys(SETTINGS, Some("start")))?;
    if let Some(item) = section.get("timestamp") {
        return timestamp(&item).map(StartOffset::Timestamp);
    }
    let offsets = section.need("offsets")?;
    if !matches!(topics, TopicSelection::Names(names) if names.len() == 1) {
        return Err(offsets.invalid("needs one `topic`: offsets are named by partition"));
    }
    let mut all = HashMap::new();
    for (partition, _, item) in offsets.section()?.entries() {
        let Ok(partition) = partition.parse::<i32>() else {
            return Err(item.invalid(format_args!("is for `{partition}`, which is no number of a partition")));
        };
        all.insert(partition, item.count(0, i64::MAX as u64)?.cast_signed());
    }
    Ok(StartOffset::Offsets(all))
}

/// Reads milliseconds since 1970, or a time as RFC 3339 writes it.
fn timestamp(item: &TomlItem<'_>) -> Result<i64> {
    let Some(text) = item.as_str() else { return item.count(0, i64::MAX as u64).map(u64::cast_signed) };
    let parsed: Result<jiff::Timestamp, _> = text.parse();
    parsed
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| item.invalid("must be a time such as \"2026-01-01T00:00:00Z\", or milliseconds since 1970"))
}

impl KafkaSourceSpec {
    fn consumer_settings(&self, group: &str) -> ConsumerSettings {
        ConsumerSettings {
            group: group.to_owned(),
            is_committed_only: self.is_committed_only,
            prefetch_bytes: self.prefetch_bytes,
        }
    }

    /// Asks the cluster for the topics, and leaves nothing behind.
    fn check_cluster(&self, paths: &PipelinePaths) -> Result<()> {
        let connection = self.connection.resolve(paths, "", "cofferdam-check".to_owned())?;
        let settings = self.consumer_settings(self.group.as_deref().unwrap_or("cofferdam-check"));
        let consumer = KafkaConsumer::create(&connection, &settings, CHECK_TIMEOUT, || {})?;
        let fetch = |name: Option<&str>| consumer.fetch_topics(name).map_err(|error| error.into_source_error());
        let check = |FetchedTopics { brokers, .. }: &FetchedTopics| {
            brokers.iter().try_for_each(|broker| paths.policy.check_address(broker))
        };
        match &self.topics {
            TopicSelection::Names(names) => names.iter().try_for_each(|name| check(&fetch(Some(name))?)),
            TopicSelection::Pattern(pattern) => {
                let fetched = fetch(None)?;
                check(&fetched)?;
                match fetched.topics.iter().any(|(topic, _)| matches(pattern, topic)) {
                    true => Ok(()),
                    false => {
                        Err(source_missing(format!("no topic of {} matches `{pattern}`", self.connection.shown()))
                            .hint("create one of the topics first, or correct the pattern"))
                    }
                }
            }
        }
    }
}

impl SourceSpec for KafkaSourceSpec {
    fn format(&self) -> (FileFormat, bool) {
        (self.format, false)
    }

    fn topic(&self) -> Option<String> {
        match &self.topics {
            TopicSelection::Names(names) if names.len() == 1 => names.first().cloned(),
            TopicSelection::Names(_) | TopicSelection::Pattern(_) => Some(String::new()),
        }
    }

    fn replay(&self) -> Replay {
        Replay::Yes
    }

    fn record_parts(&self) -> RecordParts {
        RecordParts { timestamps: true, keys: true }
    }

    fn location_key(&self) -> &'static str {
        self.topics_key
    }

    fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        self.connection.secrets()
    }

    fn check(&self, paths: &PipelinePaths, check: SourceCheck<'_>) -> Result<Option<Vec<String>>> {
        match check {
            SourceCheck::Submit => self.check_cluster(paths),
            SourceCheck::Attempt { .. } => self.connection.check(paths),
        }
        .map(|()| None)
    }

    fn open(
        &self,
        decoding: &SourceDecoding,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Box<dyn Source>> {
        let ConnectorContext { job_id, node, subtask, base_dir, policy, .. } = context;
        let paths = PipelinePaths { base_dir: base_dir.clone(), policy: policy.clone() };
        let default_group = format!("cofferdam.{job_id}.{node}");
        let settings = KafkaSourceSettings {
            connection: self.connection.resolve(&paths, node, format!("cofferdam.{job_id}.{node}.{subtask}"))?,
            topics: self.topics.clone(),
            start: self.start.clone(),
            ends_at_latest: self.ends_at_latest,
            consumer: self.consumer_settings(self.group.as_deref().unwrap_or(&default_group)),
            prefetch_total_bytes: self.prefetch_total_bytes,
            discover: self.discover,
            content: RecordContent {
                timestamps: decoding.record_timestamps,
                attributes: self.attributes,
                keys: decoding.record_keys,
                tombstones: self.tombstones,
            },
        };
        Ok(Box::new(KafkaSource::open(settings, context, positions)?))
    }
}
