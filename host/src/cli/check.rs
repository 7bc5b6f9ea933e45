//! `cofferdam check`: everything that a submit checks, without a server and without starting a job.

use tokio::runtime::Runtime;

use super::arguments::CheckArgs;
use super::pipeline_file::{copy_component, push_components, read_pipeline_file};
use super::print;
use crate::access::{AccessPolicy, NAMESPACE, SecretStore};
use crate::clock::SystemClock;
use crate::error::{Result, data_dir_failed, internal};
use crate::job::{Host, HostOptions, INSTANCES_MAX, SHUTDOWN_TIME, Submission};
use crate::stdio;

/// Limit on the size of a component, as for `cofferdam run`.
const COMPONENT_BYTES_MAX: u64 = 1 << 30;

/// Checks a pipeline file with its components, inputs and peers. Prints warnings.
pub fn check(args: &CheckArgs, json: bool) -> Result<()> {
    let file = read_pipeline_file(&args.pipeline)?;
    let temporary =
        tempfile::tempdir().map_err(|error| data_dir_failed(format!("cannot create a temporary folder: {error}")))?;
    let runtime = Runtime::new().map_err(|error| internal(format!("cannot start the async runtime: {error}")))?;
    let secrets = SecretStore::of_user(Some(args.secrets.folder(NAMESPACE)));
    let policy = AccessPolicy::default().with_secrets(secrets.clone());
    stdio::redact_stderr(move |text| secrets.redact(text).into_owned());
    let host = Host::open(HostOptions {
        data_dir: temporary.path().to_path_buf(),
        clock: SystemClock::shared(),
        component_bytes_max: COMPONENT_BYTES_MAX,
        checkpoint_storage: None,
        instances_max: INSTANCES_MAX,
        limit_ceilings: Default::default(),
        quotas: Default::default(),
        shutdown_time: SHUTDOWN_TIME,
        compile_in: args.compile.compile_mode(),
        code_cache: None,
        policy,
        runtime: runtime.handle().clone(),
    })?;
    let text = push_components(&file, |path| {
        let mut upload = host.new_upload()?;
        let digest = copy_component(path, upload.as_file_mut())?;
        let component = host.add_component(upload, digest, None, &|| false);
        Ok(component.map_err(|error| error.context(path.display()))?.sha256)
    })?;
    let submission = Submission { base_dir: Some(file.base_dir), ..Submission::new(text, file.name.clone()) };
    let warnings = host.check(&submission)?;
    if json {
        return print::json(&serde_json::json!({ "pipeline": file.pipeline.name, "warnings": warnings }));
    }
    warnings.iter().for_each(|warning| print::line(format_args!("warning: {warning}")));
    print::line(format_args!("{} is valid", file.name));
    Ok(())
}
