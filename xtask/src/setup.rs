//! Installs missing build requirements: libclang, a C++ compiler, Rust's wasm target.
//!
//! Asks no questions, changes nothing that exists, and prints what it does. If it cannot install something, the error
//! contains the next step for the user.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::{self, Workspace, find_program, succeeds};

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Debian's toolchain for web targets, which includes the source of the standard library.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";

/// Prepares the machine for building. Returns the workspace with the environment that Cargo needs.
pub fn run(mut workspace: Workspace) -> Result<Workspace> {
    let apt = Apt::default();
    cpp_compiler(&apt)?;
    libclang(&mut workspace, &apt)?;
    wasm_target(&apt)?;
    Ok(workspace)
}

fn cpp_compiler(apt: &Apt) -> Result<()> {
    let there =
        || env::var_os("CXX").is_some() || ["c++", "g++", "clang++"].iter().any(|name| find_program(name).is_some());
    if there() || (apt.install(&["g++"]) && there()) {
        return Ok(());
    }
    bail!("RocksDB needs a C++20 compiler and none was found. Install g++ or clang++, or set CXX")
}

/// Bindgen loads libclang to read RocksDB's header. If libclang is in a usual folder, no variable is set, because a
/// changed variable would compile RocksDB again.
fn libclang(workspace: &mut Workspace, apt: &Apt) -> Result<()> {
    if env::var_os("LIBCLANG_PATH").is_some() || find_libclang().is_some() {
        return Ok(());
    }
    for package in ["libclang-dev", "libclang-19-dev", "libclang-14-dev"] {
        if apt.install(&[package]) && find_libclang().is_some() {
            return Ok(());
        }
    }
    if let Some(folder) = libclang_from_pip(&workspace.checkout.target.join("setup/libclang")) {
        workspace.set("LIBCLANG_PATH", folder);
        if let Some(arguments) = compiler_headers() {
            workspace.set("BINDGEN_EXTRA_CLANG_ARGS", arguments);
        }
        return Ok(());
    }
    bail!(
        "RocksDB's bindings need libclang and none was found. Install your system's libclang (Debian: \
         libclang-dev, Fedora: clang-devel, macOS: xcode-select --install), or set LIBCLANG_PATH to its folder"
    )
}

/// Finds a libclang in the folders that bindgen also searches.
fn find_libclang() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/opt/llvm/lib"]
        .into_iter()
        .chain(["/Library/Developer/CommandLineTools/usr/lib"])
        .map(PathBuf::from)
        .collect();
    for parent in ["/usr/lib", "/usr/lib64", "/usr/local"] {
        for folder in entries(Path::new(parent)) {
            folders.extend([folder.join("lib"), folder]);
        }
    }
    folders
        .into_iter()
        .find(|folder| entries(folder).iter().filter_map(|path| path.file_name()?.to_str()).any(is_libclang))
}

/// Accepts `libclang.so`, `libclang-14.so.1` and `libclang.dylib`, but not `libclang-cpp.so`, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else { return false };
    let shared = rest.contains(".so") || rest.ends_with(".dylib");
    let version = rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit() || c == '.');
    shared && (version.is_empty() || version.starts_with("so") || version.starts_with("dylib"))
}

/// Installs the PyPI package `libclang`, which contains only the shared library, for machines without a known package
/// manager.
fn libclang_from_pip(folder: &Path) -> Option<PathBuf> {
    let native = folder.join("clang/native");
    if !native.is_dir() {
        eprintln!("==> install libclang from PyPI into {}", folder.display());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--target"]).arg(folder).arg("libclang");
        workspace::run(&mut pip).inspect_err(|error| eprintln!("    {error:#}")).ok()?;
    }
    native.is_dir().then_some(native)
}

/// A libclang from PyPI lacks headers such as `stddef.h`. Uses those of the C compiler.
fn compiler_headers() -> Option<String> {
    let output = Command::new("cc").arg("-print-file-name=include").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Path::new(folder.trim()).is_dir().then(|| format!("-I{}", folder.trim()))
}

/// Finds a compiler for functions: rustup's target or Debian's toolchain. `cofferdam build` uses the same.
fn wasm_target(apt: &Apt) -> Result<()> {
    if has_rustup_target() || has_debian_toolchain() {
        return Ok(());
    }
    if find_program("rustup").is_some() {
        eprintln!("==> rustup target add {WASM_TARGET}");
        match workspace::run(Command::new("rustup").args(["target", "add", WASM_TARGET])) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("    {error:#}; trying the system's packages"),
        }
    }
    if apt.install(&["rustc-web", "cargo-web", "rust-web-src", "lld-19"]) && has_debian_toolchain() {
        return Ok(());
    }
    bail!(
        "functions are compiled to {WASM_TARGET}, which no Rust on this machine supports. Run `rustup target add \
         {WASM_TARGET}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src lld-19`"
    )
}

fn has_rustup_target() -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]).output() else {
        return false;
    };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let is_std = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libstd-"));
    entries(Path::new(&folder)).iter().any(is_std)
}

fn has_debian_toolchain() -> bool {
    let linker = entries(Path::new("/usr/bin"))
        .iter()
        .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wasm-ld")));
    linker && [DEBIAN_RUSTC, "/usr/bin/cargo", DEBIAN_STD_SOURCE].iter().all(|path| Path::new(path).exists())
}

/// Debian's package manager, if it is installed and usable without a password.
#[derive(Default)]
pub(crate) struct Apt {
    updated: Cell<bool>,
}

impl Apt {
    /// Returns whether the packages are installed now. Prints each command and its error.
    pub(crate) fn install(&self, packages: &[&str]) -> bool {
        let Some(prefix) = Apt::prefix() else { return false };
        let apt_get = |arguments: &[&str]| {
            let mut words = prefix.clone();
            words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
            words.extend(arguments);
            eprintln!("==> {}", words.join(" "));
            let result = workspace::run(Command::new(words[0]).args(&words[1..]));
            result.inspect_err(|error| eprintln!("    {error:#}")).is_ok()
        };
        if !self.updated.replace(true) {
            apt_get(&["update"]);
        }
        apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
    }

    /// Returns the words before `apt-get`: none for root, `sudo -n` if it needs no password.
    fn prefix() -> Option<Vec<&'static str>> {
        find_program("apt-get")?;
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() == b"0" {
            return Some(Vec::new());
        }
        succeeds(Command::new("sudo").args(["-n", "true"])).then(|| vec!["sudo", "-n"])
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_libclang;

    #[test]
    fn libclang_is_distinguished_from_similar_libraries() {
        for name in [
            "libclang.so",
            "libclang.so.1",
            "libclang-14.so",
            "libclang-14.so.1",
            "libclang-14.0.6.so",
            "libclang.dylib",
        ] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclangAST.a", "libclang.a", "libclang-cpp.dylib", "libLLVM.so"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
