//! Commands that show what jobs do and have done: `top` and `events`.

use std::time::Duration;

use super::client::{ApiClient, segment};
use super::{print, print_observed};
use crate::error::Result;
use crate::job::view::{JobEventPage, JobMetrics, JobSummary};

/// Interval between two pictures of `top`, and between two requests of `events --follow`.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what a job, or each running job, does. Without `once` until it is interrupted.
pub fn top(client: &ApiClient, job: Option<&str>, once: bool, json: bool) -> Result<()> {
    let mut is_first = true;
    loop {
        let metrics = read_metrics(client, job)?;
        // The first answer has no rates: they are taken between two.
        if !is_first || (metrics.iter().all(|job| job.window_ms.is_some()) && once) {
            match json {
                true => print::json(&metrics)?,
                false => {
                    if !once {
                        print_observed::clear_screen();
                    }
                    metrics.iter().for_each(print_observed::job_metrics);
                    if metrics.is_empty() {
                        print::line("no job runs");
                    }
                }
            }
            if once {
                return Ok(());
            }
        }
        is_first = false;
        std::thread::sleep(INTERVAL);
    }
}

fn read_metrics(client: &ApiClient, job: Option<&str>) -> Result<Vec<JobMetrics>> {
    let metrics_of = |id: &str| client.get::<JobMetrics>(&format!("/v1/jobs/{}/metrics", segment(id)));
    if let Some(job) = job {
        return Ok(vec![metrics_of(job)?]);
    }
    let jobs: Vec<JobSummary> = client.get("/v1/jobs")?;
    let running = jobs.iter().filter(|job| !job.status.is_final());
    // A job that was removed meanwhile is left out.
    running.map(|job| metrics_of(&job.id)).filter(|metrics| !is_gone(metrics)).collect()
}

fn is_gone<T>(answer: &Result<T>) -> bool {
    answer.as_ref().is_err_and(|error| error.code == "job-not-found")
}

/// Prints the events of a job: those after `after`, or else the newest ones. With `follow` also those that come.
pub fn events(client: &ApiClient, job: &str, after: Option<u64>, limit: usize, follow: bool, json: bool) -> Result<()> {
    let page = |after: Option<u64>| {
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        client.get::<JobEventPage>(&format!("/v1/jobs/{}/events?limit={limit}{after}", segment(job)))
    };
    let mut shown = page(after)?;
    if !follow {
        return match json {
            true => print::json(&shown),
            false => {
                print_observed::events(&shown.events);
                Ok(())
            }
        };
    }
    let mut last = after.unwrap_or(0);
    loop {
        for event in &shown.events {
            last = last.max(event.number);
            match json {
                true => print_observed::json_line(event)?,
                false => print_observed::event(event),
            }
        }
        if shown.events.is_empty() {
            std::thread::sleep(INTERVAL);
        }
        shown = page(Some(last))?;
    }
}
