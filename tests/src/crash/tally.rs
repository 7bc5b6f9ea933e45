//! Counts what the rounds exercised, so that a run without kills does not pass.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::fail_points::FailPointHits;

/// With fewer rounds, chance may leave out some cases.
const ROUNDS_FOR_ALL: u64 = 50;
/// With fewer rounds, some fail points may not be hit.
const ROUNDS_FOR_ALL_FAIL_POINTS: u64 = 200;

/// Counts over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    /// Kills of a server with a running job, by moment.
    pub kills: BTreeMap<&'static str, u64>,
    /// Kills after the job had ended.
    pub kills_too_late: u64,
    /// Restarts of a killed job from a checkpoint or savepoint.
    pub restores: u64,
    /// Restarts of a killed job without any checkpoint.
    pub fresh_starts: u64,
    /// Jobs that continued from another job, by the kind of their start.
    pub new_jobs: BTreeMap<&'static str, u64>,
    pub parallelism_changes: u64,
    pub backend_changes: u64,
    /// Jobs refused because a sink had changed.
    pub sinks_refused: u64,
    pub checkpoints: u64,
    /// The smallest number of checkpoints that a round had, where rounds need several.
    pub round_checkpoints_min: Option<u64>,
    /// Checkpoints with records in flight.
    pub with_records_in_flight: u64,
    pub in_flight_bytes: u64,
    /// Compared committed lines.
    pub lines: u64,
    /// Jobs that were refused a restart because a lying storage had damaged all their checkpoints.
    pub lost_to_the_storage: u64,
    /// Rounds in which each operator ran.
    pub operators: BTreeMap<&'static str, u64>,
    /// Jobs on each backend.
    pub backends: BTreeMap<String, u64>,
    /// Hits of the host's fail points, if its binary has them.
    pub fail_points: FailPointHits,
}

impl Tally {
    /// Adds the completed checkpoints above `newest` from a job's list, and returns the new highest id.
    pub(super) fn add_checkpoints(&mut self, list: &Value, newest: u64) -> u64 {
        let mut highest = newest;
        for checkpoint in list.as_array().into_iter().flatten() {
            let id = checkpoint["id"].as_u64().unwrap_or(0);
            if id <= newest || checkpoint["status"] != "completed" {
                continue;
            }
            highest = highest.max(id);
            let in_flight = checkpoint["in_flight_bytes"].as_u64().unwrap_or(0);
            self.checkpoints += 1;
            self.with_records_in_flight += u64::from(in_flight > 0);
            self.in_flight_bytes += in_flight;
        }
        highest
    }

    /// Adds the number of checkpoints of a whole round.
    pub(super) fn note_round_checkpoints(&mut self, checkpoints: u64) {
        self.round_checkpoints_min =
            Some(self.round_checkpoints_min.map_or(checkpoints, |least| least.min(checkpoints)));
    }

    /// Adds the counts of other rounds.
    pub(super) fn add(&mut self, other: &Tally) {
        for (sum, more) in [
            (&mut self.rounds, other.rounds),
            (&mut self.kills_too_late, other.kills_too_late),
            (&mut self.restores, other.restores),
            (&mut self.fresh_starts, other.fresh_starts),
            (&mut self.parallelism_changes, other.parallelism_changes),
            (&mut self.backend_changes, other.backend_changes),
            (&mut self.sinks_refused, other.sinks_refused),
            (&mut self.checkpoints, other.checkpoints),
            (&mut self.with_records_in_flight, other.with_records_in_flight),
            (&mut self.in_flight_bytes, other.in_flight_bytes),
            (&mut self.lines, other.lines),
            (&mut self.lost_to_the_storage, other.lost_to_the_storage),
        ] {
            *sum += more;
        }
        add_counts(&mut self.kills, &other.kills);
        add_counts(&mut self.new_jobs, &other.new_jobs);
        add_counts(&mut self.operators, &other.operators);
        add_counts(&mut self.backends, &other.backends);
        self.fail_points.add(&other.fail_points);
        if let Some(checkpoints) = other.round_checkpoints_min {
            self.note_round_checkpoints(checkpoints);
        }
    }

    /// Fails if nothing was killed or compared.
    pub(super) fn check_kills(&self) -> Result<()> {
        let hits: u64 = self.kills.values().sum();
        ensure!(hits > 0, "no kill hit a running job, so nothing was tested");
        ensure!(self.checkpoints > 0 && self.lines > 0, "no checkpoint was taken, or nothing was compared");
        Ok(())
    }

    /// Fails if nothing was killed or compared, or if `rounds` rounds or more did not hit every fail point.
    pub(super) fn check_all_points(&self, rounds: u64) -> Result<()> {
        self.check_kills()?;
        if self.rounds >= rounds { self.fail_points.check() } else { Ok(()) }
    }

    /// Fails if nothing was killed or compared, or if `rounds` rounds or more lack one of `moments`, or a kill at a fail point.
    pub(super) fn check_all_kills(&self, moments: &[&str], rounds: u64) -> Result<()> {
        self.check_kills()?;
        if self.rounds < rounds {
            return Ok(());
        }
        for moment in moments {
            ensure!(self.kills.contains_key(moment), "no kill happened {moment}");
        }
        self.fail_points.check_kills()
    }

    /// Fails if the rounds exercised too little. `kills` are the moments that must have been hit.
    pub(super) fn check(&self, kills: &[&str], one_backend: bool) -> Result<()> {
        self.check_kills()?;
        if self.rounds < ROUNDS_FOR_ALL {
            return Ok(());
        }
        for kill in kills {
            ensure!(self.kills.contains_key(kill), "no kill happened {kill}");
        }
        let exercised = [
            ("a restore from a checkpoint", self.restores + self.new_jobs.values().sum::<u64>()),
            ("a change of parallelism", self.parallelism_changes),
            ("a change of backend", self.backend_changes + u64::from(one_backend)),
            ("a checkpoint with records in flight", self.with_records_in_flight),
        ];
        for (what, count) in exercised {
            ensure!(count > 0, "{} rounds did not have {what}", self.rounds);
        }
        if self.rounds >= ROUNDS_FOR_ALL_FAIL_POINTS {
            self.fail_points.check()?;
        }
        Ok(())
    }
}

fn add_counts<K: Clone + Ord>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(key.clone()).or_default() += count;
    }
}

fn list<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds                      {}", self.rounds)?;
        writeln!(f, "lines compared              {}", self.lines)?;
        writeln!(f, "kills of a running job      {} ({})", self.kills.values().sum::<u64>(), list(&self.kills))?;
        writeln!(f, "kills after the end         {}", self.kills_too_late)?;
        writeln!(f, "restored from a checkpoint  {}", self.restores)?;
        writeln!(f, "started empty               {}", self.fresh_starts)?;
        let new_jobs = self.new_jobs.values().sum::<u64>();
        writeln!(f, "new jobs                    {new_jobs} ({})", list(&self.new_jobs))?;
        if self.sinks_refused > 0 {
            writeln!(f, "refused as sink-changed     {}", self.sinks_refused)?;
        }
        if self.lost_to_the_storage > 0 {
            writeln!(f, "lost to a lying storage     {}", self.lost_to_the_storage)?;
        }
        writeln!(f, "changes of parallelism      {}", self.parallelism_changes)?;
        writeln!(f, "changes of backend          {}", self.backend_changes)?;
        writeln!(f, "jobs on each backend        {}", list(&self.backends))?;
        let (held, kib) = (self.with_records_in_flight, self.in_flight_bytes >> 10);
        writeln!(
            f,
            "checkpoints                 {}, {held} of them with records in flight ({kib} KiB)",
            self.checkpoints
        )?;
        if let Some(least) = self.round_checkpoints_min {
            writeln!(f, "fewest of one round         {least}")?;
        }
        writeln!(f, "rounds of each operator     {}", list(&self.operators))?;
        write!(f, "{}", self.fail_points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_without_a_kill_of_a_running_job_fails() {
        let mut tally = Tally { rounds: 1, checkpoints: 1, lines: 1, kills_too_late: 5, ..Tally::default() };
        assert!(tally.check(&[], false).is_err());
        tally.kills.insert("at random", 1);
        tally.check(&["after a checkpoint"], false).unwrap();
        tally.rounds = ROUNDS_FOR_ALL;
        assert!(tally.check(&["after a checkpoint"], false).is_err(), "a moment was never hit");
    }

    #[test]
    fn a_checkpoint_is_counted_once() {
        let list = json!([
            { "id": 4, "status": "in-progress", "in_flight_bytes": 0 },
            { "id": 3, "status": "completed", "in_flight_bytes": 7 },
            { "id": 2, "status": "completed", "in_flight_bytes": 0 },
        ]);
        let mut tally = Tally::default();
        assert_eq!(tally.add_checkpoints(&list, 1), 3);
        assert_eq!(tally.add_checkpoints(&list, 3), 3);
        assert_eq!((tally.checkpoints, tally.with_records_in_flight, tally.in_flight_bytes), (2, 1, 7));
    }
}
