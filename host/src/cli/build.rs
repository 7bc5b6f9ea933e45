//! `cofferdam build`: from a Rust package to a component.

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cargo_metadata::{CrateType, Message, MetadataCommand, Package};
use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

use super::toolchain::{self, TARGET, Toolchain};
use super::{BuildArgs, print};
use crate::error::{Error, Result, build_failed};
use crate::stdio;

/// Builds the package and writes its component; the compiler's words go to stderr as they are.
pub fn build(args: &BuildArgs, json: bool) -> Result<()> {
    let manifest = args.dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(build_failed(format!("there is no {}", manifest.display()))
            .hint("name the folder of a function package; `cofferdam new NAME` makes one"));
    }
    let toolchain = toolchain::find(&args.dir)?;
    let package = package(&toolchain, &manifest)?;
    stdio::tell(format_args!("building {} with {toolchain}", package.name));
    // The compiler writes to the same place.
    stdio::flush();
    let module = compile(&toolchain, &manifest, &package)?;
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

/// The package of this very `Cargo.toml`, if it is one that gives a WebAssembly module.
fn package(toolchain: &Toolchain, manifest: &Path) -> Result<Package> {
    let failed = |error: &dyn std::fmt::Display| build_failed(format!("{}: {error}", manifest.display()));
    let mut command = MetadataCommand::new();
    command.cargo_path(toolchain.cargo().get_program()).manifest_path(manifest).no_deps();
    let metadata = command.exec().map_err(|error| failed(&error))?;
    let path = manifest.canonicalize().map_err(|error| failed(&error))?;
    let own = |package: &&Package| package.manifest_path.as_std_path() == path;
    let package = metadata.packages.iter().find(own).ok_or_else(|| {
        failed(&"this is a workspace without a package of its own").hint("name the folder of a package")
    })?;
    if !package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib)) {
        return Err(
            failed(&"the library is no `cdylib`").hint("add `[lib]` with `crate-type = [\"cdylib\", \"rlib\"]` to it")
        );
    }
    Ok(package.clone())
}

/// The sandbox runs SIMD, so functions are compiled with it. Flags in `RUSTFLAGS` take its place.
const SIMD: &str = "target.wasm32-unknown-unknown.rustflags = ['-Ctarget-feature=+simd128']";

/// Runs cargo, and gives the bytes of the module.
fn compile(toolchain: &Toolchain, manifest: &Path, package: &Package) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| build_failed(format!("cannot run cargo: {error}"));
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--lib", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.args(["--config", SIMD]).args(toolchain.build_arguments()).arg("--manifest-path").arg(manifest);
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
    let module: PathBuf = module.ok_or_else(|| build_failed("cargo built no WebAssembly module"))?.into();
    std::fs::read(&module).map_err(|error| build_failed(format!("cannot read {}: {error}", module.display())))
}

fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    let not_a_component = |error: &dyn std::fmt::Display| -> Error {
        build_failed(format!("the module is no component of functions: {error}"))
            .hint("the package needs one line `cofferdam_sdk::export!(...)` that names its functions")
    };
    encoded.map_err(|error| not_a_component(&format_args!("{error:#}")))
}

/// Writes the file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // A temporary file is private; a component is as readable as any other build result.
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
    fn what_is_no_package_of_functions_is_told_before_it_is_compiled() {
        assert!(build_in(&[]).hint.unwrap().contains("cofferdam new"));
        assert!(build_in(&[("Cargo.toml", "[workspace]\n")]).message.contains("workspace"));
        let library =
            [("Cargo.toml", "[package]\nname = \"a\"\nversion = \"0.1.0\"\n[workspace]\n"), ("src/lib.rs", "")];
        let error = build_in(&library);
        assert_eq!(error.code, "build-failed");
        assert!(error.hint.unwrap().contains("cdylib"));
    }

    #[test]
    fn a_module_without_functions_is_told() {
        assert!(encode(b"not wasm").unwrap_err().hint.unwrap().contains("export!"));
        let module = wat::parse_str("(module (import \"env\" \"x\" (func)))").unwrap();
        assert_eq!(encode(&module).unwrap_err().code, "build-failed");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.wasm");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
