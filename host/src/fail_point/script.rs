//! What happens at which fail point: the text of the environment variable, and the decision for each pass.
//!
//! ```text
//! sink.publish=kill@3; metadata.write=error; *=delay:5%10; store=error:3,torn:3,delay:9; seed=7; log=/tmp/hits
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `NAME=ACTION` | what happens at the point; `*` means all points |
//! | `kill`, `error`, `delay:MS` | the actions |
//! | `@N` | at the N-th pass of this process only, from 1; without it at every pass |
//! | `%P` | with a chance of P percent |
//! | `store=KIND:P,...` | faulty writes of the checkpoint storage, per thousand |
//! | `seed=N` | decides the chances |
//! | `log=PATH` | a file to which first passes and actions are appended |

use std::collections::HashMap;
use std::path::PathBuf;

/// What a pass through a fail point does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailAction {
    Kill,
    Error,
    DelayMs(u64),
}

/// Writes that the checkpoint storage does badly, of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreFaultRates {
    /// Writes that fail without an effect.
    pub error: u64,
    /// Writes that succeed, but are reported as failed.
    pub unreported: u64,
    /// Writes of which a prefix remains, reported as failed.
    pub torn: u64,
    /// Writes of which a prefix remains, reported as successful.
    pub truncated: u64,
    /// Writes that take long.
    pub delay: u64,
    /// Decides which writes.
    pub seed: u64,
}

/// A rule of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FailRule {
    /// `None` for all points.
    point: Option<String>,
    action: FailAction,
    /// The only pass, from 1, at which the rule applies.
    pass: Option<u64>,
    percent: u64,
}

/// The parsed script, and the passes so far.
#[derive(Debug, Default)]
pub(crate) struct FailScript {
    rules: Vec<FailRule>,
    pub(crate) store: Option<StoreFaultRates>,
    pub(crate) log: Option<PathBuf>,
    seed: u64,
    passes: HashMap<&'static str, u64>,
}

/// The decision for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FailDecision {
    /// Whether this is the first pass of the process through the point.
    pub is_first: bool,
    pub action: Option<FailAction>,
}

impl FailScript {
    /// Parses the script. The error says which part is invalid.
    pub(crate) fn parse(text: &str) -> Result<FailScript, String> {
        let mut script = FailScript::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || format!("`{part}` is not a part of a fail script");
            let (name, value) = part.split_once('=').ok_or_else(invalid)?;
            match name {
                "seed" => script.seed = value.parse().map_err(|_| invalid())?,
                "log" => script.log = Some(value.into()),
                "store" => script.store = Some(parse_rates(value).ok_or_else(invalid)?),
                _ => script.rules.push(parse_rule(name, value).ok_or_else(invalid)?),
            }
        }
        if let Some(store) = &mut script.store {
            store.seed = script.seed;
        }
        Ok(script)
    }

    /// Counts a pass and decides what it does. The first rule that applies wins.
    pub(crate) fn decide(&mut self, point: &'static str) -> FailDecision {
        let passes = self.passes.entry(point).or_default();
        *passes += 1;
        let (pass, seed) = (*passes, self.seed);
        let name: u64 = point.bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
        let applies = |(number, rule): &(usize, &FailRule)| {
            rule.point.as_deref().is_none_or(|other| other == point)
                && rule.pass.is_none_or(|only| only == pass)
                && mixed(seed ^ name ^ mixed(pass ^ ((*number as u64) << 32))) % 100 < rule.percent
        };
        let rule = self.rules.iter().enumerate().find(applies);
        FailDecision { is_first: pass == 1, action: rule.map(|(_, rule)| rule.action) }
    }
}

fn parse_rule(name: &str, value: &str) -> Option<FailRule> {
    let (value, percent) = match value.split_once('%') {
        Some((value, percent)) => (value, percent.parse().ok()?),
        None => (value, 100),
    };
    let (action, pass) = match value.split_once('@') {
        Some((action, pass)) => (action, Some(pass.parse().ok()?)),
        None => (value, None),
    };
    let action = match action.split_once(':') {
        Some(("delay", ms)) => FailAction::DelayMs(ms.parse().ok()?),
        None if action == "kill" => FailAction::Kill,
        None if action == "error" => FailAction::Error,
        _ => return None,
    };
    Some(FailRule { point: (name != "*").then(|| name.to_owned()), action, pass, percent })
}

fn parse_rates(text: &str) -> Option<StoreFaultRates> {
    let mut rates = StoreFaultRates::default();
    for part in text.split(',') {
        let (kind, writes) = part.split_once(':')?;
        let rate = match kind.trim() {
            "error" => &mut rates.error,
            "unreported" => &mut rates.unreported,
            "torn" => &mut rates.torn,
            "truncated" => &mut rates.truncated,
            "delay" => &mut rates.delay,
            _ => return None,
        };
        *rate = writes.trim().parse().ok().filter(|rate| *rate <= 1000)?;
    }
    Some(rates)
}

/// Returns a number that looks random and depends on `number` only (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl StoreFaultRates {
    /// Returns a number below 1000 for the `write`-th write, which depends on the seed.
    pub(crate) fn chance(&self, write: u64) -> u64 {
        mixed(self.seed ^ mixed(write)) % 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_applies_to_its_pass_of_its_point() {
        let mut script = FailScript::parse("a.b=kill@2; a.c=error;log=/tmp/x").unwrap();
        let decide = |script: &mut FailScript, point| script.decide(point).action;
        assert_eq!(script.decide("a.b"), FailDecision { is_first: true, action: None });
        assert_eq!(script.decide("a.b"), FailDecision { is_first: false, action: Some(FailAction::Kill) });
        assert_eq!(decide(&mut script, "a.b"), None);
        assert_eq!(decide(&mut script, "a.c"), Some(FailAction::Error));
        assert_eq!(decide(&mut script, "a.d"), None);
        assert_eq!(script.log, Some("/tmp/x".into()));
    }

    #[test]
    fn chances_depend_on_the_seed_only() {
        let actions = |seed: u64| {
            let mut script = FailScript::parse(&format!("*=delay:3%20;seed={seed}")).unwrap();
            (0..1000).map(|_| script.decide("a.b").action.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(actions(1), actions(1));
        assert_ne!(actions(1), actions(2));
        let count = actions(1).iter().filter(|delayed| **delayed).count();
        assert!((120..280).contains(&count), "{count} of 1000 at 20 percent");
    }

    #[test]
    fn what_is_not_a_script_is_refused() {
        for text in
            ["a.b", "a.b=die", "a.b=kill@x", "a.b=delay", "a.b=error:3", "store=torn", "store=torn:1001", "seed=x"]
        {
            let error = FailScript::parse(text).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        let rates = FailScript::parse("store=torn:3,delay:5;seed=9").unwrap().store.unwrap();
        assert_eq!(rates, StoreFaultRates { torn: 3, delay: 5, seed: 9, ..StoreFaultRates::default() });
    }
}
