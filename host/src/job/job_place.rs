//! The place of a job in the list of all jobs, which is sorted by the time of the submission, newest first.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, request_invalid};

/// The place of a job. It keeps its meaning when other jobs are added or removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobPlace {
    submitted_at_ms: Reverse<i64>,
    id: String,
}

impl JobPlace {
    /// Returns the place of a job.
    pub fn of(submitted_at_ms: i64, id: &str) -> JobPlace {
        JobPlace { submitted_at_ms: Reverse(submitted_at_ms), id: id.to_owned() }
    }
}

impl fmt::Display for JobPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.submitted_at_ms.0, self.id)
    }
}

impl FromStr for JobPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<JobPlace> {
        let parsed = text.split_once('.').and_then(|(ms, id)| Some(JobPlace::of(ms.parse().ok()?, id)));
        parsed.ok_or_else(|| {
            request_invalid(format!("`{text}` is not a place in the list of jobs"))
                .hint("follow the header `link` of a page")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_jobs_come_first_and_a_place_is_read_back() {
        let places = [JobPlace::of(7, "b"), JobPlace::of(5, "a"), JobPlace::of(5, "c"), JobPlace::of(-1, "a")];
        assert!(places.is_sorted());
        for place in places {
            assert_eq!(place.to_string().parse::<JobPlace>().unwrap(), place);
        }
        assert!("x.a".parse::<JobPlace>().is_err() && "7".parse::<JobPlace>().is_err());
    }
}
