//! Reads what happens to the bad records of an operator (`on_fault`, `retry`), and how many dead letters a job keeps
//! (`[dead_letters]`).

use std::time::Duration;

use super::node_spec::{FaultPolicy, RetrySettings};
use super::setting::{Setting, SettingKind, setting_keys};
use super::spec::DeadLetterSettings;
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// Largest number of retries of one record.
const ATTEMPTS_MAX: u64 = 100;
/// Longest time that the retries of one record may wait in total. The subtask handles no barrier in this time.
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// Smallest limit of the kept dead letters, in bytes.
pub(super) const LETTER_BYTES_MIN: u64 = 1 << 10;
/// Largest limit of the kept dead letters, in bytes.
pub(super) const LETTER_BYTES_MAX: u64 = 1 << 44;

/// The settings of operators that this file reads.
pub(super) const FAULT_SETTINGS: &[Setting] = &[
    Setting::new("on_fault", SettingKind::Choice(&["fail", "skip", "retry", "dead-letter"]), "`\"fail\"`"),
    Setting::new("retry", SettingKind::Table, "none"),
    Setting::required("retry.attempts", SettingKind::Number { min: 1, max: ATTEMPTS_MAX }),
    Setting::required("retry.backoff", SettingKind::Duration { min_ms: 0, max_ms: u64::MAX }),
    Setting::new("retry.then", SettingKind::Choice(&["fail", "skip", "dead-letter"]), "`\"fail\"`"),
];

/// The settings in `[dead_letters]`.
pub(super) const DEAD_LETTER_SETTINGS: &[Setting] =
    &[Setting::new("limit", SettingKind::Size { min: LETTER_BYTES_MIN, max: LETTER_BYTES_MAX }, "`\"1GiB\"`")];

/// How `on_fault` begins to handle a bad record.
#[derive(Clone, Copy)]
enum FirstReaction {
    Policy(FaultPolicy),
    Retry,
}

const POLICIES: [(&str, FaultPolicy); 3] =
    [("fail", FaultPolicy::Fail), ("skip", FaultPolicy::Skip), ("dead-letter", FaultPolicy::DeadLetter)];

/// Reads `on_fault` and `retry`. The policy is the one that applies after the last retry.
pub(super) fn read(section: &TomlSection<'_>) -> Result<(FaultPolicy, Option<RetrySettings>)> {
    let policies = POLICIES.map(|(name, policy)| (name, FirstReaction::Policy(policy)));
    let choices = [&policies[..], &[("retry", FirstReaction::Retry)]].concat();
    let on_fault = section.get("on_fault");
    let reaction = on_fault.as_ref().map(|item| item.choose(&choices)).transpose()?;
    match (reaction.unwrap_or(FirstReaction::Policy(FaultPolicy::Fail)), section.get("retry")) {
        (FirstReaction::Policy(policy), None) => Ok((policy, None)),
        (FirstReaction::Policy(_), Some(item)) => Err(item.invalid("needs on_fault = \"retry\"")),
        (FirstReaction::Retry, Some(item)) => retry(&item).map(|(then, retry)| (then, Some(retry))),
        (FirstReaction::Retry, None) => {
            let item = on_fault.map_or_else(|| section.need("on_fault"), Ok)?;
            Err(item.invalid("needs `retry = { attempts = .., backoff = .., then = .. }`"))
        }
    }
}

fn retry(item: &TomlItem<'_>) -> Result<(FaultPolicy, RetrySettings)> {
    let section = item.section()?;
    section.check_keys(&setting_keys(FAULT_SETTINGS, Some("retry")))?;
    let attempts = section.need("attempts")?.count(1, ATTEMPTS_MAX)?;
    let backoff = section.need("backoff")?.duration(Duration::ZERO)?;
    let retry = RetrySettings { attempts: u32::try_from(attempts).unwrap_or(u32::MAX), backoff };
    let total =
        (1..=retry.attempts).fold(Duration::ZERO, |sum, attempt| sum.saturating_add(retry.wait_before(attempt)));
    if total > RETRY_TIME_MAX {
        let (total, max) = (humantime::format_duration(total), humantime::format_duration(RETRY_TIME_MAX));
        return Err(item.invalid(format_args!(
            "lets a record wait for {total} in total, and the most is {max}: other records and checkpoints wait with it"
        )));
    }
    let then = section.get("then").map(|item| item.choose(&POLICIES)).transpose()?;
    Ok((then.unwrap_or(FaultPolicy::Fail), retry))
}

/// Reads `[dead_letters]`.
pub(super) fn dead_letters(top: &TomlSection<'_>) -> Result<DeadLetterSettings> {
    let mut settings = DeadLetterSettings::default();
    let section = top.section("dead_letters", &setting_keys(DEAD_LETTER_SETTINGS, None))?;
    if let Some(item) = section.and_then(|section| section.get("limit")) {
        settings.limit_bytes = item.bytes(LETTER_BYTES_MIN, LETTER_BYTES_MAX)? as u64;
        settings.is_limit_set = true;
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{NodeKind, PipelineSpec};

    fn parse(settings: &str) -> Result<PipelineSpec> {
        let text = format!(
            "name = \"a\"\n[source.in]\nconnector = \"generator\"\n[operator.act]\ninput = \"in\"\ncomponent = \"c\"\nfunction = \"f\"\n\
             {settings}\n[sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        );
        PipelineSpec::parse(&text, "pipeline.toml")
    }

    fn settings(text: &str) -> (FaultPolicy, Option<RetrySettings>) {
        let NodeKind::Operator(operator) = &parse(text).unwrap().nodes[1].kind else { panic!("not an operator") };
        (operator.on_fault, operator.retry)
    }

    #[test]
    fn a_retry_names_the_policy_that_follows() {
        let retry = |attempts, ms| Some(RetrySettings { attempts, backoff: Duration::from_millis(ms) });
        let text = |retry: &str| format!("on_fault = \"retry\"\nretry = {{ {retry} }}");
        assert_eq!(settings(""), (FaultPolicy::Fail, None));
        assert_eq!(settings(&text("attempts = 3, backoff = \"10ms\"")), (FaultPolicy::Fail, retry(3, 10)));
        let then = text("attempts = 1, backoff = \"0s\", then = \"dead-letter\"");
        assert_eq!(settings(&then), (FaultPolicy::DeadLetter, retry(1, 0)));
    }

    #[test]
    fn a_retry_is_complete_and_bounded() {
        for text in [
            "on_fault = \"retry\"",
            "on_fault = \"skip\"\nretry = { attempts = 1, backoff = \"1s\" }",
            "on_fault = \"retry\"\nretry = { backoff = \"1s\" }",
            "on_fault = \"retry\"\nretry = { attempts = 0, backoff = \"1s\" }",
            "on_fault = \"retry\"\nretry = { attempts = 1, backoff = \"1s\", then = \"retry\" }",
            "on_fault = \"retry\"\nretry = { attempts = 1, backoff = \"61s\" }",
            "on_fault = \"retry\"\nretry = { attempts = 6, backoff = \"1s\" }",
            "on_fault = \"retry\"\nretry = { attempts = 100, backoff = \"9000000000s\" }",
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.code.starts_with("manifest-") && error.location.is_some(), "{text}: {error}");
        }
        assert_eq!(settings("on_fault = \"retry\"\nretry = { attempts = 5, backoff = \"1s\" }").1.unwrap().attempts, 5);
    }

    #[test]
    fn the_limit_of_kept_letters_is_a_size() {
        assert_eq!(parse("").unwrap().dead_letters.limit_bytes, 1 << 30);
        assert_eq!(parse("[dead_letters]\nlimit = \"4KiB\"").unwrap().dead_letters.limit_bytes, 4096);
        assert!(parse("[dead_letters]\nlimit = \"3B\"").is_err());
    }
}
