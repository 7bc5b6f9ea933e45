//! Warns of components that are older than their sources, because the component runs and not the sources.
//!
//! Must not fail: what cannot be read gives no warning.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml_edit::DocumentMut;

use super::pipeline_file::{PipelineFile, is_path};
use crate::pipeline::NodeKind;

/// Upper bound on the source files that are checked for one component.
const FILES_MAX: usize = 10_000;

/// Returns a warning for each component named by path that is older than a source file of its package, or of a package that
/// it depends on by path.
pub fn stale_components(file: &PipelineFile) -> Vec<String> {
    let reference = |kind: &NodeKind| match kind {
        NodeKind::Operator(operator) => operator.function.as_ref().map(|function| function.component.clone()),
        NodeKind::Source(_) | NodeKind::Sink(_) => None,
    };
    let references: BTreeSet<String> =
        file.pipeline.nodes.iter().filter_map(|node| reference(&node.kind)).filter(|one| is_path(one)).collect();
    references.iter().filter_map(|reference| stale_warning(&file.base_dir.join(reference))).collect()
}

fn stale_warning(component: &Path) -> Option<String> {
    let built = modified(component)?;
    let package = package_of(component)?;
    let newest = NewestSource::of(&package).newest.filter(|(changed, _)| *changed > built)?;
    Some(format!(
        "the component {} is older than {} and does not contain its changes: build it again with `cofferdam build {}`",
        component.display(),
        newest.1.display(),
        package.display()
    ))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Returns the folder of the package that contains a component's file.
fn package_of(component: &Path) -> Option<PathBuf> {
    let around = component.ancestors().skip(1).find(|folder| folder.join("Cargo.toml").is_file())?;
    // The root of a workspace may have no sources of its own.
    around.join("src").is_dir().then(|| around.to_path_buf())
}

/// The newest source file of a package and of the packages that it depends on by path.
#[derive(Default)]
struct NewestSource {
    newest: Option<(SystemTime, PathBuf)>,
    packages: BTreeSet<PathBuf>,
    files: usize,
}

impl NewestSource {
    fn of(package: &Path) -> NewestSource {
        let mut sources = NewestSource::default();
        let mut open = vec![package.to_path_buf()];
        while let Some(package) = open.pop() {
            let known = package.canonicalize().unwrap_or_else(|_| package.clone());
            if sources.packages.insert(known) {
                ["Cargo.toml", "build.rs"].iter().for_each(|name| sources.add_file(package.join(name)));
                sources.add_folder(&package.join("src"));
                open.extend(path_dependencies(&package));
            }
        }
        sources
    }

    fn add_folder(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            match entry.file_type() {
                // Hidden files are often temporary files of editors.
                _ if is_hidden => {}
                Ok(kind) if kind.is_dir() && self.files < FILES_MAX => self.add_folder(&entry.path()),
                Ok(kind) if kind.is_file() => self.add_file(entry.path()),
                _ => {}
            }
        }
    }

    fn add_file(&mut self, file: PathBuf) {
        self.files += 1;
        let Some(changed) = modified(&file).filter(|_| self.files <= FILES_MAX) else { return };
        if self.newest.as_ref().is_none_or(|(newest, _)| changed > *newest) {
            self.newest = Some((changed, file));
        }
    }
}

/// Returns the folders of the packages that a package depends on by path.
fn path_dependencies(package: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(package.join("Cargo.toml")).unwrap_or_default();
    let Ok(document) = text.parse::<DocumentMut>() else { return Vec::new() };
    let tables =
        ["dependencies", "build-dependencies"].into_iter().filter_map(|table| document.get(table)?.as_table_like());
    let dependencies = tables.flat_map(|table| table.iter().map(|(_, dependency)| dependency).collect::<Vec<_>>());
    let paths =
        dependencies.filter_map(|dependency| Some(package.join(dependency.as_table_like()?.get("path")?.as_str()?)));
    paths.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    /// Creates a package with a component, which depends on a second package `shared`. All files have the same time.
    fn package() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            (
                "f/Cargo.toml",
                "[package]\nname = \"f\"\n[dependencies]\nserde = \"1\"\nshared = { path = \"../shared\" }\n",
            ),
            ("f/src/inner/deep.rs", ""),
            ("f/target/component/f.wasm", "built"),
            ("f/notes.txt", ""),
            ("shared/Cargo.toml", "[package]\nname = \"shared\"\n"),
            ("shared/src/lib.rs", ""),
        ];
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            touch(&path, 1_000);
        }
        let component = folder.path().join("f/target/component/f.wasm");
        (folder, component)
    }

    fn touch(path: &Path, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_component_that_is_as_new_as_its_sources_causes_no_warning() {
        let (folder, component) = package();
        assert_eq!(stale_warning(&component), None);
        touch(&folder.path().join("f/notes.txt"), 2_000);
        assert_eq!(stale_warning(&component), None, "notes.txt is not a source file");
    }

    #[test]
    fn the_warning_names_the_newer_source_file() {
        for changed in ["f/src/inner/deep.rs", "f/Cargo.toml", "shared/src/lib.rs"] {
            let (folder, component) = package();
            touch(&folder.path().join(changed), 2_000);
            let warning = stale_warning(&component).unwrap();
            let name = Path::new(changed).file_name().unwrap().to_str().unwrap();
            assert!(warning.contains(name) && warning.contains("cofferdam build"), "{warning}");
            touch(&component, 3_000);
            assert_eq!(stale_warning(&component), None);
        }
    }

    #[test]
    fn a_component_without_a_package_causes_no_warning() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("f.wasm");
        fs::write(&component, "built").unwrap();
        assert_eq!(stale_warning(&component), None);
        assert_eq!(stale_warning(&folder.path().join("missing.wasm")), None);
    }
}
