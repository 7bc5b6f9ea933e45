//! `cargo xtask docs`: writes the JSON Schema of the pipeline file, and for packages the manual pages and the completions of shells. Checks
//! each of them with the programs that read it, as far as they are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::pypi;
use crate::workspace::{Workspace, find_program, run, step};

/// The shells, the names of their files, and the argument with which a shell only checks a script.
const SHELLS: [(&str, &str, &str); 3] =
    [("bash", "cofferdam.bash", "-n"), ("zsh", "_cofferdam", "-n"), ("fish", "cofferdam.fish", "--no-execute")];
const SCHEMA_CHECKER: &str = "check-jsonschema==0.39.0";

#[derive(clap::Args)]
pub struct Arguments {
    /// Fail if the committed schema is not current, instead of writing it
    #[arg(long)]
    check: bool,
}

pub fn write(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    workspace.build::<&str>(&[])?;
    let folder = workspace.checkout.target.join("docs");
    fs::create_dir_all(folder.join("completions"))?;
    step("write completions", || completions(workspace, &folder.join("completions")))?;
    step("write manual pages", || manual_pages(workspace, &folder.join("man")))?;
    let schema = workspace.checkout.root.join("docs/pipeline.schema.json");
    step("write the schema of the pipeline file", || {
        let text = output(Command::new(workspace.checkout.cofferdam()).arg("schema"))?;
        if arguments.check {
            let committed = fs::read_to_string(&schema).context("docs/pipeline.schema.json")?;
            ensure!(committed == text, "docs/pipeline.schema.json is not current: run `cargo xtask docs`");
            return Ok(());
        }
        fs::write(&schema, text).context("cannot write docs/pipeline.schema.json")
    })?;
    let examples = fs::read_dir(workspace.checkout.root.join("examples"))?;
    let pipelines: Vec<PathBuf> =
        examples.map(|entry| Ok(entry?.path().join("pipeline.toml"))).collect::<Result<_>>()?;
    let checker = pypi::program(workspace, SCHEMA_CHECKER, "check-jsonschema")?;
    step("check the schema, and each example with it", || {
        run(Command::new(&checker).arg("--check-metaschema").arg(&schema))?;
        run(Command::new(&checker).arg("--schemafile").arg(&schema).args(&pipelines))
    })?;
    println!("{}", folder.display());
    Ok(())
}

/// Writes the completions of each shell. A shell that is installed checks its own.
fn completions(workspace: &Workspace, folder: &Path) -> Result<()> {
    for (shell, file, only_check) in SHELLS {
        let path = folder.join(file);
        fs::write(&path, output(Command::new(workspace.checkout.cofferdam()).args(["completions", shell]))?)?;
        match find_program(shell) {
            Some(program) => run(Command::new(program).arg(only_check).arg(&path))?,
            None => eprintln!("    {shell} is not installed, so {file} is not checked"),
        }
    }
    Ok(())
}

/// Writes a manual page for each command. groff checks them if it is installed.
fn manual_pages(workspace: &Workspace, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    run(Command::new(workspace.checkout.cofferdam()).arg("man-pages").arg(folder))?;
    let pages: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(pages.len() > 20, "only {} manual pages were written", pages.len());
    let Some(groff) = find_program("groff") else {
        eprintln!("    groff is not installed, so the manual pages are not checked");
        return Ok(());
    };
    for page in pages {
        let mut command = Command::new(&groff);
        let checked =
            command.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&page).output().context("cannot start groff")?;
        let warnings = String::from_utf8_lossy(&checked.stderr);
        ensure!(checked.status.success() && warnings.trim().is_empty(), "{}: {warnings}", page.display());
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
