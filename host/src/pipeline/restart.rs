//! Reads `[restart]`.

use std::time::Duration;

use super::setting::{Setting, SettingKind, setting_keys, setting_keys_with};
use super::spec::{CheckpointSettings, ExponentialDelay, FailureLimit, RestartStrategy};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// Largest number of failures that a strategy counts. The times of all of them are part of the job's record.
const FAILURES_MAX: u64 = 10_000;
/// Largest factor between two delays, in thousandths.
const MULTIPLIER_MAX: u64 = 1_000_000;
/// Shortest restart delay. Without one, a job that fails at once would restart without a pause.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// Time over which the attempts of a fixed delay are counted, in addition to the delays themselves.
const FIXED_DELAY_INTERVAL: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, PartialEq, Eq)]
enum StrategyKind {
    None,
    FixedDelay,
    FailureRate,
    ExponentialDelay,
}

const STRATEGIES: [(&str, StrategyKind); 4] = [
    ("none", StrategyKind::None),
    ("fixed-delay", StrategyKind::FixedDelay),
    ("failure-rate", StrategyKind::FailureRate),
    ("exponential-delay", StrategyKind::ExponentialDelay),
];

const FAILURES: SettingKind = SettingKind::Number { min: 1, max: FAILURES_MAX };
const DELAY: SettingKind = SettingKind::Duration { min_ms: 1, max_ms: u64::MAX };
const FIXED: &[&str] = &["fixed-delay"];
const RATE: &[&str] = &["failure-rate"];
const EXPONENTIAL: &[&str] = &["exponential-delay"];

/// The settings in `[restart]`.
pub(super) const RESTART_SETTINGS: &[Setting] = &[
    Setting::new(
        "strategy",
        SettingKind::Choice(&["none", "fixed-delay", "failure-rate", "exponential-delay"]),
        "`\"fixed-delay\"`",
    ),
    Setting::new("attempts", FAILURES, "3").only_with("strategy", FIXED),
    Setting::new("delay", DELAY, "`\"1s\"`").only_with("strategy", FIXED),
    Setting::new("interval", DELAY, "1 h, and `attempts` times `delay`").only_with("strategy", FIXED),
    Setting::new("failures", FAILURES, "1").only_with("strategy", RATE),
    Setting::new("delay", DELAY, "`\"1s\"`").only_with("strategy", RATE),
    Setting::new("interval", DELAY, "`\"1min\"`").only_with("strategy", RATE),
    Setting::new("initial", DELAY, "`\"1s\"`").only_with("strategy", EXPONENTIAL),
    Setting::new("maximum", DELAY, "`\"1min\"`").only_with("strategy", EXPONENTIAL),
    Setting::new("multiplier", SettingKind::Decimal { min: 1_000, max: MULTIPLIER_MAX }, "1.5")
        .only_with("strategy", EXPONENTIAL),
    Setting::new("jitter", SettingKind::Decimal { min: 0, max: 1_000 }, "0.1").only_with("strategy", EXPONENTIAL),
    Setting::new("reset_after", DELAY, "`\"1h\"`").only_with("strategy", EXPONENTIAL),
    Setting::new("attempts", FAILURES, "no limit").only_with("strategy", EXPONENTIAL),
];

impl StrategyKind {
    fn name(self) -> &'static str {
        STRATEGIES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// Reads `[restart]`. Without it, a job with periodic checkpoints restarts after an exponential delay, and another one up to
/// three times.
pub(super) fn restart(top: &TomlSection<'_>, checkpoint: &CheckpointSettings) -> Result<RestartStrategy> {
    let Some(section) = top.section("restart", &setting_keys(RESTART_SETTINGS, None))? else {
        return Ok(match checkpoint.is_periodic() {
            true => RestartStrategy::ExponentialDelay(ExponentialDelay::default()),
            false => RestartStrategy::FixedDelay { limit: fixed_delay_limit(3, DEFAULT_DELAY), delay: DEFAULT_DELAY },
        });
    };
    let chosen = section.get("strategy").map(|item| item.choose(&STRATEGIES)).transpose()?;
    let kind = chosen.unwrap_or(StrategyKind::FixedDelay);
    let known = setting_keys_with(RESTART_SETTINGS, None, kind.name());
    for key in setting_keys(RESTART_SETTINGS, None).into_iter().filter(|key| !known.contains(key)) {
        if let Some(item) = section.get(key) {
            return Err(item.invalid(format_args!("has no effect with strategy = \"{}\"", kind.name())));
        }
    }
    match kind {
        StrategyKind::None => Ok(RestartStrategy::None),
        StrategyKind::FixedDelay => fixed_delay(&section),
        StrategyKind::FailureRate => failure_rate(&section),
        StrategyKind::ExponentialDelay => exponential_delay(&section),
    }
}

const DEFAULT_DELAY: Duration = Duration::from_secs(1);

fn fixed_delay(section: &TomlSection<'_>) -> Result<RestartStrategy> {
    let attempts = section.get("attempts").map(|item| failures(&item)).transpose()?.unwrap_or(3);
    let delay = delay(section)?;
    let mut limit = fixed_delay_limit(attempts, delay);
    set_interval(section, &mut limit, delay, "attempts")?;
    Ok(RestartStrategy::FixedDelay { limit, delay })
}

/// Returns the limit without an `interval`: the attempts are counted over an hour, and over the delays between them.
fn fixed_delay_limit(failures: u32, delay: Duration) -> FailureLimit {
    FailureLimit { failures, interval: FIXED_DELAY_INTERVAL.saturating_add(delay.saturating_mul(failures)) }
}

fn failure_rate(section: &TomlSection<'_>) -> Result<RestartStrategy> {
    let failures = section.get("failures").map(|item| failures(&item)).transpose()?.unwrap_or(1);
    let delay = delay(section)?;
    let mut limit = FailureLimit { failures, interval: Duration::from_secs(60) };
    set_interval(section, &mut limit, delay, "failures")?;
    Ok(RestartStrategy::FailureRate { limit, delay })
}

/// Reads `interval`, and checks that the limit can be reached although each failure is followed by `delay`.
fn set_interval(section: &TomlSection<'_>, limit: &mut FailureLimit, delay: Duration, count: &str) -> Result<()> {
    let item = section.get("interval");
    if let Some(item) = &item {
        limit.interval = item.duration(DELAY_MIN)?;
    }
    if limit.interval > delay.saturating_mul(limit.failures) {
        return Ok(());
    }
    let why = format!("is never reached: `interval` must be longer than `{count}` times `delay`");
    match item.or_else(|| section.get(count)).or_else(|| section.get("delay")) {
        Some(item) => Err(item.invalid(format_args!("makes a limit that {why}"))),
        None => Ok(()),
    }
}

fn exponential_delay(section: &TomlSection<'_>) -> Result<RestartStrategy> {
    let mut settings = ExponentialDelay::default();
    let duration = |key: &str, value: &mut Duration| match section.get(key) {
        Some(item) => item.duration(DELAY_MIN).map(|duration| *value = duration),
        None => Ok(()),
    };
    duration("initial", &mut settings.initial)?;
    settings.maximum = settings.maximum.max(settings.initial);
    duration("maximum", &mut settings.maximum)?;
    duration("reset_after", &mut settings.reset_after)?;
    if let Some(item) = section.get("maximum").filter(|_| settings.maximum < settings.initial) {
        return Err(item.invalid("must be at least `initial`"));
    }
    if let Some(item) = section.get("multiplier") {
        settings.multiplier_thousandths = item.thousandths_within(1_000, MULTIPLIER_MAX)?;
    }
    if let Some(item) = section.get("jitter") {
        settings.jitter_thousandths = item.thousandths_within(0, 1_000)?;
    }
    settings.attempts = section.get("attempts").map(|item| failures(&item)).transpose()?;
    Ok(RestartStrategy::ExponentialDelay(settings))
}

fn delay(section: &TomlSection<'_>) -> Result<Duration> {
    section.get("delay").map_or(Ok(DEFAULT_DELAY), |item| item.duration(DELAY_MIN))
}

/// Reads a number of failures that are followed by a restart.
fn failures(item: &TomlItem<'_>) -> Result<u32> {
    let count = item.count(1, FAILURES_MAX).map_err(|error| {
        error.hint("to never restart, set strategy = \"none\"; for no limit, set strategy = \"exponential-delay\"")
    })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
