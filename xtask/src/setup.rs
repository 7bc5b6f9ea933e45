//! Installs what building needs and this machine has not: libclang, a C++ compiler, Rust's wasm target.
//!
//! Asks nothing, changes nothing that is there already, and says what it does. What it cannot install it names, with the
//! next step for a person.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::{self, Workspace, find_program, succeeds};

const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// Where Debian's toolchain for web targets is, which brings the standard library as source.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";

/// Makes the machine ready to build, and gives the workspace with what Cargo needs in its environment.
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
    bail!("RocksDB needs a C++20 compiler and none was found. Next: install g++ or clang++, or set CXX")
}

/// Bindgen loads libclang to read RocksDB's header. Where it is in one of the usual places bindgen finds it by itself,
/// and nothing is set: a changed variable would compile RocksDB again.
fn libclang(workspace: &mut Workspace, apt: &Apt) -> Result<()> {
    if env::var_os("LIBCLANG_PATH").is_some() || find_libclang().is_some() {
        return Ok(());
    }
    for package in ["libclang-dev", "libclang-19-dev", "libclang-14-dev"] {
        if apt.install(&[package]) && find_libclang().is_some() {
            return Ok(());
        }
    }
    if let Some(folder) = libclang_from_pip(&workspace.place.target.join("setup/libclang")) {
        workspace.set("LIBCLANG_PATH", folder);
        if let Some(arguments) = compiler_headers() {
            workspace.set("BINDGEN_EXTRA_CLANG_ARGS", arguments);
        }
        return Ok(());
    }
    bail!(
        "RocksDB's bindings need libclang and none was found. Next: install your system's libclang (Debian: \
         libclang-dev, Fedora: clang-devel, macOS: xcode-select --install), or set LIBCLANG_PATH to its folder"
    )
}

/// The folder of a libclang in one of the places where bindgen looks for it too.
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

/// `libclang.so`, `libclang-14.so.1`, `libclang.dylib`; not `libclang-cpp.so`, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else { return false };
    let shared = rest.contains(".so") || rest.ends_with(".dylib");
    let version = rest.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit() || c == '.');
    shared && (version.is_empty() || version.starts_with("so") || version.starts_with("dylib"))
}

/// The package `libclang` of PyPI is the shared library alone, for machines without a package manager of our knowing.
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

/// A libclang from PyPI has no headers of its own (`stddef.h`); the C compiler's do.
fn compiler_headers() -> Option<String> {
    let output = Command::new("cc").arg("-print-file-name=include").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Path::new(folder.trim()).is_dir().then(|| format!("-I{}", folder.trim()))
}

/// Functions are compiled to wasm, by rustup's target or by Debian's toolchain: `cofferdam build` uses what is there.
fn wasm_target(apt: &Apt) -> Result<()> {
    if rustup_target_is_there() || debian_toolchain_is_there() {
        return Ok(());
    }
    if find_program("rustup").is_some() {
        eprintln!("==> rustup target add {WASM_TARGET}");
        match workspace::run(Command::new("rustup").args(["target", "add", WASM_TARGET])) {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("    {error:#}; trying the system's packages"),
        }
    }
    if apt.install(&["rustc-web", "cargo-web", "rust-web-src", "lld-19"]) && debian_toolchain_is_there() {
        return Ok(());
    }
    bail!(
        "functions are compiled to {WASM_TARGET}, which no Rust on this machine has. Next: `rustup target add \
         {WASM_TARGET}`, or on Debian `apt-get install rustc-web cargo-web rust-web-src lld-19`"
    )
}

fn rustup_target_is_there() -> bool {
    let Ok(output) = Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]).output() else {
        return false;
    };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_string();
    let is_std = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libstd-"));
    entries(Path::new(&folder)).iter().any(is_std)
}

fn debian_toolchain_is_there() -> bool {
    let linker = entries(Path::new("/usr/bin"))
        .iter()
        .any(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("wasm-ld")));
    linker && [DEBIAN_RUSTC, "/usr/bin/cargo", DEBIAN_STD_SOURCE].iter().all(|path| Path::new(path).exists())
}

/// Debian's package manager, where it is there and may be used without a password.
#[derive(Default)]
struct Apt {
    updated: Cell<bool>,
}

impl Apt {
    /// Whether the packages are installed now. Says what it does and why it could not.
    fn install(&self, packages: &[&str]) -> bool {
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

    /// What stands before `apt-get`: nothing for root, `sudo -n` for whom it asks no password.
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
    fn libclang_is_told_from_its_neighbours() {
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
