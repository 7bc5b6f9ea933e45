//! The `limits` of an operator. `limit_ceilings.rs` has the ceilings that a server sets for them.
//!
//! ```text
//! limits = { memory = "64MiB", state_per_turn = "16MiB" }    pipeline file: one table per operator
//! cofferdam serve --max-limit memory=256MiB                  server: a ceiling for all operators
//! ```
//!
//! [`LimitKey`] lists all limits with their range and default. Every limit has a value: the one of the pipeline file, or the
//! default cut to the ceiling. The setting `faults` is no amount, so it has no ceiling.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// The largest `limits.memory`, in bytes: the memory of one slot in the pool of instances.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Nanoseconds per millisecond.
const MS: u64 = 1_000_000;

/// Default of `limits.state` with the memory backend.
const MEMORY_STATE_BYTES: u64 = 2 * GIB;
/// Default of `limits.state` with the RocksDB backend.
const ROCKSDB_STATE_BYTES: u64 = 100 * GIB;

/// What the documentation says of both.
const STATE_DEFAULTS: &str = "`\"2GiB\"` in memory, `\"100GiB\"` in RocksDB";
/// Largest `limits.faults.share`, in thousandths.
const FAULT_SHARE_MAX: u64 = 999;

/// Number of limits.
pub(super) const LIMITS: usize = LimitKey::ALL.len();

/// A limit of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKey {
    /// Memory of an instance.
    Memory,
    /// Processor time of a call.
    Deadline,
    /// Bytes that a call returns.
    Output,
    /// Bytes of state that a turn writes.
    StatePerTurn,
    /// Bytes of one state of one key.
    StatePerKey,
    /// Elements of one list of one key.
    ListElements,
    /// Registered timers of one key.
    TimersPerKey,
    /// Timers that a turn registers.
    TimersPerTurn,
    /// Bytes of all state of the operator.
    State,
    /// Log lines per second.
    LogLines,
    /// Bytes of log lines per second.
    LogBytes,
}

/// How the amount of a limit is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitUnit {
    Bytes,
    /// In nanoseconds.
    Duration,
    Count,
}

/// Range and default of a limit.
pub(super) struct LimitRule {
    /// `limits.` and the name.
    key: &'static str,
    pub unit: LimitUnit,
    pub min: u64,
    pub max: u64,
    default: u64,
    /// The default as the documentation shows it.
    documented: &'static str,
}

const fn rule(
    key: &'static str,
    unit: LimitUnit,
    (min, max): (u64, u64),
    (default, documented): (u64, &'static str),
) -> LimitRule {
    LimitRule { key, unit, min, max, default, documented }
}

/// The settings of operators that this file reads.
pub(super) const LIMIT_SETTINGS: &[Setting] = &{
    const TABLES: [Setting; 5] = [
        Setting::new("limits", SettingKind::Table, "see below"),
        Setting::new("limits.faults", SettingKind::Table, "none"),
        Setting::required("limits.faults.share", SettingKind::Decimal { min: 1, max: FAULT_SHARE_MAX }),
        Setting::new("limits.faults.window", SettingKind::Duration { min_ms: 1000, max_ms: u64::MAX }, "`\"1min\"`"),
        Setting::new("limits.faults.records", SettingKind::Number { min: 1, max: u64::MAX }, "100"),
    ];
    let mut settings = [TABLES[0]; LIMITS + TABLES.len()];
    let mut index = 0;
    while index < settings.len() {
        settings[index] = match index {
            0..LIMITS => LimitKey::ALL[index].rule().setting(),
            _ => TABLES[index - LIMITS],
        };
        index += 1;
    }
    settings
};

impl LimitRule {
    const fn setting(self) -> Setting {
        let kind = match self.unit {
            LimitUnit::Bytes => SettingKind::Size { min: self.min, max: self.max },
            LimitUnit::Count => SettingKind::Number { min: self.min, max: self.max },
            LimitUnit::Duration => SettingKind::Duration { min_ms: self.min / MS, max_ms: self.max / MS },
        };
        Setting::new(self.key, kind, self.documented)
    }
}

impl LimitKey {
    /// All limits.
    pub const ALL: [LimitKey; 11] = [
        LimitKey::Memory,
        LimitKey::Deadline,
        LimitKey::Output,
        LimitKey::StatePerTurn,
        LimitKey::StatePerKey,
        LimitKey::ListElements,
        LimitKey::TimersPerKey,
        LimitKey::TimersPerTurn,
        LimitKey::State,
        LimitKey::LogLines,
        LimitKey::LogBytes,
    ];

    pub(super) const fn rule(self) -> LimitRule {
        use LimitUnit::{Bytes, Count, Duration};
        match self {
            // At least one page of WebAssembly.
            LimitKey::Memory => {
                rule("limits.memory", Bytes, (64 * KIB, MEMORY_BYTES_MAX as u64), (64 * MIB, "`\"64MiB\"`"))
            }
            LimitKey::Deadline => rule("limits.deadline", Duration, (MS, 3_600_000 * MS), (1000 * MS, "`\"1s\"`")),
            // A column has offsets of 32 bits, so its size must stay far below 4 GiB.
            LimitKey::Output => rule("limits.output", Bytes, (1, GIB), (16 * MIB, "`\"16MiB\"`")),
            LimitKey::StatePerTurn => rule("limits.state_per_turn", Bytes, (1, GIB), (16 * MIB, "`\"16MiB\"`")),
            LimitKey::StatePerKey => rule("limits.state_per_key", Bytes, (1, GIB), (64 * MIB, "`\"64MiB\"`")),
            LimitKey::ListElements => {
                rule("limits.list_elements", Count, (1, u32::MAX as u64), (1_000_000, "`1_000_000`"))
            }
            LimitKey::TimersPerKey => {
                rule("limits.timers_per_key", Count, (1, u32::MAX as u64), (100_000, "`100_000`"))
            }
            LimitKey::TimersPerTurn => {
                rule("limits.timers_per_turn", Count, (1, u32::MAX as u64), (100_000, "`100_000`"))
            }
            LimitKey::State => rule("limits.state", Bytes, (1, 1 << 60), (MEMORY_STATE_BYTES, STATE_DEFAULTS)),
            LimitKey::LogLines => rule("limits.log_lines", Count, (1, 1_000_000), (100, "`100`")),
            LimitKey::LogBytes => rule("limits.log_bytes", Bytes, (1, GIB), (256 * KIB, "`\"256KiB\"`")),
        }
    }

    /// Returns its key in the pipeline file, which metrics and messages also use.
    pub const fn as_str(self) -> &'static str {
        self.rule().key.split_at("limits.".len()).1
    }

    /// Formats an amount of this limit.
    pub fn format(self, amount: u64) -> String {
        match self.rule().unit {
            LimitUnit::Bytes => ByteSize::b(amount).to_string(),
            LimitUnit::Duration => humantime::format_duration(Duration::from_nanos(amount)).to_string(),
            LimitUnit::Count => amount.to_string(),
        }
    }
}

/// The limits of one call of a function, as the sandbox enforces them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Memory of the instance, in bytes.
    pub memory_bytes: usize,
    /// Processor time of a call.
    pub deadline: Duration,
    /// Size of the outputs of a call, in bytes.
    pub output_bytes: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        OperatorLimits::default().guest()
    }
}

/// The limits of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorLimits {
    amounts: [u64; LIMITS],
    /// Whether the pipeline file sets the limit.
    is_set: [bool; LIMITS],
    /// The share of bad records above which the job fails, if it is limited.
    pub faults: Option<FaultShareLimit>,
}

/// The setting `limits.faults`: the largest share of bad records within a window of processing time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultShareLimit {
    /// Largest share of bad records, in thousandths.
    pub share_thousandths: u32,
    /// Length of the window.
    pub window: Duration,
    /// Number of records in the window below which the limit does not apply.
    pub records_min: u64,
}

impl Default for OperatorLimits {
    /// Returns the limits of an operator with the memory backend.
    fn default() -> OperatorLimits {
        let amounts = LimitKey::ALL.map(|key| key.rule().default);
        OperatorLimits { amounts, is_set: [false; LIMITS], faults: None }
    }
}

impl OperatorLimits {
    /// Returns the amount of a limit. Durations are in nanoseconds.
    pub fn get(&self, key: LimitKey) -> u64 {
        self.amounts[key as usize]
    }

    /// Returns the amount of a limit as a size in memory.
    pub fn size(&self, key: LimitKey) -> usize {
        usize::try_from(self.get(key)).unwrap_or(usize::MAX)
    }

    /// Returns the limits with another amount of one of them.
    pub fn with(mut self, key: LimitKey, amount: u64) -> OperatorLimits {
        self.amounts[key as usize] = amount;
        self.is_set[key as usize] = true;
        self
    }

    /// Returns the limits that the sandbox enforces.
    pub fn guest(&self) -> GuestLimits {
        GuestLimits {
            memory_bytes: self.size(LimitKey::Memory),
            deadline: Duration::from_nanos(self.get(LimitKey::Deadline)),
            output_bytes: self.size(LimitKey::Output),
        }
    }

    /// Returns whether the pipeline file sets a limit.
    pub(super) fn is_set(&self, key: LimitKey) -> bool {
        self.is_set[key as usize]
    }

    /// Sets the amount of a limit that the pipeline file does not choose.
    pub(super) fn cut_to(&mut self, key: LimitKey, amount: u64) {
        self.amounts[key as usize] = amount;
    }

    /// Sets the default of `limits.state`, which depends on whether the backend keeps state on disk.
    pub(super) fn default_state(&mut self, is_on_disk: bool) {
        if !self.is_set(LimitKey::State) {
            self.cut_to(LimitKey::State, if is_on_disk { ROCKSDB_STATE_BYTES } else { MEMORY_STATE_BYTES });
        }
    }
}

/// Reads the table `limits` of an operator.
pub(super) fn read(item: &TomlItem<'_>) -> Result<OperatorLimits> {
    let section = item.section()?;
    section.check_keys(&setting_keys(LIMIT_SETTINGS, Some("limits")))?;
    let mut limits = OperatorLimits::default();
    for key in LimitKey::ALL {
        if let Some(item) = section.get(key.as_str()) {
            limits = limits.with(key, read_amount(&item, &key.rule())?);
        }
    }
    limits.faults = section.get("faults").map(|item| fault_share(&item.section()?)).transpose()?;
    Ok(limits)
}

fn read_amount(item: &TomlItem<'_>, rule: &LimitRule) -> Result<u64> {
    match rule.unit {
        LimitUnit::Bytes => Ok(item.bytes(rule.min, rule.max)? as u64),
        LimitUnit::Count => item.count(rule.min, rule.max),
        LimitUnit::Duration => {
            let nanos = item.duration(Duration::from_nanos(rule.min))?.as_nanos();
            u64::try_from(nanos).ok().filter(|nanos| *nanos <= rule.max).ok_or_else(|| {
                let max = humantime::format_duration(Duration::from_nanos(rule.max));
                item.invalid(format_args!("must be {max} or less"))
            })
        }
    }
}

fn fault_share(section: &TomlSection<'_>) -> Result<FaultShareLimit> {
    section.check_keys(&setting_keys(LIMIT_SETTINGS, Some("limits.faults")))?;
    let share = section.need("share")?;
    let thousandths = share.thousandths_within(1, FAULT_SHARE_MAX)?;
    let window = section.get("window").map(|item| item.duration(Duration::from_secs(1))).transpose()?;
    let records_min = section.get("records").map(|item| item.count(1, u64::MAX)).transpose()?;
    Ok(FaultShareLimit {
        share_thousandths: thousandths as u32,
        window: window.unwrap_or(Duration::from_secs(60)),
        records_min: records_min.unwrap_or(100),
    })
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limits.{}", self.as_str())
    }
}
