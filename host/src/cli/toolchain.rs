//! Finds a Rust toolchain that compiles for `wasm32-unknown-unknown`: that of rustup, or a distribution's compiler with the
//! source of the standard library.
//!
//! Must not compile anything.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result, toolchain_missing};

pub const TARGET: &str = "wasm32-unknown-unknown";

const DISTRIBUTION_CARGO: &str = "/usr/bin/cargo";
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// A toolchain that compiles for the target.
#[derive(Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The `cargo` in `PATH` has the target.
    Installed,
    /// A distribution's compiler. The standard library is built from source.
    Distribution { linker: PathBuf },
}

/// Finds a toolchain for the package in `dir`, in the order of [`Toolchain`]. May add the target with rustup. Errors:
/// `toolchain-missing`.
pub fn find(dir: &Path) -> Result<Toolchain> {
    if target_installed(dir) {
        return Ok(Toolchain::Installed);
    }
    let added = output(Command::new("rustup").args(["target", "add", TARGET]).current_dir(dir)).is_some();
    if added && target_installed(dir) {
        return Ok(Toolchain::Installed);
    }
    distribution().ok_or_else(missing)
}

/// Finds a toolchain like [`find`], but installs nothing.
pub fn find_installed(dir: &Path) -> Option<Toolchain> {
    if target_installed(dir) { Some(Toolchain::Installed) } else { distribution() }
}

fn distribution() -> Option<Toolchain> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let linker = linker(&search).filter(|_| distribution_has_source())?;
    Some(Toolchain::Distribution { linker })
}

/// The error if there is no toolchain.
pub fn missing() -> Error {
    toolchain_missing(format!("there is no Rust compiler that can build for {TARGET}")).hint(format!(
        "install rustup (https://rustup.rs), then run `rustup target add {TARGET}`;\n        \
         or install a distribution's Rust with the library source and an LLVM linker for WebAssembly: on Debian \
         `apt install rustc-web cargo-web rust-web-src lld-19`"
    ))
}

impl Toolchain {
    /// Returns a `cargo` command that compiles for the target.
    pub fn cargo(&self) -> Command {
        match self {
            Toolchain::Installed => Command::new("cargo"),
            Toolchain::Distribution { linker } => {
                let mut cargo = Command::new(DISTRIBUTION_CARGO);
                cargo.env("RUSTC", DISTRIBUTION_RUSTC);
                // Allows `-Zbuild-std`, which otherwise needs a nightly compiler.
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        }
    }

    /// Returns additional arguments for `cargo build`.
    pub fn build_arguments(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Installed => &[],
            Toolchain::Distribution { .. } => &["-Zbuild-std=std,panic_abort"],
        }
    }
}

impl std::fmt::Display for Toolchain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Toolchain::Installed => write!(f, "cargo with the target {TARGET}"),
            Toolchain::Distribution { linker } => {
                write!(f, "{DISTRIBUTION_CARGO} with the standard library from source, linked by {}", linker.display())
            }
        }
    }
}

/// Returns the standard output of a program. `None` if it does not exist or fails.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// Whether the compiler has the standard library of the target. A toolchain file in `dir` may choose another compiler.
fn target_installed(dir: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]).current_dir(dir);
    let Some(printed) = output(&mut command) else { return false };
    let Ok(entries) = std::fs::read_dir(printed.trim()) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn distribution_has_source() -> bool {
    if !Path::new(DISTRIBUTION_CARGO).exists() {
        return false;
    }
    let Some(sysroot) = output(Command::new(DISTRIBUTION_RUSTC).args(["--print", "sysroot"])) else { return false };
    Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").is_dir()
}

/// Returns `wasm-ld`, or the linker with the highest version in its name.
fn linker(search: &OsStr) -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for folder in std::env::split_paths(search).chain([PathBuf::from("/usr/bin")]) {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("wasm-ld")) else { continue };
            let version =
                if rest.is_empty() { Some(u32::MAX) } else { rest.strip_prefix('-').and_then(|v| v.parse().ok()) };
            found.extend(version.map(|version| (version, entry.path())));
        }
    }
    found.into_iter().max_by_key(|(version, _)| *version).map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_linker_is_used() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["wasm-ld-900019", "wasm-ld-900020", "wasm-ld-odd", "wasm-ldx"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(linker(folder.path().as_os_str()), Some(folder.path().join("wasm-ld-900020")));
    }

    #[test]
    fn the_hint_names_both_ways_to_install_a_toolchain() {
        let hint = missing().hint.unwrap();
        assert!(hint.contains("rustup target add wasm32-unknown-unknown") && hint.contains("rust-web-src"));
        let command = Toolchain::Distribution { linker: "/x/wasm-ld-19".into() }.cargo();
        let linker = OsStr::new("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER");
        assert!(command.get_envs().any(|(name, value)| name == linker && value == Some(OsStr::new("/x/wasm-ld-19"))));
    }
}
