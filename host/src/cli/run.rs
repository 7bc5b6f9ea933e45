//! `cofferdam run`: runs one job in this process.
//!
//! Invariant: without `--data-dir` nothing but compiled code is left behind, in the cache folder of the user. With it, a job that an earlier run left in the folder is resumed.
//! Must not use the HTTP API.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::arguments::RunArgs;
use super::local_host::{LocalHost, LocalHostOptions};
use super::pipeline_file::{PipelineFile, push_components, read_pipeline_file};
use super::print;
use super::progress::{JobProgress, WarningPrinter, job_error};
use super::signal::{second_stop_signal, stop_signal};
use super::stale_components::stale_components;
use crate::access::{NAMESPACE, SecretStore};
use crate::clock::{SharedClock, SystemClock};
use crate::error::Result;
use crate::job::view::{JobDetail, JobStatus};
use crate::job::{Host, Submission};
use crate::sandbox::CodeCacheFolder;
use crate::{state, stdio};

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The exit code that shells report for a process ended by Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs the pipeline until it ends. The exit code is 0 if it finished and 130 if it was interrupted; a failed job is an error.
pub fn run(args: &RunArgs, json: bool) -> Result<ExitCode> {
    state::set_memory_limit(usize::try_from(args.state_memory.as_u64()).unwrap_or(usize::MAX));
    let file = read_pipeline_file(&args.pipeline)?;
    let clock = SystemClock::shared();
    let local = LocalHost::open(LocalHostOptions {
        data_dir: args.data_dir.clone(),
        secrets: stored_secrets(args),
        compile_in: args.compile.compile_mode(),
        code_cache: code_cache(args),
    })?;
    let host = &local.host;
    let interrupted = watch_stop_signals(&local.runtime);
    stale_components(&file).iter().for_each(|warning| stdio::tell(format_args!("warning: {warning}")));
    let text = match push_components(&file, |path| local.push(path, &|| interrupted.load(Ordering::Relaxed))) {
        Err(_) if interrupted.load(Ordering::Relaxed) => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        text => text?,
    };
    let job = run_job(host, args, &file, &text, &interrupted, clock)?;
    if args.data_dir.is_none() {
        warn_of_lost_letters(host, &job.summary.id);
    }
    if json {
        print::json(&job)?;
    }
    match job.summary.status {
        JobStatus::Failed => Err(job_error(&job)),
        JobStatus::Canceled => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Returns the secrets that the pipeline may use: the environment, files, and what is stored in the data folder.
fn stored_secrets(args: &RunArgs) -> SecretStore {
    SecretStore::of_user(args.data_dir.as_ref().map(|folder| folder.join("secrets").join(NAMESPACE)))
}

/// Warns about dead letters that nothing reads and that end with the temporary data folder.
fn warn_of_lost_letters(host: &Host, job: &str) {
    let Ok(page) = host.dead_letters(job, None, None, 1) else { return };
    let Some(first) = page.letters.first() else { return };
    let (total, node) = (page.total, &first.node);
    stdio::tell(format_args!(
        "warning: {total} dead letters are removed with the temporary data folder; the first is of `{node}`: {} [{}], record {}; \
         keep them with --data-dir, or add a sink with input = \"{node}.dead-letter\"",
        first.message, first.code, first.value
    ));
}

/// Returns where compiled code is kept: in the data folder if there is one, else in the cache folder of the user.
fn code_cache(args: &RunArgs) -> Option<CodeCacheFolder> {
    if args.no_cache {
        return Some(CodeCacheFolder::None);
    }
    if args.data_dir.is_some() {
        return None;
    }
    let folder = user_cache_folder(&|name| std::env::var_os(name));
    Some(folder.map_or(CodeCacheFolder::None, |folder| CodeCacheFolder::OfUser(folder.join("cofferdam/code"))))
}

/// Returns the folder for cached files of the user, as the XDG base directory specification defines it.
fn user_cache_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}

/// Resumes or submits the job, follows it to its end, and shuts the host down.
fn run_job(
    host: &Host,
    args: &RunArgs,
    file: &PipelineFile,
    text: &str,
    interrupted: &AtomicBool,
    clock: SharedClock,
) -> Result<JobDetail> {
    // A kill or a second Ctrl-C may have left the job in the data folder of an earlier run.
    let from = args.origin.location()?;
    let left = match &from {
        None => host.resume_job(&file.pipeline.name, text)?,
        Some(_) => None,
    };
    let submit = || {
        host.submit(Submission {
            base_dir: Some(file.base_dir.clone()),
            from: from.clone(),
            claim: args.origin.claim,
            allow_unclaimed_state: args.origin.allow_unclaimed_state,
            reset_watermarks: args.origin.reset_watermarks,
            allow_loss: args.origin.allow_loss,
            assume_published: args.origin.assume_published,
            assume_lost: args.origin.assume_lost,
            allow_duplicates: args.origin.allow_duplicates,
            ignore_state: args.origin.ignore_state,
            ..Submission::new(text.to_owned(), file.name.clone())
        })
    };
    let mut progress = JobProgress::new(&file.pipeline, clock);
    let mut warnings = WarningPrinter::default();
    let mut follow = |job: JobDetail| {
        warnings.print_new(&job);
        wait_for_end(host, &job.summary.id, interrupted, &mut progress)
    };
    let job = match left {
        None => submit().and_then(&mut follow),
        Some(left) => match follow(left) {
            Ok(job) if args.origin.ignore_state && has_lost_its_state(&job) => submit().and_then(&mut follow),
            job => job,
        },
    };
    host.shutdown();
    let job = job?;
    progress.finish(&job);
    warnings.print_new(&job);
    Ok(job)
}

fn has_lost_its_state(job: &JobDetail) -> bool {
    let code = job.failure.as_ref().map(|failure| failure.code.as_str());
    job.summary.status == JobStatus::Failed && code == Some("checkpoint-none-usable")
}

/// Shows progress until the job has ended. An interrupt cancels the job.
fn wait_for_end(host: &Host, id: &str, interrupted: &AtomicBool, progress: &mut JobProgress) -> Result<JobDetail> {
    let mut cancelled = false;
    loop {
        let job = host.await_end(id, POLL_INTERVAL)?;
        host.check_data_dir()?;
        progress.show(&job);
        if job.summary.status.is_final() {
            return Ok(job);
        }
        if !cancelled && interrupted.load(Ordering::Relaxed) {
            cancelled = true;
            // An error means that the job has just ended, which the next iteration finds out.
            let _ = host.cancel(id);
        }
    }
}

/// Returns a flag that the first stop signal sets. The second signal ends the process at once.
fn watch_stop_signals(runtime: &Runtime) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    runtime.spawn(async move {
        stop_signal().await;
        flag.store(true, Ordering::Relaxed);
        second_stop_signal().await;
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    });
    interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_is_that_of_the_user() {
        let folder = |cache: Option<&str>, home: Option<&str>| {
            user_cache_folder(&|name| if name == "HOME" { home } else { cache }.map(OsString::from))
        };
        assert_eq!(folder(Some("/c"), Some("/h")), Some(PathBuf::from("/c")));
        assert_eq!(folder(Some("relative"), Some("/h")), Some(PathBuf::from("/h/.cache")), "only absolute paths count");
        assert_eq!(folder(None, Some("")), None);
    }
}
