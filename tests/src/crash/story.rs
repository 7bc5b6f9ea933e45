//! The steps of a round, printed when the round fails.

use std::fmt;
use std::time::Instant;

/// The steps of a round, each with its time.
pub(super) struct Story {
    start: Instant,
    steps: Vec<String>,
}

impl Story {
    pub(super) fn new() -> Story {
        Story { start: Instant::now(), steps: Vec::new() }
    }

    pub(super) fn tell(&mut self, what: impl fmt::Display) {
        self.steps.push(format!("{:>7.3} s  {what}", self.start.elapsed().as_secs_f64()));
    }

    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}
