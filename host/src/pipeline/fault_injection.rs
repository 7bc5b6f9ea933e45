//! Reads `[fault_injection]`: failures on purpose, for tests and demonstrations of recovery.

use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// Largest number of failures that a pipeline file injects.
const FAILURES_MAX: usize = 100;

/// The settings in `[fault_injection]`.
pub(super) const FAULT_INJECTION_SETTINGS: &[Setting] = &[
    Setting::new("after_checkpoints", SettingKind::Number { min: 1, max: u64::MAX }, "none"),
    Setting::new("failures", SettingKind::Tables(FAILURES_MAX as u64), "empty"),
    Setting::required("failures.at", SettingKind::Choice(&["record", "snapshot", "restore", "commit", "close"])),
    Setting::required("failures.node", SettingKind::Text),
    Setting::new("failures.subtask", SettingKind::Number { min: 0, max: u32::MAX as u64 }, "0"),
    Setting::new("failures.after", SettingKind::Number { min: 1, max: u64::MAX }, "1"),
    Setting::new("failures.checkpoints", SettingKind::Number { min: 0, max: u64::MAX }, "0"),
];

/// The failures that a job injects on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultInjection {
    /// Number of checkpoints after which the job fails, if it has not restarted before.
    pub after_checkpoints: Option<u64>,
    /// Failures at steps of single nodes. Each occurs once.
    pub failures: Vec<InjectedFailure>,
}

/// One failure that a job injects on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFailure {
    /// The step that fails.
    pub step: InjectionStep,
    /// Id of the node that fails.
    pub node: String,
    /// Index of the subtask that fails. Publishing is not divided into subtasks.
    pub subtask: u32,
    /// The step fails when it is done for this time, from 1. Records are counted one by one.
    pub after: u64,
    /// Steps are counted once this number of checkpoints is complete.
    pub checkpoints: u64,
}

/// A step at which a failure is injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectionStep {
    /// Processing or emitting a record.
    Record,
    /// Taking a snapshot for a checkpoint.
    Snapshot,
    /// Opening with restored state.
    Restore,
    /// Publishing the output of a sink after its checkpoint is complete.
    Commit,
    /// Ending after the last snapshot.
    Close,
}

const STEPS: [(&str, InjectionStep); 5] = [
    ("record", InjectionStep::Record),
    ("snapshot", InjectionStep::Snapshot),
    ("restore", InjectionStep::Restore),
    ("commit", InjectionStep::Commit),
    ("close", InjectionStep::Close),
];

/// Reads `[fault_injection]` of a pipeline whose nodes have these ids.
pub(super) fn fault_injection<'n>(
    top: &TomlSection<'_>,
    nodes: impl Iterator<Item = &'n str> + Clone,
) -> Result<FaultInjection> {
    let mut injection = FaultInjection::default();
    let Some(section) = top.section("fault_injection", &setting_keys(FAULT_INJECTION_SETTINGS, None))? else {
        return Ok(injection);
    };
    let failures = section.get("failures");
    if failures.is_none() || section.get("after_checkpoints").is_some() {
        injection.after_checkpoints = Some(section.need("after_checkpoints")?.count(1, u64::MAX)?);
    }
    let Some(item) = failures else { return Ok(injection) };
    let elements = item.elements().filter(|elements| elements.len() <= FAILURES_MAX);
    let elements =
        elements.ok_or_else(|| item.invalid(format_args!("must be a list of up to {FAILURES_MAX} tables")))?;
    injection.failures = elements.iter().map(|element| failure(element, nodes.clone())).collect::<Result<_>>()?;
    Ok(injection)
}

fn failure<'n>(item: &TomlItem<'_>, mut nodes: impl Iterator<Item = &'n str>) -> Result<InjectedFailure> {
    let table = item.section()?;
    table.check_keys(&setting_keys(FAULT_INJECTION_SETTINGS, Some("failures")))?;
    let step = table.need("at")?.choose(&STEPS)?;
    let node = table.need("node")?;
    let id = node.string()?;
    if !nodes.any(|known| known == id) {
        return Err(node.invalid(format_args!("is no node of the pipeline: `{id}`")));
    }
    let count = |key: &str, min: u64, max: u64, default: u64| {
        table.get(key).map(|item| item.count(min, max)).transpose().map(|count| count.unwrap_or(default))
    };
    Ok(InjectedFailure {
        step,
        node: id.to_owned(),
        subtask: u32::try_from(count("subtask", 0, u64::from(u32::MAX), 0)?).unwrap_or(u32::MAX),
        after: count("after", 1, u64::MAX, 1)?,
        checkpoints: count("checkpoints", 0, u64::MAX, 0)?,
    })
}
