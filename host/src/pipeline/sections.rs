//! The tables of settings by the sections of the pipeline file: the whole file, the job, and the nodes.

use super::avro_settings::{AVRO_SETTINGS, REGISTER_SETTINGS};
use super::bounds::NAME_PATTERN;
use super::connector::Connector;
use super::fault_injection::FAULT_INJECTION_SETTINGS;
use super::fault_settings::{DEAD_LETTER_SETTINGS, FAULT_SETTINGS};
use super::grants::GRANT_SETTINGS;
use super::interval::INTERVAL_SETTINGS;
use super::job_settings::{BATCH_SETTINGS, CHECKPOINT_SETTINGS, HEARTBEAT_SETTINGS, SANDBOX_SETTINGS, STATE_SETTINGS};
use super::limits::LIMIT_SETTINGS;
use super::operator_settings::OPERATOR_SETTINGS;
use super::record_format::{DECODING_SETTINGS, ENCODING_SETTINGS};
use super::restart::RESTART_SETTINGS;
use super::row_operator::ROW_SETTINGS;
use super::setting::{Setting, SettingKind, setting_keys};
use super::sink_settings::SINK_SETTINGS;
use super::source_settings::SOURCE_SETTINGS;
use super::window::WINDOW_SETTINGS;
use crate::model::MAX_PARALLELISM_LIMIT;

/// The settings of the whole pipeline, which are in no table.
pub(super) const PIPELINE_SETTINGS: &[Setting] = &[
    Setting::required("name", SettingKind::Pattern(NAME_PATTERN)),
    Setting::new("parallelism", SettingKind::Number { min: 1, max: MAX_PARALLELISM_LIMIT as u64 }, "1"),
    Setting::new(
        "max_parallelism",
        SettingKind::Number { min: 1, max: MAX_PARALLELISM_LIMIT as u64 },
        "the power of two at or above 1.5 times the largest parallelism of a node, between 128 and 32768",
    ),
    Setting::new("seed", SettingKind::Number { min: 0, max: u64::MAX }, "chosen at submit"),
];

/// The tables of the job by their names.
pub(super) const JOB_TABLES: [(&str, &[Setting]); 8] = [
    ("batch", BATCH_SETTINGS),
    ("checkpoint", CHECKPOINT_SETTINGS),
    ("restart", RESTART_SETTINGS),
    ("fault_injection", FAULT_INJECTION_SETTINGS),
    ("state", STATE_SETTINGS),
    ("sandbox", SANDBOX_SETTINGS),
    ("dead_letters", DEAD_LETTER_SETTINGS),
    ("heartbeat", HEARTBEAT_SETTINGS),
];

/// The tables that contain the nodes.
pub(super) const NODE_KINDS: [&str; 3] = ["source", "operator", "sink"];

/// Returns the keys of the pipeline file itself.
pub(super) fn top_keys() -> Vec<&'static str> {
    let tables = JOB_TABLES.iter().map(|(name, _)| *name).chain(NODE_KINDS);
    setting_keys(PIPELINE_SETTINGS, None).into_iter().chain(tables).collect()
}

/// Returns the settings of operators.
pub(super) fn operator_settings() -> Vec<Setting> {
    [
        OPERATOR_SETTINGS,
        FAULT_SETTINGS,
        INTERVAL_SETTINGS,
        LIMIT_SETTINGS,
        GRANT_SETTINGS,
        WINDOW_SETTINGS,
        ROW_SETTINGS,
    ]
    .concat()
}

/// Returns the settings of the sources of a connector, if it has any.
pub(super) fn source_settings(connector: &Connector) -> Option<Vec<Setting>> {
    let source = connector.source.as_ref()?;
    Some([SOURCE_SETTINGS, DECODING_SETTINGS, AVRO_SETTINGS, source.settings].concat())
}

/// Returns the settings of the sinks of a connector, if it has any.
pub(super) fn sink_settings(connector: &Connector) -> Option<Vec<Setting>> {
    let sink = connector.sink.as_ref()?;
    let encoding = if sink.encodes { [ENCODING_SETTINGS, AVRO_SETTINGS, REGISTER_SETTINGS] } else { [&[][..]; 3] };
    Some([&[SINK_SETTINGS][..], &encoding[..], &[sink.settings][..]].concat().concat())
}

/// Returns all tables of settings with the sections of the documentation that describe them. Those of the connectors have sections like
/// `source.file`.
#[cfg(test)]
pub(crate) fn setting_tables(connectors: &[&Connector]) -> Vec<(String, Vec<Setting>)> {
    let mut tables = vec![
        (String::new(), PIPELINE_SETTINGS.to_vec()),
        ("operator".to_owned(), operator_settings()),
        ("source".to_owned(), [SOURCE_SETTINGS, DECODING_SETTINGS, AVRO_SETTINGS, REGISTER_SETTINGS].concat()),
        ("sink".to_owned(), [SINK_SETTINGS, ENCODING_SETTINGS].concat()),
    ];
    tables.extend(JOB_TABLES.map(|(name, settings)| (name.to_owned(), settings.to_vec())));
    for connector in connectors {
        let name = connector.name;
        tables.extend(source_settings(connector).map(|settings| (format!("source.{name}"), settings)));
        tables.extend(sink_settings(connector).map(|settings| (format!("sink.{name}"), settings)));
    }
    tables
}
