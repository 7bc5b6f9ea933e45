//! Reads the settings of the whole job: `[batch]`, `[checkpoint]`, `[state]`, `[sandbox]` and `[heartbeat]`.

use std::time::Duration;

use super::bounds::COLUMN_BYTES_MAX;
use super::setting::{Setting, SettingKind, setting_keys};
use super::spec::{
    BatchSettings, CheckpointCleanup, CheckpointMode, CheckpointSettings, HeartbeatSettings, SandboxSettings,
    StateBackendKind, StateSettings,
};
use super::toml_reader::TomlSection;
use crate::error::Result;

/// Maximum number of records in a batch.
const BATCH_RECORDS_MAX: u64 = 1 << 20;
/// Maximum number of bytes in the channels of a job.
const CHANNEL_BYTES_MAX: u64 = 1 << 40;
/// Maximum number of checkpoints in progress at once. Each holds a snapshot of all state.
const CONCURRENT_MAX: u64 = 100;

/// The shortest duration of most settings.
const ONE_MS: SettingKind = SettingKind::Duration { min_ms: 1, max_ms: u64::MAX };
/// A duration that may be zero.
const ANY_DURATION: SettingKind = SettingKind::Duration { min_ms: 0, max_ms: u64::MAX };
/// A duration that is long enough for a heartbeat.
const HEARTBEAT_DURATION: SettingKind = SettingKind::Duration { min_ms: HEARTBEAT_MS_MIN, max_ms: u64::MAX };
const HEARTBEAT_MS_MIN: u64 = 100;
const RETAINED_MAX: u64 = 1_000_000;

/// The settings in `[batch]`.
pub(super) const BATCH_SETTINGS: &[Setting] = &[
    Setting::new("records", SettingKind::Number { min: 1, max: BATCH_RECORDS_MAX }, "1024"),
    Setting::new("bytes", SettingKind::Size { min: 1, max: COLUMN_BYTES_MAX }, "`\"1MiB\"`"),
    Setting::new("linger", ANY_DURATION, "`\"10ms\"`"),
    Setting::new("channel_bytes", SettingKind::Size { min: 1 << 20, max: CHANNEL_BYTES_MAX }, "`\"128MiB\"`"),
];

/// The settings in `[checkpoint]`.
pub(super) const CHECKPOINT_SETTINGS: &[Setting] = &[
    Setting::new("interval", ONE_MS, "none"),
    Setting::new("records", SettingKind::Number { min: 1, max: u64::MAX }, "none"),
    Setting::new("event_time", ONE_MS, "none"),
    Setting::new("min_pause", ANY_DURATION, "`\"0s\"`"),
    Setting::new("max_concurrent", SettingKind::Number { min: 1, max: CONCURRENT_MAX }, "1"),
    Setting::new("mode", SettingKind::Choice(&["exactly-once", "at-least-once"]), "`\"exactly-once\"`"),
    Setting::new("unaligned_after", ANY_DURATION, "none"),
    Setting::new("retained", SettingKind::Number { min: 1, max: RETAINED_MAX }, "3"),
    Setting::new("on_cancel", SettingKind::Choice(&["delete", "keep"]), "`\"delete\"`"),
    Setting::new("tolerable_failures", SettingKind::Number { min: 0, max: u32::MAX as u64 }, "0"),
    Setting::new("timeout", ONE_MS, "`\"10min\"`"),
    Setting::new("publish_timeout", ONE_MS, "`\"1min\"`"),
    Setting::new("storage", SettingKind::Text, "the server's `--checkpoint-storage`, else its data folder"),
];

/// The settings in `[state]`.
pub(super) const STATE_SETTINGS: &[Setting] =
    &[Setting::new("backend", SettingKind::Choice(&["memory", "rocksdb"]), "`\"memory\"`")];

/// The settings in `[sandbox]`.
pub(super) const SANDBOX_SETTINGS: &[Setting] = &[Setting::new("fresh_instance", SettingKind::Boolean, "`false`")];

/// The settings in `[heartbeat]`.
pub(super) const HEARTBEAT_SETTINGS: &[Setting] = &[
    Setting::new("interval", HEARTBEAT_DURATION, "`\"10s\"`"),
    Setting::new("timeout", HEARTBEAT_DURATION, "`\"50s\"`"),
];

/// Reads `[batch]`.
pub(super) fn batch(top: &TomlSection<'_>) -> Result<BatchSettings> {
    let mut settings = BatchSettings::default();
    let Some(section) = top.section("batch", &setting_keys(BATCH_SETTINGS, None))? else {
        return Ok(settings);
    };
    if let Some(item) = section.get("records") {
        settings.records = usize::try_from(item.count(1, BATCH_RECORDS_MAX)?).unwrap_or(usize::MAX);
    }
    if let Some(item) = section.get("bytes") {
        settings.bytes = item.bytes(1, COLUMN_BYTES_MAX)?;
    }
    if let Some(item) = section.get("linger") {
        settings.linger = item.duration(Duration::ZERO)?;
    }
    if let Some(item) = section.get("channel_bytes") {
        settings.channel_bytes = item.bytes(1 << 20, CHANNEL_BYTES_MAX)?;
    }
    Ok(settings)
}

/// Reads `[checkpoint]`.
pub(super) fn checkpoint(top: &TomlSection<'_>) -> Result<CheckpointSettings> {
    let mut settings = CheckpointSettings {
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
        timeout: Duration::from_mins(10),
        publish_timeout: Duration::from_mins(1),
        storage: None,
    };
    let Some(section) = top.section("checkpoint", &setting_keys(CHECKPOINT_SETTINGS, None))? else {
        return Ok(settings);
    };
    let at_least = Duration::from_millis(1);
    settings.interval = section.get("interval").map(|item| item.duration(at_least)).transpose()?;
    settings.records = section.get("records").map(|item| item.count(1, u64::MAX)).transpose()?;
    settings.event_time = section.get("event_time").map(|item| item.duration(at_least)).transpose()?;
    concurrency(&section, &mut settings)?;
    if let Some(item) = section.get("on_cancel") {
        settings.on_cancel =
            item.choose(&[("delete", CheckpointCleanup::Delete), ("keep", CheckpointCleanup::Keep)])?;
    }
    if let Some(item) = section.get("retained") {
        settings.retained = usize::try_from(item.count(1, RETAINED_MAX)?).unwrap_or(usize::MAX);
    }
    if let Some(item) = section.get("tolerable_failures") {
        settings.tolerable_failures = u32::try_from(item.count(0, u64::from(u32::MAX))?).unwrap_or(u32::MAX);
    }
    if let Some(item) = section.get("timeout") {
        settings.timeout = item.duration(at_least)?;
    }
    if let Some(item) = section.get("publish_timeout") {
        settings.publish_timeout = item.duration(at_least)?;
    }
    settings.storage = section.get("storage").map(|item| item.string().map(str::to_owned)).transpose()?;
    Ok(settings)
}

/// Reads the settings about concurrent checkpoints, and about barriers that wait or overtake records.
fn concurrency(section: &TomlSection<'_>, settings: &mut CheckpointSettings) -> Result<()> {
    if let Some(item) = section.get("max_concurrent") {
        settings.max_concurrent = usize::try_from(item.count(1, CONCURRENT_MAX)?).unwrap_or(1);
    }
    if let Some(item) = section.get("mode") {
        let modes = [("exactly-once", CheckpointMode::ExactlyOnce), ("at-least-once", CheckpointMode::AtLeastOnce)];
        settings.mode = item.choose(&modes)?;
    }
    if let Some(item) = section.get("min_pause") {
        settings.min_pause = item.duration(Duration::ZERO)?;
        if settings.max_concurrent > 1 && !settings.min_pause.is_zero() {
            return Err(item.invalid("has no effect with a `max_concurrent` above 1"));
        }
    }
    if let Some(item) = section.get("unaligned_after") {
        settings.unaligned_after = Some(item.duration(Duration::ZERO)?);
        if settings.mode == CheckpointMode::AtLeastOnce {
            return Err(item.invalid("has no effect with mode = \"at-least-once\", because no input waits"));
        }
        if settings.max_concurrent > 1 {
            return Err(item.invalid("needs a `max_concurrent` of 1"));
        }
    }
    Ok(())
}

/// Reads `[state]`.
pub(super) fn state(top: &TomlSection<'_>) -> Result<StateSettings> {
    let section = top.section("state", &setting_keys(STATE_SETTINGS, None))?;
    let backends = [("memory", StateBackendKind::Memory), ("rocksdb", StateBackendKind::RocksDb)];
    let backend = section.and_then(|section| section.get("backend")).map(|item| item.choose(&backends)).transpose()?;
    Ok(StateSettings { backend: backend.unwrap_or(StateBackendKind::Memory) })
}

/// Reads `[sandbox]`.
pub(super) fn sandbox(top: &TomlSection<'_>) -> Result<SandboxSettings> {
    let section = top.section("sandbox", &setting_keys(SANDBOX_SETTINGS, None))?;
    let fresh = section.and_then(|section| section.get("fresh_instance")).map(|item| item.bool()).transpose()?;
    Ok(SandboxSettings { fresh_instance: fresh.unwrap_or(false) })
}

/// Reads `[heartbeat]`.
pub(super) fn heartbeat(top: &TomlSection<'_>) -> Result<HeartbeatSettings> {
    let mut settings = HeartbeatSettings::default();
    let Some(section) = top.section("heartbeat", &setting_keys(HEARTBEAT_SETTINGS, None))? else { return Ok(settings) };
    let at_least = Duration::from_millis(HEARTBEAT_MS_MIN);
    if let Some(item) = section.get("interval") {
        settings.interval = item.duration(at_least)?;
    }
    if let Some(item) = section.get("timeout") {
        settings.timeout = item.duration(at_least)?;
        if settings.timeout < settings.interval {
            return Err(item.invalid("must not be shorter than `interval`"));
        }
    }
    Ok(settings)
}
