//! The sources of the SDK, which `cofferdam new` writes into a project. So the project compiles on every machine.
//!
//! The files are those of this repository in the same folders, below a workspace manifest that has only what they need.

use std::collections::BTreeSet;

use toml_edit::{Array, DocumentMut, Item, Table, value};

use crate::error::{Error, Result, internal};

/// Folder of the sources in a project.
pub const FOLDER: &str = "vendor/cofferdam";

/// Paths below the root of the repository, and their contents. `build.rs` makes the list.
const SDK_FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));
/// Packages of the sources.
const MEMBERS: [&str; 2] = ["guest-sdk", "guest-sdk/macros"];
/// The manifest of the repository's workspace.
const WORKSPACE: &str = include_str!("../../../Cargo.toml");
const LICENSE: &str = include_str!("../../../LICENSE");
const README: &str = include_str!("template/vendor-README.md.template");

/// Returns the paths of the files below [`FOLDER`], and their contents.
pub fn files() -> Result<Vec<(&'static str, String)>> {
    let mut files = vec![
        ("Cargo.toml", workspace_manifest()?),
        ("LICENSE", LICENSE.to_owned()),
        ("README.md", README.replace("{{version}}", env!("CARGO_PKG_VERSION"))),
    ];
    files.extend(SDK_FILES.iter().map(|(path, text)| (*path, (*text).to_owned())));
    Ok(files)
}

/// Returns the manifest of a workspace with only the packages of the SDK, and with the versions of this repository.
fn workspace_manifest() -> Result<String> {
    let mut workspace = parse(WORKSPACE)?;
    let needed = inherited_dependencies()?;
    let table = workspace["workspace"].as_table_mut().ok_or_else(|| defect("it has no workspace"))?;
    table.insert("members", value(MEMBERS.into_iter().collect::<Array>()));
    let dependencies = table["dependencies"].as_table_mut().ok_or_else(|| defect("it has no dependencies"))?;
    dependencies.retain(|name, _| needed.contains(name));
    for (mut name, dependency) in dependencies.iter_mut() {
        // Comments are about other crates and other uses.
        name.leaf_decor_mut().clear();
        dependency.as_value_mut().into_iter().for_each(|value| value.decor_mut().clear());
    }
    let mut manifest = DocumentMut::new();
    manifest.insert("workspace", Item::Table(std::mem::replace(table, Table::new())));
    Ok(manifest.to_string())
}

/// Returns the names of the dependencies that the packages take from their workspace.
fn inherited_dependencies() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for member in MEMBERS {
        let manifest = format!("{member}/Cargo.toml");
        let text = SDK_FILES.iter().find(|(path, _)| *path == manifest).map(|(_, text)| *text);
        let package = parse(text.ok_or_else(|| defect(format!("{manifest} is missing")))?)?;
        let dependencies = package.get("dependencies").and_then(Item::as_table_like);
        let of_workspace = |item: &Item| item.as_table_like().is_some_and(|table| table.contains_key("workspace"));
        let inherited = dependencies.into_iter().flat_map(|table| table.iter()).filter(|(_, item)| of_workspace(item));
        names.extend(inherited.map(|(name, _)| name.to_owned()));
    }
    Ok(names)
}

fn parse(text: &str) -> Result<DocumentMut> {
    text.parse().map_err(defect)
}

fn defect(why: impl std::fmt::Display) -> Error {
    internal(format!("the sources of the SDK in this program have a defect: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_complete_and_have_only_the_dependencies_that_they_need() {
        let files = files().unwrap();
        let text = |path: &str| &files.iter().find(|(of, _)| *of == path).unwrap_or_else(|| panic!("{path}")).1;
        assert!(text("guest-sdk/src/lib.rs").contains("pub mod") && text("wit/world.wit").contains("world"));
        assert!(text("README.md").contains(env!("CARGO_PKG_VERSION")));
        let manifest: DocumentMut = text("Cargo.toml").parse().unwrap();
        let workspace = manifest["workspace"].as_table().unwrap();
        let names: Vec<&str> = workspace["dependencies"].as_table().unwrap().iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"cofferdam-sdk-macros") && names.contains(&"wit-bindgen"), "{names:?}");
        assert!(!names.contains(&"wasmtime") && !names.contains(&"cofferdam"), "{names:?}");
        assert_eq!(workspace["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert!(!text("Cargo.toml").contains('#'), "comments about other crates: {}", text("Cargo.toml"));
        assert!(files.iter().all(|(path, _)| !path.ends_with("tests.rs") && !path.starts_with('/')));
    }

    #[test]
    fn no_file_names_a_folder_of_the_machine_that_built_this_program() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().display().to_string();
        for (path, text) in files().unwrap() {
            assert!(!text.contains(&root), "{path}");
        }
    }
}
