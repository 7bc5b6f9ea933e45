//! `cofferdam run`: a host, one job, and nothing left behind unless a data folder was named. There a job that was left goes on.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pipeline_file::{copy_component, push_components, read_pipeline_file};
use super::progress::{JobProgress, WarningPrinter, failure};
use super::stale_components::stale_components;
use super::{RunArgs, print, stop_asked, stop_asked_again};
use crate::clock::SystemClock;
use crate::error::{Result, data_dir_failed, internal};
use crate::job::view::{JobDetail, JobStatus};
use crate::job::{Host, HostOptions, INSTANCES_MAX, Submission};
use crate::{state, stdio};

/// Local files are not limited as uploads are.
const COMPONENT_BYTES_MAX: u64 = 1 << 30;
const POLL: Duration = Duration::from_millis(200);
/// What a shell shows for a process that Ctrl-C ended.
const EXIT_INTERRUPTED: u8 = 130;

pub fn run(args: &RunArgs, json: bool) -> Result<ExitCode> {
    state::set_memory_limit(usize::try_from(args.state_memory.as_u64()).unwrap_or(usize::MAX));
    let manifest = read_pipeline_file(&args.pipeline)?;
    let temporary = tempfile::tempdir().map_err(|error| data_dir_failed(format!("no temporary folder: {error}")))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| internal(format!("no runtime: {error}")))?;
    let clock = SystemClock::shared();
    let host = Host::open(HostOptions {
        data_dir: args.data_dir.clone().unwrap_or_else(|| temporary.path().to_path_buf()),
        clock: clock.clone(),
        component_bytes_max: COMPONENT_BYTES_MAX,
        checkpoint_storage: None,
        instances_max: INSTANCES_MAX,
        compile_in: args.compile.place(),
        runtime: runtime.handle().clone(),
    })?;
    let interrupted = watch_interrupts(&runtime);
    stale_components(&manifest).iter().for_each(|warning| stdio::tell(format_args!("warning: {warning}")));
    let text = match push_components(&manifest, |path| push(&host, path, &interrupted)) {
        Err(_) if interrupted.load(Ordering::Relaxed) => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
        text => text?,
    };
    // In a data folder of an earlier run there may be the job itself, which a kill or a second Ctrl-C left.
    let from = args.origin.location()?;
    let left = match &from {
        None => host.resume_job(&manifest.pipeline.name, &text)?,
        Some(_) => None,
    };
    let submit = || {
        host.submit(Submission {
            base_dir: Some(manifest.base_dir.clone()),
            from: from.clone(),
            claim: args.origin.claim,
            allow_unclaimed_state: args.origin.allow_unclaimed_state,
            reset_watermarks: args.origin.reset_watermarks,
            assume_published: args.origin.assume_published,
            ignore_state: args.origin.ignore_state,
            ..Submission::new(text.clone(), manifest.name.clone())
        })
    };
    let mut progress = JobProgress::new(&manifest.pipeline, clock);
    let mut warnings = WarningPrinter::default();
    let mut follow = |job: JobDetail| {
        warnings.tell(&job);
        watch(&host, &job.summary.id, &interrupted, &mut progress)
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
    warnings.tell(&job);
    if json {
        print::json(&job)?;
    }
    match job.summary.status {
        JobStatus::Failed => Err(failure(&job)),
        JobStatus::Cancelled => Ok(ExitCode::from(EXIT_INTERRUPTED)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn has_lost_its_state(job: &JobDetail) -> bool {
    let code = job.failure.as_ref().map(|failure| failure.code.as_str());
    job.summary.status == JobStatus::Failed && code == Some("checkpoint-none-usable")
}

fn push(host: &Host, path: &Path, interrupted: &AtomicBool) -> Result<String> {
    let mut upload = host.new_upload()?;
    let digest = copy_component(path, upload.as_file_mut())?;
    let component = host.add_component(upload, digest, None, &|| interrupted.load(Ordering::Relaxed));
    Ok(component.map_err(|error| error.context(path.display()))?.sha256)
}

/// Shows progress until the job has ended; an interrupt cancels it.
fn watch(host: &Host, id: &str, interrupted: &AtomicBool, progress: &mut JobProgress) -> Result<JobDetail> {
    let mut cancelled = false;
    loop {
        let job = host.await_end(id, POLL)?;
        host.check_data_dir()?;
        progress.show(&job);
        if job.summary.status.is_final() {
            return Ok(job);
        }
        if !cancelled && interrupted.load(Ordering::Relaxed) {
            cancelled = true;
            // It may have ended just now, which the next round tells.
            let _ = host.cancel(id);
        }
    }
}

/// Is set by the first Ctrl-C; the second one ends the process at once.
fn watch_interrupts(runtime: &tokio::runtime::Runtime) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    runtime.spawn(async move {
        stop_asked().await;
        flag.store(true, Ordering::Relaxed);
        stop_asked_again().await;
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    });
    interrupted
}
