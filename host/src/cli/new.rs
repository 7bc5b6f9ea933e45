//! `cofferdam new`: creates a function project from the templates in `template/`.
//!
//! Invariant: the project is created completely or not at all.

use std::io;
use std::path::Path;

use super::{print, schema, vendored_sdk};
use crate::error::{Result, data_dir_failed, project_exists, request_invalid};

/// Paths and contents of the files, besides the sources of the SDK. `{{name}}` is replaced.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.template")),
    ("src/lib.rs", include_str!("template/lib.rs.template")),
    (PIPELINE, include_str!("template/pipeline.toml.template")),
    ("sales.csv", include_str!("template/sales.csv")),
    ("README.md", include_str!("template/README.md.template")),
    (".gitignore", "/target\n/cofferdam-data\n"),
];

const PIPELINE: &str = "pipeline.toml";
/// The JSON Schema of the pipeline file, which the first line of the pipeline file names for editors.
const SCHEMA: &str = "pipeline.schema.json";

/// Creates a project in the new folder `name`. Errors: `project-exists`, `request-invalid`, `data-dir-failed`.
pub fn create_project(name: &str) -> Result<()> {
    create_in(Path::new(""), name)?;
    print::lines(format_args!(
        "created {name}/. Next:\n  cd {name}\n  cargo test\n  cofferdam build\n  cofferdam run pipeline.toml"
    ));
    Ok(())
}

fn create_in(parent: &Path, name: &str) -> Result<()> {
    check_name(name)?;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(project_exists(format!("{} already exists", folder.display())).hint("choose another name"));
    }
    let failed = |error: io::Error| data_dir_failed(format!("cannot write the project {}: {error}", folder.display()));
    let (sdk, schema) = (vendored_sdk::files()?, schema::schema_text()?);
    write_files(&folder, name, &sdk, &schema).map_err(|error| {
        // The folder did not exist before, so nothing else is removed.
        let _ = std::fs::remove_dir_all(&folder);
        failed(error)
    })
}

fn write_files(folder: &Path, name: &str, sdk: &[(&str, String)], schema: &str) -> io::Result<()> {
    for (path, template) in FILES {
        write_file(&folder.join(path), &template.replace("{{name}}", name))?;
    }
    write_file(&folder.join(SCHEMA), schema)?;
    let sources = folder.join(vendored_sdk::FOLDER);
    sdk.iter().try_for_each(|(path, text)| write_file(&sources.join(path), text))
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

/// Checks that the name is valid for a package and for a pipeline.
fn check_name(name: &str) -> Result<()> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letters && name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && !RESERVED.contains(&name) {
        return Ok(());
    }
    Err(request_invalid(format!("`{name}` cannot be the name of a project"))
        .hint("use up to 64 characters of a-z, 0-9 and `-`, beginning with a letter, such as `word-count`"))
}

/// Names that cargo rejects, and names of folders in a package.
const RESERVED: &[&str] =
    &["test", "core", "std", "alloc", "proc-macro", "proc_macro", "src", "target", "build", "deps"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PipelineSpec;

    #[test]
    fn the_pipeline_file_of_a_new_project_is_valid_and_names_its_schema() {
        let parent = tempfile::tempdir().unwrap();
        create_in(parent.path(), "word-count").unwrap();
        let read = |file: &str| std::fs::read_to_string(parent.path().join("word-count").join(file)).unwrap();
        let pipeline = PipelineSpec::parse(&read(PIPELINE), PIPELINE).unwrap();
        assert_eq!(pipeline.name, "word-count");
        let cargo: toml_edit::DocumentMut = read("Cargo.toml").parse().unwrap();
        assert_eq!(cargo["package"]["name"].as_str(), Some("word-count"));
        let sdk = cargo["dependencies"]["cofferdam-sdk"]["path"].as_str().unwrap();
        assert!(sdk.starts_with(vendored_sdk::FOLDER) && read(&format!("{sdk}/Cargo.toml")).contains("cofferdam-sdk"));
        assert_eq!(cargo["workspace"]["exclude"][0].as_str(), Some("vendor"));
        let schema = read(PIPELINE).lines().next().and_then(|line| line.strip_prefix("#:schema ./")).map(read).unwrap();
        assert_eq!(schema, schema::schema_text().unwrap());
        for (file, _) in FILES {
            assert!(!read(file).contains("{{"), "{file}");
        }

        let error = create_in(parent.path(), "word-count").unwrap_err();
        assert_eq!(error.code, "project-exists");
        assert!(parent.path().join("word-count/Cargo.toml").exists());
    }

    #[test]
    fn names_are_checked_before_anything_is_written() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["", "../x", "Word", "1st", "a b", "test", &"a".repeat(65)] {
            assert_eq!(create_in(parent.path(), name).unwrap_err().code, "request-invalid", "{name}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
