//! The ceilings that a server sets for the limits of operators and of kept dead letters: `cofferdam serve --max-limit KEY=VALUE`.

use bytesize::ByteSize;

use super::duration;
use super::fault_settings::{LETTER_BYTES_MAX, LETTER_BYTES_MIN};
use super::limits::{LIMITS, LimitKey, LimitUnit, OperatorLimits};
use super::node_spec::NodeKind;
use super::spec::{DeadLetterSettings, PipelineSpec};
use crate::error::{Result, limit_refused};

/// The ceilings of a server: the largest amount that a pipeline may set for each limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitCeilings {
    amounts: [Option<u64>; LIMITS],
    /// Largest `limit` in `[dead_letters]`, in bytes.
    dead_letters: Option<u64>,
}

/// The name of the ceiling for `limit` in `[dead_letters]`.
const DEAD_LETTERS: &str = "dead_letters";

impl LimitCeilings {
    /// Parses settings such as `memory=256MiB`. The error says what is wrong with one of them.
    pub fn parse(settings: &[String]) -> Result<LimitCeilings, String> {
        let mut ceilings = LimitCeilings::default();
        for setting in settings {
            let (name, amount) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not KEY=VALUE"))?;
            if name == DEAD_LETTERS {
                ceilings.dead_letters = Some(dead_letter_bytes(setting, amount)?);
                continue;
            }
            let key = LimitKey::ALL.into_iter().find(|key| key.as_str() == name).ok_or_else(|| {
                let known: Vec<&str> = LimitKey::ALL.iter().map(|key| key.as_str()).chain([DEAD_LETTERS]).collect();
                format!("`{name}` is not a limit; the limits are {}", known.join(", "))
            })?;
            let rule = key.rule();
            let amount = match rule.unit {
                LimitUnit::Bytes => amount.parse::<ByteSize>().ok().map(|size| size.as_u64()),
                LimitUnit::Count => amount.parse().ok(),
                LimitUnit::Duration => {
                    duration::parse(amount).ok().and_then(|time| u64::try_from(time.as_nanos()).ok())
                }
            };
            let in_range = amount.filter(|amount| (rule.min..=rule.max).contains(amount));
            ceilings.amounts[key as usize] = Some(in_range.ok_or_else(|| {
                let (min, max) = (key.format(rule.min), key.format(rule.max));
                format!("`{setting}`: the value must be between {min} and {max}")
            })?);
        }
        Ok(ceilings)
    }

    /// Cuts the defaults of a pipeline to the ceilings. Error: `limit-refused` if the pipeline file sets a larger amount.
    pub fn apply(&self, pipeline: &mut PipelineSpec) -> Result<()> {
        for node in &mut pipeline.nodes {
            let NodeKind::Operator(operator) = &mut node.kind else { continue };
            for key in self.exceeded_by(&operator.limits) {
                if operator.limits.is_set(key) {
                    let (asked, ceiling) = (key.format(operator.limits.get(key)), key.format(self.of(key)));
                    let (id, name) = (&node.id, key.as_str());
                    return Err(limit_refused(format!(
                        "operator `{id}` asks for limits.{name} = {asked}; this server allows at most {ceiling}"
                    ))
                    .hint(format!("lower it, or start the server with --max-limit {name}=..."))
                    .about(id, "limits"));
                }
            }
        }
        let DeadLetterSettings { limit_bytes, is_limit_set } = pipeline.dead_letters;
        if is_limit_set && limit_bytes > self.dead_letter_bytes() {
            let [asked, ceiling] = [limit_bytes, self.dead_letter_bytes()].map(|bytes| ByteSize(bytes).display().iec());
            return Err(limit_refused(format!(
                "`limit` in [dead_letters] is {asked}; this server allows at most {ceiling}"
            ))
            .hint(format!("lower it, or start the server with --max-limit {DEAD_LETTERS}=...")));
        }
        self.cut(pipeline);
        Ok(())
    }

    /// Cuts all limits of a pipeline to the ceilings, also those that the pipeline file sets. For jobs that were submitted
    /// before the ceilings were lowered.
    pub fn cut(&self, pipeline: &mut PipelineSpec) {
        let letters = &mut pipeline.dead_letters;
        letters.limit_bytes = letters.limit_bytes.min(self.dead_letter_bytes());
        for node in &mut pipeline.nodes {
            let NodeKind::Operator(operator) = &mut node.kind else { continue };
            for key in self.exceeded_by(&operator.limits) {
                operator.limits.cut_to(key, self.of(key));
            }
        }
    }

    fn dead_letter_bytes(&self) -> u64 {
        self.dead_letters.unwrap_or(u64::MAX)
    }

    fn of(&self, key: LimitKey) -> u64 {
        self.amounts[key as usize].unwrap_or(u64::MAX)
    }

    fn exceeded_by(&self, limits: &OperatorLimits) -> Vec<LimitKey> {
        LimitKey::ALL.into_iter().filter(|key| limits.get(*key) > self.of(*key)).collect()
    }
}

fn dead_letter_bytes(setting: &str, amount: &str) -> Result<u64, String> {
    let (min, max) = (LETTER_BYTES_MIN, LETTER_BYTES_MAX);
    let bytes = amount.parse::<ByteSize>().ok().map(|size| size.as_u64());
    bytes.filter(|bytes| (min..=max).contains(bytes)).ok_or_else(|| {
        let [min, max] = [min, max].map(|bytes| ByteSize(bytes).display().iec());
        format!("`{setting}`: the value must be between {min} and {max}")
    })
}
