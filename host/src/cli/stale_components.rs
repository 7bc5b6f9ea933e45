//! Whether a component was built after its sources were edited: what runs is the component, not the sources beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml_edit::DocumentMut;

use super::pipeline_file::{PipelineFile, is_path};
use crate::pipeline::NodeKind;

/// Source files that are looked at for one component.
const FILES_MAX: usize = 10_000;

/// One warning for each component, given by its path, that is older than a source file of its package or of a package that
/// this one depends on by path.
pub fn stale_components(manifest: &PipelineFile) -> Vec<String> {
    let reference = |kind: &NodeKind| match kind {
        NodeKind::Operator(operator) => operator.function.as_ref().map(|function| function.component.clone()),
        NodeKind::Source(_) | NodeKind::Sink(_) => None,
    };
    let references: BTreeSet<String> =
        manifest.pipeline.nodes.iter().filter_map(|node| reference(&node.kind)).filter(|one| is_path(one)).collect();
    references.iter().filter_map(|reference| stale(&manifest.base_dir.join(reference))).collect()
}

fn stale(component: &Path) -> Option<String> {
    let built = modified(component)?;
    let package = package_of(component)?;
    let newest = NewestSource::of(&package).newest.filter(|(changed, _)| *changed > built)?;
    Some(format!(
        "the component {} is older than {}, and runs as it was built: build it again with `cofferdam build {}`",
        component.display(),
        newest.1.display(),
        package.display()
    ))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The folder of the package around a component's file.
fn package_of(component: &Path) -> Option<PathBuf> {
    let around = component.ancestors().skip(1).find(|folder| folder.join("Cargo.toml").is_file())?;
    // A workspace without a package of its own has no sources that a component is built from.
    around.join("src").is_dir().then(|| around.to_path_buf())
}

/// The newest source file, over a package and those that it depends on by path.
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
                ["Cargo.toml", "build.rs"].iter().for_each(|name| sources.look_at(package.join(name)));
                sources.look_into(&package.join("src"));
                open.extend(path_dependencies(&package));
            }
        }
        sources
    }

    fn look_into(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            match entry.file_type() {
                // Editors keep their own files beside the sources, under such names.
                _ if is_hidden => {}
                Ok(kind) if kind.is_dir() && self.files < FILES_MAX => self.look_into(&entry.path()),
                Ok(kind) if kind.is_file() => self.look_at(entry.path()),
                _ => {}
            }
        }
    }

    fn look_at(&mut self, file: PathBuf) {
        self.files += 1;
        let Some(changed) = modified(&file).filter(|_| self.files <= FILES_MAX) else { return };
        if self.newest.as_ref().is_none_or(|(newest, _)| changed > *newest) {
            self.newest = Some((changed, file));
        }
    }
}

/// The folders of the packages that a package names by path.
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

    /// A package with a component, a source, and a package `shared` beside it that it depends on. All are of one time.
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
    fn a_component_that_is_as_new_as_its_sources_is_not_warned_of() {
        let (folder, component) = package();
        assert_eq!(stale(&component), None);
        touch(&folder.path().join("f/notes.txt"), 2_000);
        assert_eq!(stale(&component), None, "it is no source");
    }

    #[test]
    fn a_source_that_is_newer_is_named() {
        for changed in ["f/src/inner/deep.rs", "f/Cargo.toml", "shared/src/lib.rs"] {
            let (folder, component) = package();
            touch(&folder.path().join(changed), 2_000);
            let warning = stale(&component).unwrap();
            let name = Path::new(changed).file_name().unwrap().to_str().unwrap();
            assert!(warning.contains(name) && warning.contains("cofferdam build"), "{warning}");
            touch(&component, 3_000);
            assert_eq!(stale(&component), None);
        }
    }

    #[test]
    fn a_component_without_a_package_is_not_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("f.wasm");
        fs::write(&component, "built").unwrap();
        assert_eq!(stale(&component), None);
        assert_eq!(stale(&folder.path().join("missing.wasm")), None);
    }
}
