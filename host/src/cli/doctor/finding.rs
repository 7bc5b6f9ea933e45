//! What a check found: whether it is good, and what to do if it is not.

use serde::Serialize;

use crate::escape;

/// The unit in which findings tell how long something is still valid.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Width of the column with the names of the checks.
const NAME_WIDTH: usize = 14;

/// Whether what a check found is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Ok,
    /// It works, but something should be changed, or only a part of the commands works.
    Warn,
    /// It does not work.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    pub verdict: Verdict,
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Ok, message: message.into(), remedy: None }
    }

    pub fn warn(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, verdict: Verdict::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    pub fn fail(check: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, ..Finding::warn(check, message, remedy) }
    }

    /// Returns the finding as one line.
    pub fn line(&self, has_colors: bool) -> String {
        let (verdict, color) = match self.verdict {
            Verdict::Ok => ("ok  ", 32),
            Verdict::Warn => ("warn", 33),
            Verdict::Fail => ("fail", 31),
        };
        let verdict = if has_colors { format!("\x1b[{color}m{verdict}\x1b[0m") } else { verdict.to_owned() };
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{verdict}  {:NAME_WIDTH$}  {}", self.check, escape::one_line(&format!("{}{remedy}", self.message)))
    }
}
