//! The end of the sinks of a job that is cancelled between two attempts: publishes what its newest checkpoint has promised, and removes
//! the rest.

use crossbeam_channel::Receiver;

use super::attempt_end::AttemptEnd;
use crate::checkpoint::CheckpointStorage;
use crate::error::{self, Result};
use crate::job::environment::JobEnvironment;
use crate::job::handle::JobHandle;
use crate::job::message::{JobMessage, RunningJobCommand};
use crate::job::restore;
use crate::job::sinks::SinkCommitters;
use crate::model::Interrupt;
use crate::pipeline::PipelineSpec;

/// Recovers the sinks as the next attempt would, for at most `publish_timeout`, and removes prepared output. If output that a checkpoint has
/// promised is not published, that is recorded. Returns how the job ends.
pub fn wind_up_sinks(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    receiver: &Receiver<JobMessage>,
) -> AttemptEnd {
    let interrupt = Interrupt::default();
    let (done, is_done) = crossbeam_channel::bounded::<()>(1);
    let deadline = crossbeam_channel::after(pipeline.checkpoint.publish_timeout);
    let mut end = AttemptEnd::Cancelled;
    let recovered = std::thread::scope(|scope| {
        let recovery = scope.spawn(|| {
            // Dropped at the end, also by a panic.
            let _done = done;
            recover_sinks(job, environment, pipeline, &interrupt)
        });
        loop {
            crossbeam_channel::select! {
                recv(is_done) -> _ => break,
                recv(deadline) -> _ => interrupt.set(),
                recv(receiver) -> message => match message {
                    Ok(JobMessage::Command(RunningJobCommand::Shutdown)) | Err(_) => {
                        // The next start of the process carries the cancel out.
                        end = AttemptEnd::Shutdown;
                        interrupt.set();
                        break;
                    }
                    Ok(_) => {}
                },
            }
        }
        let panicked =
            || Err(error::internal("the recovery of the sinks panicked; the log has the location of the panic"));
        recovery.join().unwrap_or_else(|_| panicked())
    });
    if let Err(error) = recovered
        && end == AttemptEnd::Cancelled
    {
        tracing::warn!(job = %pipeline.name, "the output that the newest checkpoint has promised is not published: {error}");
        let why = error.message;
        job.update_or_show(|record| record.unpublished = Some(why.clone()));
    }
    end
}

fn recover_sinks(
    job: &JobHandle,
    environment: &JobEnvironment,
    pipeline: &PipelineSpec,
    interrupt: &Interrupt,
) -> Result<()> {
    let record = job.record();
    let storage: CheckpointStorage = environment.storage(pipeline, &record.base_dir)?;
    // Checksums were verified by the first attempt.
    let start = restore::find_starting_point(job, environment, &storage, false, &Interrupt::default())?;
    SinkCommitters::open(pipeline, job, &environment.clock, &environment.policy, interrupt)
        .recover_last(job, &start, &storage)
}
