//! `cofferdam check`: everything that a submit checks, without a server and without starting a job.

use super::arguments::CheckArgs;
use super::local_host::{LocalHost, LocalHostOptions};
use super::pipeline_file::{push_components, read_pipeline_file};
use super::print;
use crate::access::{NAMESPACE, SecretStore};
use crate::error::Result;
use crate::job::Submission;

/// Checks a pipeline file with its components, inputs and peers. Prints warnings.
pub fn check(args: &CheckArgs, json: bool) -> Result<()> {
    let file = read_pipeline_file(&args.pipeline)?;
    let local = LocalHost::open(LocalHostOptions {
        data_dir: None,
        secrets: SecretStore::of_user(Some(args.secrets.folder(NAMESPACE))),
        compile_in: args.compile.compile_mode(),
        code_cache: None,
    })?;
    let text = push_components(&file, |path| local.push(path, &|| false))?;
    let submission = Submission { base_dir: Some(file.base_dir), ..Submission::new(text, file.name.clone()) };
    let warnings = local.host.check(&submission)?;
    if json {
        return print::json(&serde_json::json!({ "pipeline": file.pipeline.name, "warnings": warnings }));
    }
    warnings.iter().for_each(|warning| print::line(format_args!("warning: {warning}")));
    print::line(format_args!("{} is valid", file.name));
    Ok(())
}
