//! Components that a manifest gives by path: pushed first, then named by their digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml_edit::{DocumentMut, Value};

use crate::checkpoint::utf8_path;
use crate::error::{Error, Result, component_not_found, data_dir_failed, manifest_syntax, source_missing};
use crate::pipeline::PipelineSpec;

/// A manifest as a person wrote it.
pub struct PipelineFile {
    pub text: String,
    /// What errors call it.
    pub name: String,
    /// Its folder, absolute.
    pub base_dir: PathBuf,
    pub pipeline: PipelineSpec,
}

/// Reads a manifest and checks it, as far as that goes without its components.
pub fn read_pipeline_file(path: &Path) -> Result<PipelineFile> {
    let failed = |error: io::Error| {
        source_missing(format!("cannot read the manifest {}: {error}", path.display()))
            .hint("name the pipeline's TOML file; `cofferdam new` writes one")
    };
    let bytes = std::fs::read(path).map_err(failed)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|_| manifest_syntax(format!("{name} is not UTF-8")))?;
    let pipeline = PipelineSpec::parse(&text, &name)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base_dir = folder.canonicalize().map_err(failed)?;
    utf8_path(&base_dir)?;
    Ok(PipelineFile { text, name, base_dir, pipeline })
}

/// The manifest's text with every component given by path replaced by `sha256:...`, as `push` names it. Lines stay where
/// they are, so that errors about the new text hold for the old one.
pub fn push_components(manifest: &PipelineFile, mut push: impl FnMut(&Path) -> Result<String>) -> Result<String> {
    let mut document: DocumentMut =
        manifest.text.parse().map_err(|error: toml_edit::TomlError| manifest_syntax(error.message()))?;
    let Some(operators) = document.get_mut("operator").and_then(|item| item.as_table_like_mut()) else {
        return Ok(manifest.text.clone());
    };
    for (_, operator) in operators.iter_mut() {
        let component = operator.as_table_like_mut().and_then(|operator| operator.get_mut("component"));
        let Some(value) = component.and_then(|item| item.as_value_mut()) else { continue };
        let Some(path) = value.as_str().filter(|reference| is_path(reference)) else { continue };
        let digest = push(&manifest.base_dir.join(path))?;
        let decor = value.decor().clone();
        *value = Value::from(format!("sha256:{digest}"));
        *value.decor_mut() = decor;
    }
    Ok(document.to_string())
}

/// Whether a component's reference is a path, and not a name or a digest.
pub fn is_path(reference: &str) -> bool {
    !reference.starts_with("sha256:") && (reference.ends_with(".wasm") || reference.contains(['/', '\\']))
}

/// Reads a component's file to `to`, and gives its SHA-256.
pub fn copy_component(path: &Path, to: &mut impl Write) -> Result<[u8; 32]> {
    let missing = |error: io::Error| missing_component(path, &error);
    let mut file = File::open(path).map_err(missing)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(missing(error)),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        digest.update(bytes);
        to.write_all(bytes).map_err(|error| data_dir_failed(format!("cannot store the component: {error}")))?;
    }
    Ok(digest.finalize().into())
}

fn missing_component(path: &Path, error: &io::Error) -> Error {
    component_not_found(format!("cannot read the component {}: {error}", path.display()))
        .hint("build it first with `cofferdam build`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"p\" # first\n[source.s]\nconnector = \"generator\"\n\n[operator.a]\ninput = \"s\"\n\
        component = \"f/a.wasm\"   # by path\nfunction = \"f\"\n[operator.b]\ninput = \"a\"\ncomponent = \"named@1\"\n\
        function = \"f\"\n[sink.out]\ninput = \"b\"\nconnector = \"stdout\"\n";

    #[test]
    fn only_paths_are_pushed_and_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("f")).unwrap();
        std::fs::write(folder.path().join("f/a.wasm"), "abc").unwrap();
        std::fs::write(folder.path().join("p.toml"), MANIFEST).unwrap();
        let manifest = read_pipeline_file(&folder.path().join("p.toml")).unwrap();
        let mut pushed = Vec::new();
        let text = push_components(&manifest, |path| Ok(hex::encode(copy_component(path, &mut pushed)?))).unwrap();
        assert_eq!(pushed, b"abc");
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text, MANIFEST.replace("f/a.wasm", digest));

        std::fs::remove_file(folder.path().join("f/a.wasm")).unwrap();
        let error =
            push_components(&manifest, |path| Ok(hex::encode(copy_component(path, &mut Vec::new())?))).unwrap_err();
        assert_eq!(error.code, "component-not-found");
        assert!(error.hint.unwrap().contains("cofferdam build"));
    }

    #[test]
    fn names_digests_and_paths() {
        for reference in ["a.wasm", "./a", "target/component/a.wasm"] {
            assert!(is_path(reference), "{reference}");
        }
        for reference in ["a", "a@1", "sha256:00ff", "a@1.2"] {
            assert!(!is_path(reference), "{reference}");
        }
    }
}
