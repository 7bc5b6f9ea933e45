//! `cofferdam new`: a function project from the templates beside this file.

use std::io;
use std::path::{Path, PathBuf};

use super::print;
use crate::error::{Result, data_dir_failed, project_exists, request_invalid};

/// Where a file goes, and what it holds. `{{name}}` and `{{sdk}}` are filled in.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.template")),
    ("src/lib.rs", include_str!("template/lib.rs.template")),
    ("pipeline.toml", include_str!("template/pipeline.toml.template")),
    ("words.txt", include_str!("template/words.txt")),
    ("README.md", include_str!("template/README.md.template")),
    (".gitignore", "/target\n/cofferdam-data\n"),
];

/// Makes the folder `name` with a project in it.
pub fn new(name: &str) -> Result<()> {
    create(Path::new(""), name)?;
    print::lines(format_args!(
        "created {name}/: next\n  cd {name}\n  cargo test\n  cofferdam build\n  cofferdam run pipeline.toml"
    ));
    Ok(())
}

/// The project is there whole, or nothing of it is.
fn create(parent: &Path, name: &str) -> Result<()> {
    check_name(name)?;
    let folder = parent.join(name);
    if folder.exists() {
        return Err(project_exists(format!("{} is already there", folder.display())).hint("choose another name"));
    }
    let failed = |error: io::Error| data_dir_failed(format!("cannot write the project {}: {error}", folder.display()));
    write_files(&folder, name).map_err(|error| {
        // It was not there before, so all of it is ours.
        let _ = std::fs::remove_dir_all(&folder);
        failed(error)
    })
}

fn write_files(folder: &Path, name: &str) -> io::Result<()> {
    let sdk = sdk_dependency();
    for (path, template) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, template.replace("{{name}}", name).replace("{{sdk}}", &sdk))?;
    }
    Ok(())
}

/// A name that is one of a package as well as of a pipeline.
fn check_name(name: &str) -> Result<()> {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if letters && name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && !RESERVED.contains(&name) {
        return Ok(());
    }
    Err(request_invalid(format!("`{name}` cannot be a project's name"))
        .hint("take up to 64 characters of a-z, 0-9 and `-` that begin with a letter, such as `word-count`"))
}

/// Names that cargo refuses, or that are folders of a package.
const RESERVED: &[&str] =
    &["test", "core", "std", "alloc", "proc-macro", "proc_macro", "src", "target", "build", "deps"];

/// The SDK of the checkout that this binary was built from, while it is there; otherwise the published one.
fn sdk_dependency() -> String {
    let checkout = option_env!("CARGO_MANIFEST_DIR").map(|host| PathBuf::from(host).join("../guest-sdk"));
    let checkout =
        checkout.and_then(|folder| folder.canonicalize().ok()).filter(|sdk| sdk.join("Cargo.toml").is_file());
    match checkout {
        Some(folder) => format!("{{ path = {} }}", toml_edit::Value::from(folder.to_string_lossy().into_owned())),
        None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PipelineSpec;

    #[test]
    fn a_project_has_a_pipeline_that_is_well_formed() {
        let parent = tempfile::tempdir().unwrap();
        create(parent.path(), "word-count").unwrap();
        let read = |file: &str| std::fs::read_to_string(parent.path().join("word-count").join(file)).unwrap();
        let pipeline = PipelineSpec::parse(&read("pipeline.toml"), "pipeline.toml").unwrap();
        assert_eq!(pipeline.name, "word-count");
        let cargo: toml_edit::DocumentMut = read("Cargo.toml").parse().unwrap();
        assert_eq!(cargo["package"]["name"].as_str(), Some("word-count"));
        assert!(cargo["workspace"].is_table() && !cargo["dependencies"]["cofferdam-sdk"].is_none());
        for (file, _) in FILES {
            assert!(!read(file).contains("{{"), "{file}");
        }

        let error = create(parent.path(), "word-count").unwrap_err();
        assert_eq!(error.code, "project-exists");
        assert!(parent.path().join("word-count/Cargo.toml").exists());
    }

    #[test]
    fn names_are_checked_before_anything_is_written() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["", "../x", "Word", "1st", "a b", "test", &"a".repeat(65)] {
            assert_eq!(create(parent.path(), name).unwrap_err().code, "request-invalid", "{name}");
        }
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
