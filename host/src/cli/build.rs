//! `cofferdam build`: compiles a Rust package to a component.
//!
//! Must not require a server.

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cargo_metadata::{CrateType, Message, MetadataCommand, Package};
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use super::arguments::BuildArgs;
use super::print;
use super::toolchain::{self, TARGET, Toolchain};
use crate::error::{Error, Result, build_failed};
use crate::stdio;

/// Builds the package and writes its component. The messages of the compiler go to stderr. Errors: `build-failed`,
/// `toolchain-missing`.
pub fn build(args: &BuildArgs, json: bool) -> Result<()> {
    let cargo_toml = args.dir.join("Cargo.toml");
    if !cargo_toml.is_file() {
        return Err(build_failed(format!("{} does not exist", cargo_toml.display()))
            .hint("name the folder of a function package; `cofferdam new NAME` creates one"));
    }
    let toolchain = toolchain::find(&args.dir)?;
    let package = package(&toolchain, &cargo_toml)?;
    stdio::tell(format_args!("building {} with {toolchain}", package.name));
    // The compiler writes to the same stream.
    stdio::flush();
    let module = compile(&toolchain, &cargo_toml, &package)?;
    let component = encode(&module)?;

    let default =
        package.manifest_path.with_file_name("target").join("component").join(format!("{}.wasm", package.name));
    let out = args.out.clone().unwrap_or_else(|| default.into_std_path_buf());
    write(&out, &component).map_err(|error| build_failed(format!("cannot write {}: {error}", out.display())))?;
    let digest = hex::encode(Sha256::digest(&component));
    if json {
        return print::json(&serde_json::json!({ "path": out, "bytes": component.len(), "sha256": digest }));
    }
    print::line(format_args!("{}  {}  sha256:{digest}", out.display(), print::size(component.len() as u64)));
    Ok(())
}

/// Returns the package of this `Cargo.toml`, which must have a `cdylib` target.
fn package(toolchain: &Toolchain, cargo_toml: &Path) -> Result<Package> {
    let failed = |error: &dyn std::fmt::Display| build_failed(format!("{}: {error}", cargo_toml.display()));
    let mut command = MetadataCommand::new();
    command.cargo_path(toolchain.cargo().get_program()).manifest_path(cargo_toml).no_deps();
    let metadata = command.exec().map_err(|error| failed(&error))?;
    let path = cargo_toml.canonicalize().map_err(|error| failed(&error))?;
    let own = |package: &&Package| package.manifest_path.as_std_path() == path;
    let package =
        metadata.packages.iter().find(own).ok_or_else(|| {
            failed(&"the file describes a workspace, not a package").hint("name the folder of a package")
        })?;
    if !package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib)) {
        return Err(failed(&"the library is not a `cdylib`")
            .hint("add `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]` to Cargo.toml"));
    }
    Ok(package.clone())
}

/// Compiles functions with SIMD, which the sandbox supports. Cargo ignores this if `RUSTFLAGS` is set.
const SIMD: &str = "target.wasm32-unknown-unknown.rustflags = ['-Ctarget-feature=+simd128']";

/// Runs cargo, and returns the WebAssembly module.
fn compile(toolchain: &Toolchain, cargo_toml: &Path, package: &Package) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| build_failed(format!("cannot run cargo: {error}"));
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--lib", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.args(["--config", SIMD]).args(toolchain.build_arguments()).arg("--manifest-path").arg(cargo_toml);
    let mut running = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut module = None;
    if let Some(messages) = running.stdout.take() {
        for message in Message::parse_stream(BufReader::new(messages)) {
            let Message::CompilerArtifact(artifact) = message.map_err(failed)? else { continue };
            if artifact.package_id == package.id && artifact.target.crate_types.contains(&CrateType::CDyLib) {
                module = artifact.filenames.into_iter().find(|file| file.extension() == Some("wasm"));
            }
        }
    }
    if !running.wait().map_err(failed)?.success() {
        return Err(build_failed(format!("{} does not compile", package.name)));
    }
    let module: PathBuf = module.ok_or_else(|| build_failed("cargo did not build a WebAssembly module"))?.into();
    std::fs::read(&module).map_err(|error| build_failed(format!("cannot read {}: {error}", module.display())))
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    let not_a_component = |error: &dyn std::fmt::Display| -> Error {
        build_failed(format!("the module does not contain functions for Cofferdam: {error}"))
            .hint("add one line `cofferdam_sdk::export!(...)` that names the functions of the package")
    };
    encoded.map_err(|error| not_a_component(&format_args!("{error:#}")))
}

/// Writes the file atomically.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default. Other build results are readable by all users.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build_in(files: &[(&str, &str)]) -> Error {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        build(&BuildArgs { dir: folder.path().to_path_buf(), out: None }, false).unwrap_err()
    }

    #[test]
    fn a_folder_without_a_function_package_is_rejected_before_compiling() {
        assert!(build_in(&[]).hint.unwrap().contains("cofferdam new"));
        assert!(build_in(&[("Cargo.toml", "[workspace]\n")]).message.contains("workspace"));
        let library =
            [("Cargo.toml", "[package]\nname = \"a\"\nversion = \"0.1.0\"\n[workspace]\n"), ("src/lib.rs", "")];
        let error = build_in(&library);
        assert_eq!(error.code, "build-failed");
        assert!(error.hint.unwrap().contains("cdylib"));
    }

    #[test]
    fn a_module_without_functions_is_rejected() {
        assert!(encode(b"not wasm").unwrap_err().hint.unwrap().contains("export!"));
        let module = wat::parse_str("(module (import \"env\" \"x\" (func)))").unwrap();
        assert_eq!(encode(&module).unwrap_err().code, "build-failed");
    }

    #[test]
    fn a_file_is_replaced_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.wasm");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
