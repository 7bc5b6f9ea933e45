//! The fail points of the host, what rounds aim at, and how often each point was hit.
//!
//! The names are read from the source of the host, so that no list of them has to be kept. A server built with the feature
//! `fail-points` gets a script for each life of its process, and appends what it reached and did to a log
//! (`host/src/fail_point/script.rs`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

/// The environment variable with the script.
pub(super) const VARIABLE: &str = "COFFERDAM_FAIL_POINTS";

/// Parts of the messages of errors that a script injects, and of requests that end with the attempt that such an error ends.
const INJECTED: [&str; 3] = ["the fail point `", "a faulty write: ", "attempt ended before the savepoint was complete"];

/// Beginnings of the names of points that pipelines from files to files do not pass.
const OTHER_POINTS: [&str; 3] = ["outbox.", "kafka.", "ingest."];

/// Number of aims of a round.
const AIMS: usize = 3;

/// What happens when an aim is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AimAction {
    Kill,
    Error,
}

/// A point that a round tries to hit: at the `pass`-th pass of a process the action happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    pub(super) point: String,
    pub(super) action: AimAction,
    pass: u64,
}

/// Settings without which a point is never reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AimNeeds {
    pub(super) rocksdb: bool,
    /// A job that claims the native savepoint of another one.
    pub(super) claim: bool,
    /// No compiled component from an earlier round.
    pub(super) fresh_code: bool,
    /// An operator with dead letters that the host keeps. It is a region of its own.
    pub(super) letters: bool,
    /// A savepoint that `cofferdam state load` writes.
    pub(super) state_load: bool,
}

/// The fail points of the host and their hits in all rounds.
#[derive(Clone, Debug, Default)]
pub struct FailPointHits {
    points: BTreeMap<String, PointHits>,
}

#[derive(Clone, Debug, Default)]
struct PointHits {
    can_fail: bool,
    /// Processes that passed the point.
    reached: u64,
    kills: u64,
    errors: u64,
    /// How often a round aimed at the point, by action.
    aimed: [u64; 2],
}

impl FailPointHits {
    /// Finds all points in the sources below `folder` that a pipeline from files to files passes.
    pub(super) fn of_files(folder: &Path) -> Result<FailPointHits> {
        FailPointHits::find(folder, |name| !OTHER_POINTS.iter().any(|beginning| name.starts_with(beginning)))
    }

    /// Finds the points in the sources below `folder` whose names begin with one of `areas`.
    pub(super) fn of_areas(folder: &Path, areas: &[&str]) -> Result<FailPointHits> {
        FailPointHits::find(folder, |name| areas.iter().any(|beginning| name.starts_with(beginning)))
    }

    fn find(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<FailPointHits> {
        let mut hits = FailPointHits::default();
        for (name, can_fail) in fail_points_below(folder)?.into_iter().filter(|(name, _)| is_wanted(name)) {
            ensure!(
                hits.points.insert(name.clone(), PointHits { can_fail, ..PointHits::default() }).is_none(),
                "the fail point `{name}` occurs twice"
            );
        }
        ensure!(!hits.points.is_empty(), "{} has no fail points", folder.display());
        Ok(hits)
    }

    /// Chooses the aims of a round: points that were not hit yet and that the fewest rounds aimed at, kills before errors.
    pub(super) fn choose(&mut self, rng: &mut Rng) -> Vec<Aim> {
        let mut candidates: Vec<(u64, u64, bool, u32, &String, AimAction)> = Vec::new();
        for (name, hits) in &self.points {
            let actions = [(AimAction::Kill, hits.kills), (AimAction::Error, hits.errors)];
            let actions = actions.into_iter().filter(|(action, _)| *action == AimAction::Kill || hits.can_fail);
            candidates.extend(actions.map(|(action, done)| {
                let is_error = action == AimAction::Error;
                (done.min(1), hits.aimed[action as usize], is_error, rng.u32(..), name, action)
            }));
        }
        candidates.sort_unstable();
        let chosen: Vec<Aim> = candidates
            .into_iter()
            .take(AIMS)
            .map(|(_, aimed, _, _, name, action)| {
                // A late pass may not happen, so later tries take the first one.
                let pass = if aimed == 0 && rng.u8(0..3) == 0 { rng.u64(2..=3) } else { 1 };
                Aim { point: name.clone(), action, pass }
            })
            .collect();
        for aim in &chosen {
            if let Some(hits) = self.points.get_mut(&aim.point) {
                hits.aimed[aim.action as usize] += 1;
            }
        }
        chosen
    }

    /// Returns the points without their hits.
    pub(super) fn without_hits(&self) -> FailPointHits {
        let reset = |(name, hits): (&String, &PointHits)| {
            (name.clone(), PointHits { can_fail: hits.can_fail, ..PointHits::default() })
        };
        FailPointHits { points: self.points.iter().map(reset).collect() }
    }

    /// Adds the hits of other rounds.
    pub(super) fn add(&mut self, other: &FailPointHits) {
        for (name, more) in &other.points {
            let hits = self.points.entry(name.clone()).or_default();
            hits.can_fail |= more.can_fail;
            hits.reached += more.reached;
            hits.kills += more.kills;
            hits.errors += more.errors;
        }
    }

    /// Adds the lines of a round's log, except those of points that are not counted.
    pub(super) fn add_known(&mut self, log: &str) -> Result<()> {
        let is_known = |line: &&str| line.split_once(' ').is_none_or(|(_, name)| self.points.contains_key(name));
        let known: Vec<&str> = log.lines().filter(is_known).collect();
        self.add_log(&known.join("\n"))
    }

    /// Adds the lines of a round's log.
    pub(super) fn add_log(&mut self, log: &str) -> Result<()> {
        for line in log.lines() {
            let (what, name) = line.split_once(' ').with_context(|| format!("the log has the line `{line}`"))?;
            let hits = self.points.get_mut(name).with_context(|| format!("the source has no fail point `{name}`"))?;
            match what {
                "reached" => hits.reached += 1,
                "kill" => hits.kills += 1,
                "error" => hits.errors += 1,
                _ => bail!("the log has the line `{line}`"),
            }
        }
        Ok(())
    }

    /// Fails if a point was never hit: killed at, and failed at if it can fail.
    pub(super) fn check(&self) -> Result<()> {
        self.check_kills()?;
        self.check_each("the place of an error", |hits| !hits.can_fail || hits.errors > 0)
    }

    /// Fails if a point was never the place of a kill.
    pub(super) fn check_kills(&self) -> Result<()> {
        self.check_each("reached", |hits| hits.reached > 0)?;
        self.check_each("the place of a kill", |hits| hits.kills > 0)
    }

    fn check_each(&self, what: &str, is_hit: fn(&PointHits) -> bool) -> Result<()> {
        let names: Vec<&str> =
            self.points.iter().filter(|(_, hits)| !is_hit(hits)).map(|(name, _)| name.as_str()).collect();
        ensure!(names.is_empty(), "{} fail points were never {what}: {}", names.len(), names.join(", "));
        Ok(())
    }
}

impl fmt::Display for FailPointHits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.points.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{:<28} {:>8} {:>6} {:>6}", "fail point", "reached", "kills", "errors")?;
        for (name, hits) in &self.points {
            let errors = if hits.can_fail { hits.errors.to_string() } else { "-".to_owned() };
            writeln!(f, "{name:<28} {:>8} {:>6} {errors:>6}", hits.reached, hits.kills)?;
        }
        Ok(())
    }
}

impl AimNeeds {
    /// Returns what either of both needs.
    pub(super) fn or(self, other: AimNeeds) -> AimNeeds {
        AimNeeds {
            rocksdb: self.rocksdb || other.rocksdb,
            claim: self.claim || other.claim,
            fresh_code: self.fresh_code || other.fresh_code,
            letters: self.letters || other.letters,
            state_load: self.state_load || other.state_load,
        }
    }
}

impl Aim {
    /// Returns the settings that a round needs to reach the point.
    pub(super) fn needs(&self) -> AimNeeds {
        let is_in = |prefixes: &[&str]| prefixes.iter().any(|prefix| self.point.starts_with(prefix));
        let claim = is_in(&["storage.copy", "claimed."]);
        let stores_files = ["database.", "storage.put-part", "storage.complete", "storage.link", "storage.sync-link"];
        AimNeeds {
            rocksdb: claim || is_in(&stores_files),
            claim,
            fresh_code: is_in(&["code-cache."]),
            letters: is_in(&["letters.", "region."]),
            state_load: self.is_of_state_load(),
        }
    }

    /// Returns whether only `cofferdam state load` passes the point.
    pub(super) fn is_of_state_load(&self) -> bool {
        self.point.starts_with("state-load.")
    }

    /// Returns the aim as a script, with an error before it if the point is passed after a failure only.
    pub(super) fn script(&self) -> String {
        let cause = match self.point.as_str() {
            // A region restarts alone when one of its subtasks fails.
            "region.recovered" => "sink.create=error@2;",
            "state-load.abandon" => "state-load.metadata=error@1;",
            _ => "",
        };
        format!("{cause}{self}")
    }

    /// Returns whether the log shows that the aim was hit.
    pub(super) fn is_hit(&self, log: &str) -> bool {
        let what = if self.action == AimAction::Kill { "kill" } else { "error" };
        log.lines().any(|line| line.split_once(' ') == Some((what, &self.point)))
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.action == AimAction::Kill { "kill" } else { "error" };
        write!(f, "{}={action}@{}", self.point, self.pass)
    }
}

impl FromStr for Aim {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Aim> {
        let parsed = text.split_once('=').and_then(|(point, rest)| {
            let (action, pass) = rest.split_once('@')?;
            let action = match action {
                "kill" => AimAction::Kill,
                "error" => AimAction::Error,
                _ => return None,
            };
            Some(Aim { point: point.to_owned(), action, pass: pass.parse().ok()? })
        });
        parsed.with_context(|| format!("`{text}` is not an aim such as sink.publish=kill@2"))
    }
}

/// Returns whether an error is the answer of a server to an injected error.
pub(super) fn is_injected(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    INJECTED.iter().any(|part| text.contains(part))
}

/// Returns the names of all fail points in the sources below `folder`, and whether each can return an error.
pub fn fail_points_below(folder: &Path) -> Result<Vec<(String, bool)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        // The module itself shows the macro with example names.
        if path.is_dir() && !path.ends_with("fail_point") {
            found.extend(fail_points_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(fail_points_in(&fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

fn fail_points_in(text: &str) -> Vec<(String, bool)> {
    let uses = text.split("fail_point!(").skip(1);
    let parsed = uses.filter_map(|rest| {
        let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
        Some((name.to_owned(), rest.trim_start().starts_with(',')))
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits() -> FailPointHits {
        let text = "fail_point!(\"a.b\"); fail_point!(\n    \"a.c\",\n    error);";
        let points = fail_points_in(text).into_iter().map(|(name, can_fail)| {
            let hits = PointHits { can_fail, ..PointHits::default() };
            (name, hits)
        });
        FailPointHits { points: points.collect() }
    }

    #[test]
    fn a_point_without_a_kill_or_an_error_is_found() {
        let mut hits = hits();
        assert!(hits.check().unwrap_err().to_string().contains("never reached: a.b, a.c"));
        hits.add_log("reached a.b\nkill a.b\nreached a.c\nkill a.c\n").unwrap();
        hits.check_kills().unwrap();
        assert!(hits.check().unwrap_err().to_string().contains("place of an error: a.c"));
        hits.add_log("error a.c\n").unwrap();
        hits.check().unwrap();
        assert!(hits.add_log("kill x.y\n").is_err() && hits.add_log("died a.b\n").is_err());
    }

    #[test]
    fn rounds_aim_at_points_that_were_not_hit() {
        let (mut hits, mut rng) = (hits(), Rng::with_seed(1));
        let first = hits.choose(&mut rng);
        let actions: Vec<AimAction> = first.iter().map(|aim| aim.action).collect();
        assert_eq!(actions, [AimAction::Kill, AimAction::Kill, AimAction::Error]);
        hits.add_log("reached a.b\nkill a.b\nreached a.c\nkill a.c\n").unwrap();
        let next = hits.choose(&mut rng);
        assert_eq!((&next[0].point[..], next[0].action, next[0].pass), ("a.c", AimAction::Error, 1));
        assert_eq!(next[0].to_string().parse::<Aim>().unwrap(), next[0]);
        assert!(next[0].is_hit("reached a.c\nerror a.c\n") && !next[0].is_hit("kill a.c\n"));
    }

    #[test]
    fn the_host_has_fail_points_with_an_area_and_a_step() {
        let names = fail_points_below(&crate::Checkout::current().root.join("host/src")).unwrap();
        assert!(names.len() > 50, "{}", names.len());
        for (name, _) in &names {
            let parts: Vec<&str> = name.split('.').collect();
            let is_plain =
                |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
            assert!(parts.len() == 2 && parts.iter().all(is_plain), "`{name}` is not area.step");
        }
        let source = crate::Checkout::current().root.join("host/src");
        FailPointHits::of_files(&source).unwrap();
        for area in ["outbox.", "ingest."] {
            FailPointHits::of_areas(&source, &[area]).unwrap();
        }
    }
}
