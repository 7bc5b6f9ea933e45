//! Reads a pipeline file, and pushes the components that it names by path.
//!
//! A pushed component is named by its digest in the text that is submitted. Must not know where components are pushed to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml_edit::{DocumentMut, Value};

use crate::checkpoint::utf8_path;
use crate::error::{Error, Result, component_not_found, data_dir_failed, manifest_syntax, source_missing};
use crate::pipeline::PipelineSpec;

/// A pipeline file as the user wrote it.
pub struct PipelineFile {
    pub text: String,
    /// Its name in error messages.
    pub name: String,
    /// Its folder, as an absolute path.
    pub base_dir: PathBuf,
    pub pipeline: PipelineSpec,
}

/// Reads a pipeline file and checks it as far as possible without its components. Errors: `source-missing`, and those of
/// [`PipelineSpec::parse`].
pub fn read_pipeline_file(path: &Path) -> Result<PipelineFile> {
    let failed = |error: io::Error| {
        source_missing(format!("cannot read the pipeline file {}: {error}", path.display()))
            .hint("name a pipeline file; `cofferdam new` creates one")
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

/// Returns the text of the pipeline file with each component path replaced by `sha256:...`. `push` uploads a component and
/// returns its digest. Line numbers do not change, so errors in the new text point into the file.
pub fn push_components(file: &PipelineFile, mut push: impl FnMut(&Path) -> Result<String>) -> Result<String> {
    let mut document: DocumentMut =
        file.text.parse().map_err(|error: toml_edit::TomlError| manifest_syntax(error.message()))?;
    let Some(operators) = document.get_mut("operator").and_then(|item| item.as_table_like_mut()) else {
        return Ok(file.text.clone());
    };
    for (_, operator) in operators.iter_mut() {
        let component = operator.as_table_like_mut().and_then(|operator| operator.get_mut("component"));
        let Some(value) = component.and_then(|item| item.as_value_mut()) else { continue };
        let Some(path) = value.as_str().filter(|reference| is_path(reference)) else { continue };
        let digest = push(&file.base_dir.join(path))?;
        let decor = value.decor().clone();
        *value = Value::from(format!("sha256:{digest}"));
        *value.decor_mut() = decor;
    }
    Ok(document.to_string())
}

/// Whether a reference to a component is a path rather than a name or a digest.
pub fn is_path(reference: &str) -> bool {
    !reference.starts_with("sha256:") && (reference.ends_with(".wasm") || reference.contains(['/', '\\']))
}

/// Copies the file of a component to `to`, and returns its SHA-256.
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

    const PIPELINE: &str = "name = \"p\" # first\n[source.s]\nconnector = \"generator\"\n\n[operator.a]\ninput = \"s\"\n\
        component = \"f/a.wasm\"   # by path\nfunction = \"f\"\n[operator.b]\ninput = \"a\"\ncomponent = \"named@1\"\n\
        function = \"f\"\n[sink.out]\ninput = \"b\"\nconnector = \"stdout\"\n";

    #[test]
    fn only_components_named_by_path_are_pushed_and_lines_stay() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("f")).unwrap();
        std::fs::write(folder.path().join("f/a.wasm"), "abc").unwrap();
        std::fs::write(folder.path().join("p.toml"), PIPELINE).unwrap();
        let file = read_pipeline_file(&folder.path().join("p.toml")).unwrap();
        let mut pushed = Vec::new();
        let text = push_components(&file, |path| Ok(hex::encode(copy_component(path, &mut pushed)?))).unwrap();
        assert_eq!(pushed, b"abc");
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text, PIPELINE.replace("f/a.wasm", digest));

        std::fs::remove_file(folder.path().join("f/a.wasm")).unwrap();
        let error = push_components(&file, |path| Ok(hex::encode(copy_component(path, &mut Vec::new())?))).unwrap_err();
        assert_eq!(error.code, "component-not-found");
        assert!(error.hint.unwrap().contains("cofferdam build"));
    }

    #[test]
    fn paths_are_told_from_names_and_digests() {
        for reference in ["a.wasm", "./a", "target/component/a.wasm"] {
            assert!(is_path(reference), "{reference}");
        }
        for reference in ["a", "a@1", "sha256:00ff", "a@1.2"] {
            assert!(!is_path(reference), "{reference}");
        }
    }
}
