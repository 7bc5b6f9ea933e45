//! Builds the host with fail points, for `cargo xtask crash`.
//!
//! The build has a target folder of its own, so that the binary never takes the place of the released one. It shares the
//! compiled dependencies with the plain build: the folder gets hard links to them, so that only the host is compiled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace::{Workspace, run, step};

/// The Cargo feature of the host.
const FEATURE: &str = "fail-points";

/// Builds the binary and returns its path. The plain binary must have been built before.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.checkout.target.join(FEATURE);
    let (plain, shared) = (workspace.checkout.target.join("release"), target.join("release"));
    step("build cofferdam with fail points", || {
        for folder in ["build", "deps", ".fingerprint"] {
            share(&plain.join(folder), &shared.join(folder))?;
        }
        let mut command = workspace.cargo(&["build", "--release", "-p", "cofferdam", "--features", FEATURE]);
        run(command.env("CARGO_TARGET_DIR", &target))
    })?;
    Ok(shared.join("cofferdam"))
}

/// Gives `to` the entries of `from` that it lacks, except those of this workspace's crates.
fn share(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = ["cofferdam", "libcofferdam", "xtask"].iter().any(|crate_name| name.starts_with(crate_name));
        let target = to.join(&name);
        if is_ours || target.exists() {
            continue;
        }
        share_entry(&entry.path(), &target).with_context(|| format!("cannot share {}", entry.path().display()))?;
    }
    Ok(())
}

/// Copies a fingerprint, because Cargo may overwrite it, and links everything else. Keeps times, by which Cargo decides what
/// to compile.
fn share_entry(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            share_entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let is_fingerprint = from.components().any(|part| part.as_os_str() == ".fingerprint");
    if is_fingerprint || fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
        File::options().append(true).open(to)?.set_modified(fs::metadata(from)?.modified()?)?;
    }
    Ok(())
}
