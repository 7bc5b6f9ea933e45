//! Lists the files of the SDK, which `cofferdam new` writes into a new project.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// What the sources of the SDK consist of, below the root of the workspace.
const FOLDERS: [&str; 2] = ["guest-sdk", "wit"];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other(name.to_owned()));
    let root = variable("CARGO_MANIFEST_DIR")?.join("..").canonicalize()?;
    let mut paths = Vec::new();
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed={}", root.join(folder).display());
        collect(&root.join(folder), &mut paths)?;
    }
    paths.sort();
    let entries = paths.iter().map(|path| {
        let below = path.strip_prefix(&root).unwrap_or(path);
        format!("    ({below:?}, include_str!({path:?})),\n")
    });
    let list = format!("&[\n{}]\n", entries.collect::<String>());
    fs::write(variable("OUT_DIR")?.join("sdk_files.rs"), list)
}

/// Adds the files below a folder, except tests.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            collect(&path, paths)?;
        } else if name == "Cargo.toml" || name.ends_with(".wit") || name.ends_with(".rs") && !name.ends_with("tests.rs")
        {
            paths.push(path);
        }
    }
    Ok(())
}
