//! `cargo xtask docs`: writes the manual pages and the completions of shells, for packages.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace::{Workspace, run, step};

/// The shells, and the names of their files.
const SHELLS: [(&str, &str); 3] = [("bash", "cofferdam.bash"), ("zsh", "_cofferdam"), ("fish", "cofferdam.fish")];

/// Writes everything below the folder `docs` of the target folder.
pub fn write(workspace: &Workspace) -> Result<()> {
    workspace.build(&[])?;
    let folder = workspace.checkout.target.join("docs");
    let binary = workspace.checkout.cofferdam();
    step("write manual pages and completions", || {
        run(Command::new(&binary).arg("man-pages").arg(folder.join("man")))?;
        fs::create_dir_all(folder.join("completions"))?;
        for (shell, file) in SHELLS {
            let output =
                Command::new(&binary).args(["completions", shell]).output().context("cannot start cofferdam")?;
            ensure!(output.status.success(), "no completions for {shell}");
            fs::write(folder.join("completions").join(file), output.stdout)?;
        }
        Ok(())
    })?;
    println!("{}", folder.display());
    Ok(())
}
